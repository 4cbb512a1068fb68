"""The C of `bench.winograd`: tiles of images and filters to their transforms and back. No torch.

Sums of neighbours are written out on eight channels at once. The products in between are those of `panels.c`, six
rows by sixteen columns at a time, which fill the registers of AVX2.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

from bench.compiled import NoCompiler, load_library
from bench.minimal_filters import THREE, TWO, both_sides, transposed

# Between tiles of an image [n, h, w, c], read at an offset, zero beyond its border, and panels.
_IMAGE = """
static void gather_{name}(const float *x, float *m, long n, long h, long w, long c, long rows, long row, long col,
                          const float *zeros) {{
  TILES {{
    const float *at[{s}][{s}];
    for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) {{
      long y = u + i + row, z = v + j + col;
      at[i][j] = y < 0 || z < 0 || y >= h || z >= w ? zeros : x + ((b * h + y) * w + z) * c;
    }}
    for (long k = 0; k < c; k += 8) {{
      v8 a[{s}][{s}];
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) a[i][j] = LOAD(at[i][j] + k);
      {into}
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) STORE(m + AT(i * {s} + j)) = o[i][j];
    }}
  }}
}}
static void scatter_{name}(float *x, const float *m, long n, long h, long w, long c, long rows, long row, long col,
                           float *trash) {{
  TILES {{
    float *at[{s}][{s}];
    for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) {{
      long y = u + i + row, z = v + j + col;
      at[i][j] = y < 0 || z < 0 || y >= h || z >= w ? trash : x + ((b * h + y) * w + z) * c;
    }}
    for (long k = 0; k < c; k += 8) {{
      v8 a[{s}][{s}];
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) a[i][j] = LOAD(m + AT(i * {s} + j));
      {back}
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) STORE(at[i][j] + k) += o[i][j];
    }}
  }}
}}
"""

# Between panels and every `step`-th pixel of an image [n, step * h, step * w, c].
_PIXELS = """
static void emit_{name}(float *y, const float *m, long n, long h, long w, long c, long rows, long row, long col) {{
  TILES {{
    float *to = y + ((b * h * {step} + u * {step} + row) * w * {step} + v * {step} + col) * c;
    for (long k = 0; k < c; k += 8) {{
      v8 a[{s}][{s}];
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) a[i][j] = LOAD(m + AT(i * {s} + j));
      {into}
      for (long i = 0; i < 4; i++) for (long j = 0; j < 4; j++)
        STORE(to + (i * {step} * w * {step} + j * {step}) * c + k) = o[i][j];
    }}
  }}
}}
static void absorb_{name}(const float *y, float *m, long n, long h, long w, long c, long rows, long row, long col) {{
  TILES {{
    const float *from = y + ((b * h * {step} + u * {step} + row) * w * {step} + v * {step} + col) * c;
    for (long k = 0; k < c; k += 8) {{
      v8 a[4][4];
      for (long i = 0; i < 4; i++) for (long j = 0; j < 4; j++)
        a[i][j] = LOAD(from + (i * {step} * w * {step} + j * {step}) * c + k);
      {back}
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) STORE(m + AT(i * {s} + j)) = o[i][j];
    }}
  }}
}}
"""

# Between the taps of n filters, [taps, n], and their transforms, part by part, [products, n].
_FILTERS = """
static const long taps_{name}[][{t}][{t}] = {{{taps}}};

void filters_{name}(const float *g, float *f, long n) {{
  for (long p = 0; p < {count}; p++, f += {s} * {s} * n) for (long k = 0; k < n; k += 8) {{
    v8 a[{t}][{t}];
    for (long i = 0; i < {t}; i++) for (long j = 0; j < {t}; j++) a[i][j] = LOAD(g + taps_{name}[p][i][j] * n + k);
    {into}
    for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) STORE(f + (i * {s} + j) * n + k) = o[i][j];
  }}
}}
void taps_of_{name}(const float *f, float *g, long n) {{
  for (long p = 0; p < {count}; p++, f += {s} * {s} * n) for (long k = 0; k < n; k += 8) {{
    v8 a[{s}][{s}];
    for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) a[i][j] = LOAD(f + (i * {s} + j) * n + k);
    {back}
    for (long i = 0; i < {t}; i++) for (long j = 0; j < {t}; j++) STORE(g + taps_{name}[p][i][j] * n + k) = o[i][j];
  }}
}}
"""

# One thread's images, so many at a time that their panels stay in its cache.
_RUNS = """
static const long parts_{name}[][4] = {{{parts}}};

static void forward_{name}_some(job *j) {{
  long h = j->h, w = j->w, c = j->c, k = j->k, tiles = h / 4 * (w / 4), rows = j->count * tiles + 1;
  float *v = j->work, *m = v + {s} * {s} * rows * c, *zeros = m + {s} * {s} * rows * k;
  memset(zeros, 0, c * sizeof *zeros);
  for (long at = 0; at < j->n; at += j->count) {{
    long n = j->n - at < j->count ? j->n - at : j->count;
    const float *x = j->x + at * h * w * c, *f = j->filters;
    float *y = j->y + at * h * w * k * {step} * {step};
    for (long p = 0; p < {count}; p++) {{
      const long *part = parts_{name}[p];
      gather_{name}(x, v, n, h, w, c, rows, part[0], part[1], zeros);
      for (long q = 0; q < {s} * {s}; q++, f += c * k)
        multiply(v + q * rows * c, f, m + q * rows * k, n * tiles, c / 16, k / 16, rows);
      emit_{name}(y, m, n, h, w, k, rows, part[2], part[3]);
    }}
  }}
}}

static void backward_{name}_some(job *j) {{
  long h = j->h, w = j->w, c = j->c, k = j->k, tiles = h / 4 * (w / 4), rows = j->count * tiles + 1;
  float *v = j->work, *m = v + {s} * {s} * rows * c, *zeros = m + {s} * {s} * rows * k, *trash = zeros + c;
  memset(zeros, 0, 2 * c * sizeof *zeros);
  if (j->dx) memset(j->dx, 0, j->n * h * w * c * sizeof *j->dx);
  if (j->dfilters) memset(j->dfilters, 0, {count} * {s} * {s} * c * k * sizeof *j->dfilters);
  for (long at = 0; at < j->n; at += j->count) {{
    long n = j->n - at < j->count ? j->n - at : j->count;
    const float *x = j->x + at * h * w * c, *dy = j->dy + at * h * w * k * {step} * {step}, *f = j->filters;
    float *df = j->dfilters;
    for (long p = 0; p < {count}; p++) {{
      const long *part = parts_{name}[p];
      absorb_{name}(dy, m, n, h, w, k, rows, part[2], part[3]);
      if (df) {{
        gather_{name}(x, v, n, h, w, c, rows, part[0], part[1], zeros);
        for (long q = 0; q < {s} * {s}; q++, df += c * k)
          add_outer(v + q * rows * c, m + q * rows * k, df, n * tiles, c / 16, k / 16, rows);
      }}
      if (j->dx) {{
        for (long q = 0; q < {s} * {s}; q++, f += c * k)
          multiply(m + q * rows * k, f, v + q * rows * c, n * tiles, k / 16, c / 16, rows);
        scatter_{name}(j->dx + at * h * w * c, v, n, h, w, c, rows, part[0], part[1], trash);
      }}
    }}
  }}
}}

// Floats of memory that one thread wants.
long work_{name}(long h, long w, long c, long k, long count) {{
  return {s} * {s} * (count * (h / 4) * (w / 4) + 1) * (c + k) + 2 * c;
}}

// x [n, h, w, c], filters [{count} * {s} * {s}, k / 16, c, 16] to y [n, {step} * h, {step} * w, k].
void forward_{name}(const float *x, const float *filters, float *y, float *work, long n, long h, long w, long c,
                    long k, long count, long threads) {{
  job jobs[threads];
  long begin = 0, size = work_{name}(h, w, c, k, count);
  for (long t = 0; t < threads; t++) {{
    long end = n * (t + 1) / threads;
    jobs[t] = (job){{x + begin * h * w * c, filters, 0, y + begin * h * w * k * {step} * {step}, 0, 0,
                    work + t * size, end - begin, h, w, c, k, count, forward_{name}_some}};
    begin = end;
  }}
  run_all(jobs, threads);
}}

// Likewise of dy to dx, through filters [{count} * {s} * {s}, c / 16, k, 16], and to dfilters
// [threads, {count} * {s} * {s}, c, k], which are still to be summed. Either may be null.
void backward_{name}(const float *x, const float *filters, const float *dy, float *dx, float *dfilters, float *work,
                     long n, long h, long w, long c, long k, long count, long threads) {{
  job jobs[threads];
  long begin = 0, size = work_{name}(h, w, c, k, count);
  for (long t = 0; t < threads; t++) {{
    long end = n * (t + 1) / threads;
    jobs[t] = (job){{x + begin * h * w * c, filters, dy + begin * h * w * k * {step} * {step}, 0,
                    dx ? dx + begin * h * w * c : 0, dfilters ? dfilters + t * {count} * {s} * {s} * c * k : 0,
                    work + t * size, end - begin, h, w, c, k, count, backward_{name}_some}};
    begin = end;
  }}
  run_all(jobs, threads);
}}
"""


# Of an even row of a transposed convolution's output, the taps on the input's row before it and on its own; of an odd
# one, on its own and on the next.
TAPS = ((3, 1), (2, 0))
PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))


def source() -> str:
    """The C of both convolutions and of their gradients."""
    text = [Path(__file__).with_name("panels.c").read_text()]
    # From a tile's first pixel to the first that is read, and the first pixel that is written, row and column each.
    upsample = [(row - 1, col - 1, row, col) for row, col in PARITIES]
    whole = [[3 * i + j for j in range(3)] for i in range(3)]
    parities = [[[4 * i + j for j in TAPS[col]] for i in TAPS[row]] for row, col in PARITIES]
    for name, (a, g, b), step, parts, taps in (
        ("three", THREE, 1, [(-1, -1, 0, 0)], [whole]),
        ("two", TWO, 2, upsample, parities),
    ):
        words = {"name": name, "s": len(b), "t": len(g[0]), "step": step, "count": len(parts)}
        for part, matrix in ((_IMAGE, b), (_PIXELS, a), (_FILTERS, g)):
            both = {"into": both_sides(matrix), "back": both_sides(transposed(matrix))}
            text.append(part.format(**words, **both, taps=_braces(taps)[1:-1]))
        text.append(_RUNS.format(**words, parts=_braces(parts)[1:-1]))
    return "".join(text)


def _braces(numbers: Any) -> str:
    return str(numbers) if isinstance(numbers, int) else "{" + ", ".join(map(_braces, numbers)) + "}"


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled transforms.

    Raises:
        NoCompiler: there is none, or it fails.
    """
    return load_library("winograd", source())


def why_missing() -> str:
    """Why there are no compiled transforms on this machine; "" if there are."""
    try:
        library()
    except NoCompiler as error:
        return str(error)
    return ""
