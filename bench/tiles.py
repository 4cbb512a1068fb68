"""The C of `bench.winograd`: tiles of images and filters to their transforms and back. No torch.

A convolution stands between a small image, cut into tiles of 4 x 4, and a large one, of which each tile meets a
window: 6 x 6 pixels for a 3x3 convolution, whose images have one size; for one of stride 2, 5 x 5 of every other
pixel, of each of four parities. Reducing takes windows to tiles (a 3x3 convolution and its gradient, a convolution of
stride 2), expanding takes tiles to windows, which overlap, and adds (a transposed convolution). No tile reaches
beyond an image, and each is transformed once for all parities.

Sums of neighbours are written out on eight channels at once. The products in between are those of `panels.c`, six
rows by sixteen columns at a time, which fill the registers of AVX2.
"""

import ctypes
import functools
from fractions import Fraction
from pathlib import Path
from typing import Any

from bench.compiled import load_library
from bench.minimal_filters import THREE, TILE, TWO, Matrix, both_sides, transposed

# Between tiles of a small image [n, h, w, c] and panels.
_TILES = """
static void tiles_in_{name}(const float *x, float *to, long n, long h, long w, long c, long rows, long plane) {{
  TILES {{
    const float *at = x + ((b * h + u) * w + v) * c;
    for (long k = 0; k < c; k += 8) {{
      float *o = to + PANEL(k);
      AHEAD({s} * {s}, 1)
      COMING(x + h * w * c)
      {into}
    }}
  }}
}}
static void tiles_out_{name}(float *x, const float *from, long n, long h, long w, long c, long rows, long plane) {{
  TILES {{
    float *at = x + ((b * h + u) * w + v) * c;
    for (long k = 0; k < c; k += 8) {{
      const float *o = from + PANEL(k);
      AHEAD({s} * {s}, 0)
      {back}
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
        AHEAD({s} * {s}, 1)
      COMING(y + ({step} * {step} + {part}) * h * w * c)
        {alone}
      }}
    }}
    return;
  }}
  TILES {{
    const float *at[{s}][{s}];
    for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) {{
      long p = u + i - {above}, q = v + j - {before};
      int out = p < 0 || q < 0 || p >= h || q >= w;
      at[i][j] = out ? zeros : y + (((b * h + p) * {step} + {row}) * w * {step} + q * {step} + {col}) * c;
    }}
    for (long k = 0; k < c; k += 8) {{
      float *o = to + PANEL(k);
      AHEAD({s} * {s}, 1)
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
        AHEAD({s} * {s}, 0)
        {alone}
      }}
      continue;
    }}
    for (long k = 0; k < c; k += 8) {{
      const float *o = from + PANEL(k);
      AHEAD({s} * {s}, 0)
      {back}
    }}
  }}
}}
"""

# From filters to their transforms, part by part, and back to a weight's gradient from the sum over threads. Filters
# have rows, the channels that are summed over, and lanes, in panels: [products, lanes / 16, rows of all parts, 16].
_FILTERS = """
static const long taps_{name}[][{t}][{t}] = {{{taps}}};

static void filters_{name}(const job *j) {{
  const long expand = !!j->to_large, c = j->c, k = j->k, rows = expand ? c : k, panels = (expand ? k : c) / 16;
  const long plane = apart({count} * c * k), high = expand ? c : {count} * k, part = expand ? c * k : k * 16;
  const long *s = j->strides, row = s[!expand], lane = s[expand];
  float g[{side} * {side} * 256];
  for (long l = panels * j->thread / j->threads; l < panels * (j->thread + 1) / j->threads; l++)
    for (long r = 0; r < rows; r += 16) {{
      read_taps(g, j->weight + r * row + l * 16 * lane, {side}, s[2], s[3], row, lane);
      for (long p = 0; p < {count}; p++) for (long k = 0; k < 256; k += 8) {{
        float *o = j->filters + (l * high + r) * 16 + p * part + k;
        {into}
      }}
    }}
}}
static void weights_{name}(const job *j) {{
  const long c = j->c, k = j->k, threads = j->threads, full = apart({count} * c * k), *s = j->strides;
  const long plane = threads > 1 ? 256 : full;
  float g[{side} * {side} * 256], sum[{s} * {s} * 256];
  for (long r = c / 16 * j->thread / threads; r < c / 16 * (j->thread + 1) / threads; r++)
    for (long l = 0; l < k / 16; l++) {{
      for (long p = 0; p < {count}; p++) {{
        const float *from = j->products + ((r * {count} + p) * (k / 16) + l) * 256;
        if (threads > 1) {{
          for (long q = 0; q < {s} * {s}; q++) for (long i = 0; i < 256; i++) {{
            float all = from[q * full + i];
            for (long t = 1; t < threads; t++) all += from[(t * {s} * {s} + q) * full + i];
            sum[q * 256 + i] = all;
          }}
          from = sum;
        }}
        for (long k = 0; k < 256; k += 8) {{
          const float *o = from + k;
          {back}
        }}
      }}
      write_taps(j->dweight + r * 16 * s[0] + l * 16 * s[1], g, {side}, s[2], s[3], s[0], s[1]);
    }}
}}
"""

# One thread's images, so many at a time that their panels stay in its cache; then all.
_RUNS = """
static void images_{name}(const job *j) {{
  const long h = j->h, w = j->w, c = j->c, k = j->k, tiles = h / 4 * (w / 4), rows = j->count * tiles | 1;
  const long low = apart(rows * c), high = apart(rows * {count} * k), both = apart({count} * c * k);
  float *v = j->work + j->thread * ({s} * {s} * (low + high) + k), *m = v + {s} * {s} * low;
  float *zeros = m + {s} * {s} * high, *products = j->products + j->thread * {s} * {s} * both;
  const long begin = j->n * j->thread / j->threads, end = j->n * (j->thread + 1) / j->threads;
  memset(zeros, 0, k * sizeof *zeros);
  for (long at = begin; at < end; at += j->count) {{
    const long n = end - at < j->count ? end - at : j->count, some = n * tiles;
    const long small = at * h * w * c, large = at * h * w * k * {step} * {step};
    if (j->to_large || j->dweight) tiles_in_{name}(j->small + small, v, n, h, w, c, rows, low);
    if (j->to_large) {{
      for (long q = 0; q < {s} * {s}; q++)
        multiply(v + q * low, j->filters + q * both, m + q * high, some, c / 16, {count} * k / 16, rows);
      for (long b = 0; b < n; b++) {{
        {windows_out}
      }}
    }}
    if (j->to_small || j->dweight) for (long b = 0; b < n; b++) {{
      {windows_in}
    }}
    if (j->dweight) for (long q = 0; q < {s} * {s}; q++)
      outer(v + q * low, m + q * high, products + q * both, some, c / 16, {count} * k / 16, rows, at > begin);
    if (j->to_small) {{
      for (long q = 0; q < {s} * {s}; q++)
        multiply(m + q * high, j->filters + q * both, v + q * low, some, {count} * k / 16, c / 16, rows);
      tiles_out_{name}(j->to_small + small, v, n, h, w, c, rows, low);
    }}
  }}
}}

// Floats of memory that are wanted.
long memory_{name}(long h, long w, long c, long k, long count, long threads) {{
  const long rows = count * (h / 4) * (w / 4) | 1, both = {s} * {s} * apart({count} * c * k);
  return both + threads * (both + {s} * {s} * (apart(rows * c) + apart(rows * {count} * k)) + k);
}}

// From `small` to `to_large`, or from `large` to `to_small`; and from both to the gradient of the weight.
void run_{name}(const float *small, const float *large, float *to_small, float *to_large, const float *weight,
                float *dweight, const long *strides, float *memory, long n, long h, long w, long c, long k,
                long count, long threads) {{
  const long both = {s} * {s} * apart({count} * c * k);
  job j = {{small, large, to_small, to_large, weight, dweight, strides, memory, memory + both,
            memory + (1 + threads) * both, n, h, w, c, k, count, threads, 0}};
  if (to_small || to_large) on_all(filters_{name}, &j);
  on_all(images_{name}, &j);
  if (dweight) on_all(weights_{name}, &j);
}}
"""

# The taps of a convolution of stride 2 by which a small image's row meets, of the large one's even rows, its own and
# the next; of the odd ones, the one before and its own. Likewise columns.
TAPS = ((1, 3), (0, 2))
PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))


def source() -> str:
    """The C of both kinds of convolutions and of their gradients."""
    text = [Path(__file__).with_name(name).read_text() for name in ("team.c", "panels.c")]
    for name, (a, g, b), side, step, offsets, taps in (
        ("three", THREE, 3, 1, [(0, 0, 1, 1)], [(range(3), range(3))]),
        ("two", TWO, 4, 2, [(*p, *p) for p in PARITIES], [(TAPS[r], TAPS[c]) for r, c in PARITIES]),
    ):
        s = len(b)
        tap = [[[side * i + j for j in cols] for i in rows] for rows, cols in taps]
        words = {"name": name, "s": s, "t": len(g[0]), "side": side, "step": step, "count": len(offsets)}
        words["taps"] = str(tap)[1:-1].replace("[", "{").replace("]", "}")
        small = "(at + ({i} * w + {j}) * c + k)"
        inward, back = _both(transposed(a), small, s), _both(a, small, s, outward=True)
        text.append(_TILES.format(**words, into=inward, back=back))
        calls: dict[str, list[str]] = {"in": [], "out": []}
        for part, offset in enumerate(offsets):
            place = dict(zip(("part", "row", "col", "above", "before"), (part, *offset), strict=True))
            text.append(_windows(b, s, step, words | place, *offset[2:]))
            panels = f"m + {part} * k * rows + b * tiles * 16, 1, h, w, k, rows, high"
            image = f"large + large + b * h * w * k * {step * step}"
            calls["in"].append(f"windows_in_{name}_{part}(j->{image}, {panels}, zeros);")
            if step > 1:
                calls["out"].append(f"windows_out_{name}_{part}(j->to_{image}, {panels});")
        at = f"(g + taps_{name}[p][{{i}}][{{j}}] * 256 + k)"
        inward, back = _both(g, at, s), _both(transposed(g), at, s, outward=True)
        text.append(_FILTERS.format(**words, into=inward, back=back))
        runs = {f"windows_{way}": "\n      ".join(lines) for way, lines in calls.items()}
        text.append(_RUNS.format(**words, **runs))
    return "".join(text)


def _both(left: Matrix, at: str, s: int, right: Matrix | None = None, outward: bool = False) -> str:
    """C of a transform between what is at a place {i}, {j} and the products, of which there are s by s."""

    def place(i: int, j: int) -> str:
        return at.format(i=i, j=j)

    def panel(i: int, j: int) -> str:
        return f"(o + {i * s + j} * plane)"

    of, to = (panel, place) if outward else (place, panel)
    return both_sides(left, right or left, lambda i, j: "LOAD" + of(i, j), lambda i, j: "STORE" + to(i, j))


def _windows(b: Matrix, s: int, step: int, words: Any, *sides: int) -> str:
    """The C between windows and panels; a window begins so many pixels above its tile and before it."""
    # All that a map of one tile has of its window.
    inner = [tuple(line[o : o + TILE] for line in b) for o in sides]
    whole = f"(at + ({{i}} * {step} * {step} * {{w}} + {{j}} * {step}) * c + k)"
    alone = _both(inner[0], whole.replace("{w}", "4"), s, inner[1])
    text = _WINDOWS.format(**words, alone=alone, into=_both(b, "(at[{i}][{j}] + k)", s))
    if step == 1:
        return text
    # What the tile before or after adds: its last row or its first, at the first of ours or at our last.
    edge = [0 if o else s - 1 for o in sides]
    more = []
    for o, e, own in zip(sides, edge, inner, strict=True):
        at = TILE - 1 if o else 0
        more.append(transposed((*own, tuple(b[e][e] if i == at else Fraction(0) for i in range(TILE)))))

    def load(i: int, j: int) -> str:
        met = [test for test, k in (("over", i), ("beside", j)) if k == s]
        shift = " + ".join([*met, f"{(edge[0] if i == s else i) * s + (edge[1] if j == s else j)} * plane"])
        found = f"LOAD(o + {shift})"
        return f"({' && '.join(met)} ? {found} : (v8){{0}})" if met else found

    place = whole.replace("{w}", "w")
    back = both_sides(more[0], more[1], load, lambda i, j: "STORE" + place.format(i=i, j=j))
    own = _both(transposed(inner[0]), place, s, transposed(inner[1]), outward=True)
    over = "u + 4 < h ? w / 4 * 16 : 0" if sides[0] else "u ? -w / 4 * 16 : 0"
    beside = "v + 4 < w ? 16 : 0" if sides[1] else "v ? -16 : 0"
    return text + _EXPAND.format(**words, over=over, beside=beside, back=back, alone=own)


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled transforms.

    Raises:
        NoCompiler: there is none, or it fails.
    """
    return load_library("winograd", source())
