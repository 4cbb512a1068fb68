"""The C of `bench.tiles` that meets filters: their transforms and back, and the products in between. No torch."""

from collections.abc import Callable, Sequence

from bench.minimal_filters import Matrix, both_sides, transposed
from bench.tile_forms import Form

# From filters to their transforms, and back to a weight's gradient from the sum over threads. Filters have rows, the
# channels that are summed over, and lanes, in panels: [points, lanes / 16, rows, 16]. Rows are those of all parts
# that are joined; of parts that are not, one has its panels behind another's.
_FILTERS = """
static const run runs_{name}[] = {{{runs}}};

static void filters_{name}(const job *j) {{
  const long expand = !!j->to_large, c = j->c, k = j->k, rows = expand ? c : k, panels = (expand ? k : c) / 16;
  const long plane = apart({count} * c * k), high = expand ? c : {joined} * k;
  const long part = expand || {joined} == 1 ? c * k : k * 16;
  const long *s = j->strides, row = s[!expand], lane = s[expand];
  float g[{side} * {side} * 256];
  for (long l = panels * j->thread / j->threads; l < panels * (j->thread + 1) / j->threads; l++)
    for (long r = 0; r < rows; r += 16) {{
      read_taps(g, j->weight + r * row + l * 16 * lane, {side}, s[2], s[3], row, lane);
      float *to = j->filters + (l * high + r) * 16;
      {into}
    }}
}}
static void weights_{name}(const job *j) {{
  const long c = j->c, k = j->k, threads = j->threads, full = apart({count} * c * k), *s = j->strides;
  const long plane = threads > 1 ? 256 : full, part = {joined} == 1 ? c * k : k * 16;
  float g[{side} * {side} * 256], sum[{s} * {s} * 256];
  for (long r = c / 16 * j->thread / threads; r < c / 16 * (j->thread + 1) / threads; r++)
    for (long l = 0; l < k / 16; l++) {{
      const float *whole = j->products + (r * {joined} * (k / 16) + l) * 256;
      {back}
      write_taps(j->dweight + r * 16 * s[0] + l * 16 * s[1], g, {side}, s[2], s[3], s[0], s[1]);
    }}
}}
"""

# What a part has of it.
_INTO = """for (long k = 0; k < 256; k += 8) {{
        float *o = to + {part} * part + k;
        {into}
      }}"""
_BACK = """{{
        const float *from = whole + {part} * part;
        if (threads > 1) {{
          add_threads(from, sum, {high}, {wide}, {s}, full, threads);
          from = sum;
        }}
        for (long k = 0; k < 256; k += 8) {{
          const float *o = from + k;
          {back}
        }}
      }}"""

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
      RUNS({name})
        multiply(LOW(r), j->filters + BOTH(r), HIGH(r), some, c / 16, {joined} * k / 16, rows, 0);
      for (long b = 0; b < n; b++) {{
        {windows_out}
      }}
    }}
    if (j->to_small || j->dweight) for (long b = 0; b < n; b++) {{
      {windows_in}
    }}
    if (j->dweight) RUNS({name})
      outer(LOW(r), HIGH(r), products + BOTH(r), some, c / 16, {joined} * k / 16, rows,
            at > begin || r->point > r->filter);
    if (j->to_small) {{
      RUNS({name})
        multiply(HIGH(r), j->filters + BOTH(r), LOW(r), some, {joined} * k / 16, c / 16, rows, r->part > 0);
      const after a = {{j->after.bias, j->after.added ? j->after.added + small : 0, j->after.relu}};
      tiles_out_{name}(j->to_small + small, v, n, h, w, c, rows, low, &a);
    }}
  }}
}}

// Floats of memory that are wanted: filters, products where the weight's gradient is, then each thread's panels.
long memory_{name}(long h, long w, long c, long k, long count, long threads, long to_weight) {{
  const long rows = count * (h / 4) * (w / 4) | 1, both = {s} * {s} * apart({count} * c * k);
  return both + threads * (to_weight * both + {s} * {s} * (apart(rows * c) + apart(rows * {count} * k)) + k);
}}

// From `small` to `to_large`, or from `large` to `to_small`; and from both to the gradient of the weight.
// With a bias, what follows `to_small` is computed too.
void run_{name}(const float *small, const float *large, float *to_small, float *to_large, const float *weight,
                float *dweight, const long *strides, float *memory, long n, long h, long w, long c, long k,
                long count, long threads, const float *bias, const float *added, long relu) {{
  const long both = {s} * {s} * apart({count} * c * k);
  job j = {{small, large, to_small, to_large, weight, dweight, strides, memory, memory + both,
            memory + (1 + !!dweight * threads) * both, n, h, w, c, k, count, threads, 0, {{bias, added, relu}}}};
  if (to_small || to_large) on_all(filters_{name}, &j);
  on_all(images_{name}, &j);
  if (dweight) on_all(weights_{name}, &j);
}}
"""


def transform(
    left: Matrix,
    right: Matrix,
    at: Callable[[int, int], str],
    points: int,
    outward: bool = False,
    follow: Callable[[int, int, str], str] | None = None,
) -> str:
    """C of o = left a right^T between what is at a place i, j and panels, so many points a side; or back."""

    def panel(i: int, j: int) -> str:
        return f"(o + {i * points + j} * plane)"

    of, to = (panel, at) if outward else (at, panel)
    return both_sides(left, right, lambda i, j: "LOAD" + of(i, j), lambda i, j: "STORE" + to(i, j), follow)


def filters_code(form: Form, windows_in: Sequence[str], windows_out: Sequence[str]) -> str:
    """The C of a form, behind that of its images.

    Args:
        form: which.
        windows_in: statements that take one image's windows to panels.
        windows_out: likewise back.
    """
    into, back = [], []
    for part, (rows, cols) in enumerate(form.parts):

        def tap(i: int, j: int, down: Sequence[int] = rows.taps, right: Sequence[int] = cols.taps) -> str:
            return f"(g + {down[i] * form.taps + right[j]} * 256 + k)"

        words = {"part": part, "high": len(rows.filter), "wide": len(cols.filter), "s": form.points}
        into.append(_INTO.format(**words, into=transform(rows.filter, cols.filter, tap, form.points)))
        turned = transposed(rows.filter), transposed(cols.filter)
        back.append(_BACK.format(**words, back=transform(*turned, tap, form.points, outward=True)))
    words = {
        "name": form.name,
        "s": form.points,
        "side": form.taps,
        "step": form.step,
        "count": len(form.parts),
        "joined": form.joined,
        "runs": ", ".join(f"{{{point}, {part}, {taken}}}" for point, part, taken in form.runs),
        "into": "\n      ".join(into),
        "back": "\n      ".join(back),
        "windows_in": "\n      ".join(windows_in),
        "windows_out": "\n        ".join(windows_out),
    }
    return (_FILTERS + _RUNS).format(**words)
