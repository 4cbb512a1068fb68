"""The C of `bench.winograd`: tiles of images and filters to their transforms and back. No torch.

A convolution stands between a small image, cut into tiles of 4 x 4, and a large one, of which each tile meets a
window: 6 x 6 pixels for a 3x3 convolution, whose images have one size; for one of stride 2, 5 x 5 of every other
pixel, of each of four parities, or 4 where a filter has one tap for them (`bench.tile_forms`). Reducing takes windows
to tiles (a 3x3 convolution and its gradient, a convolution of stride 2), expanding takes tiles to windows, which
overlap, and adds (a transposed convolution). No tile reaches beyond an image, and each is transformed once for all
parities.

Sums of neighbours are written out on eight channels at once. The products in between are those of `panels.c`, six
rows by sixteen columns at a time, which fill the registers of AVX2. Those of an image of few channels are written in
`bench.few_tiles`, and compiled with these.
"""

import ctypes
import functools
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.compiled import load_library
from bench.few_tiles import few_code
from bench.minimal_filters import TILE, both_sides, transposed
from bench.tile_filters import filters_code, transform
from bench.tile_forms import FORMS, Form, Side

# Between tiles of a small image [n, h, w, c] and panels.
_TILES = """
static void tiles_in_{name}(const float *x, float *to, long n, long h, long w, long c, long rows, long plane) {{
  TILES {{
    const float *at = x + ((b * h + u) * w + v) * c;
    for (long k = 0; k < c; k += 8) {{
      float *o = to + PANEL(k);
      AHEAD({s}, {s}, {s}, 1)
      COMING(x + h * w * c)
      {into}
    }}
  }}
}}
static void tiles_out_{name}(float *x, const float *from, long n, long h, long w, long c, long rows, long plane,
                             const after *a) {{
  TILES {{
    float *at = x + ((b * h + u) * w + v) * c;
    for (long k = 0; k < c; k += 8) {{
      const float *o = from + PANEL(k);
      AHEAD({s}, {s}, {s}, 0)
      GOING(x + h * w * c)
      if (a->bias) {{
        const v8 bias = LOAD(a->bias + k);
        const float *added = a->added ? a->added + (at - x) + k : 0;
        if (added) COMING(a->added + h * w * c)
        {after}
      }} else {{
        {back}
      }}
    }}
  }}
}}
"""

# Between windows of a part of a large image [n, step * h, step * w, c] and panels.
_WINDOWS = """
static void windows_in_{name}_{part}(const float *y, float *to, long n, long h, long w, long c, long rows, long plane,
                                     const float *zeros) {{
  if (h == 4 && w == 4) {{
    for (long tile = 0; tile < n; tile++) {{
      const float *at = y + (tile * {step} * {step} * 16 + {row} * {step} * 4 + {col}) * c;
      for (long k = 0; k < c; k += 8) {{
        float *o = to + PANEL(k);
        AHEAD({high}, {wide}, {s}, 1)
      COMING(y + ({step} * {step} + {part}) * h * w * c)
        {alone}
      }}
    }}
    return;
  }}
  TILES {{
    const float *at[{rows}][{cols}];
    for (long i = 0; i < {rows}; i++) for (long j = 0; j < {cols}; j++) {{
      long p = u + i - {above}, q = v + j - {before};
      int out = p < 0 || q < 0 || p >= h || q >= w;
      at[i][j] = out ? zeros : y + (((b * h + p) * {step} + {row}) * w * {step} + q * {step} + {col}) * c;
    }}
    for (long k = 0; k < c; k += 8) {{
      float *o = to + PANEL(k);
      AHEAD({high}, {wide}, {s}, 1)
      COMING(y + ({step} * {step} + {part}) * h * w * c)
      {into}
    }}
  }}
}}
"""

# A window's first and last row, where they meet another tile's, are one product each: at zero and at infinity.
_EXPAND = """
static void windows_out_{name}_{part}(float *y, const float *from, long n, long h, long w, long c, long rows,
                                      long plane) {{
  TILES {{
    float *at = y + (((b * h + u) * {step} + {row}) * w * {step} + v * {step} + {col}) * c;
    const long over = {over}, beside = {beside};
    if (!over && !beside) {{
      for (long k = 0; k < c; k += 8) {{
        const float *o = from + PANEL(k);
        AHEAD({high}, {wide}, {s}, 0)
        GOING(y + ({step} * {step} + {part}) * h * w * c)
        {alone}
      }}
      continue;
    }}
    for (long k = 0; k < c; k += 8) {{
      const float *o = from + PANEL(k);
      AHEAD({high}, {wide}, {s}, 0)
      GOING(y + ({step} * {step} + {part}) * h * w * c)
      {back}
    }}
  }}
}}
"""


def source() -> str:
    """The C of all forms of convolutions and of their gradients."""
    text = [Path(__file__).with_name(name).read_text() for name in ("team.c", "panels.c")]
    for form in FORMS:

        def small(i: int, j: int) -> str:
            return f"(at + ({i} * w + {j}) * c + k)"

        turned = transposed(form.back)
        into = transform(turned, turned, small, form.points)
        back = transform(form.back, form.back, small, form.points, outward=True)
        after = transform(form.back, form.back, small, form.points, outward=True, follow=_follow)
        text.append(_TILES.format(name=form.name, s=form.points, into=into, back=back, after=after))
        windows_in, windows_out = [], []
        for part, (rows, cols) in enumerate(form.parts):
            text.append(_windows(form, part, rows, cols))
            panels = f"m + {part} * k * rows + b * tiles * 16, 1, h, w, k, rows, high"
            image = f"large + large + b * h * w * k * {form.step**2}"
            windows_in.append(f"windows_in_{form.name}_{part}(j->{image}, {panels}, zeros);")
            if form.step > 1:
                windows_out.append(f"windows_out_{form.name}_{part}(j->to_{image}, {panels});")
        text.append(filters_code(form, windows_in, windows_out))
    return "".join([*text, few_code()])


def _follow(i: int, j: int, value: str) -> str:
    return f"follow({value}, bias, added, ({i} * w + {j}) * c, a->relu)"


def _windows(form: Form, part: int, rows: Side, cols: Side) -> str:
    """The C between a part's windows and panels."""
    step, points = form.step, form.points
    words: dict[str, Any] = {
        "name": form.name,
        "part": part,
        "s": points,
        "step": step,
        "row": rows.first,
        "col": cols.first,
        "above": rows.above,
        "before": cols.above,
        "high": len(rows.image),
        "wide": len(cols.image),
        "rows": len(rows.image[0]),
        "cols": len(cols.image[0]),
    }

    def whole(i: int, j: int, width: str = "w") -> str:
        return f"(at + ({i} * {step} * {step} * {width} + {j} * {step}) * c + k)"

    # All that a map of one tile has of its window.
    inner = [tuple(line[side.above : side.above + TILE] for line in side.image) for side in (rows, cols)]
    text = _WINDOWS.format(
        **words,
        alone=transform(inner[0], inner[1], lambda i, j: whole(i, j, "4"), points),
        into=transform(rows.image, cols.image, lambda i, j: f"(at[{i}][{j}] + k)", points),
    )
    if step == 1:
        return text
    # What the tile before or after adds: its last row or its first, at the first of ours or at our last.
    edges = [0 if side.above else len(side.image) - 1 for side in (rows, cols)]
    more = [transposed(own) for own in inner]
    for at, (side, edge) in enumerate(zip((rows, cols), edges, strict=True)):
        if side.overlaps:
            met = TILE - 1 if side.above else 0
            added = tuple(side.image[edge][edge] if i == met else Fraction(0) for i in range(TILE))
            more[at] = transposed((*inner[at], added))

    def load(i: int, j: int) -> str:
        extra = [i == len(rows.image), j == len(cols.image)]
        met = [test for test, whether in zip(("over", "beside"), extra, strict=True) if whether]
        row, col = (edge if e else at for at, e, edge in zip((i, j), extra, edges, strict=True))
        found = f"LOAD(o + {' + '.join([*met, f'{row * points + col} * plane'])})"
        return f"({' && '.join(met)} ? {found} : (v8){{0}})" if met else found

    back = both_sides(more[0], more[1], load, lambda i, j: "STORE" + whole(i, j))
    alone = transform(transposed(inner[0]), transposed(inner[1]), whole, points, outward=True)
    beyond = [
        "0" if not side.overlaps else further if side.above else nearer
        for side, further, nearer in (
            (rows, "u + 4 < h ? w / 4 * 16 : 0", "u ? -w / 4 * 16 : 0"),
            (cols, "v + 4 < w ? 16 : 0", "v ? -16 : 0"),
        )
    ]
    return text + _EXPAND.format(**words, over=beyond[0], beside=beyond[1], back=back, alone=alone)


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled transforms.

    Raises:
        NoCompiler: there is none, or it fails.
    """
    return load_library("winograd", source())


@functools.cache
def functions(name: str) -> tuple[Any, Any]:
    """Of a form of convolutions: how many floats of memory it wants, with a weight's gradient or not, and the way."""
    size, run = (getattr(library(), f"{word}_{name}") for word in ("memory", "run"))
    sizes = [ctypes.c_long] * 6
    size.argtypes, size.restype = [*sizes, ctypes.c_long], ctypes.c_long
    behind = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_long]
    run.argtypes, run.restype = [*[ctypes.c_void_p] * 8, ctypes.c_long, *sizes, *behind], None
    return size, run
