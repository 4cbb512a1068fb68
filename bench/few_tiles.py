"""The C of `bench.few_channels`: tiles of pixels and windows of an image of one to three channels. No torch.

A convolution of stride 2 looks at its image in pairs of rows and of columns: with the values of a pair side by side,
it is one of stride 1 with half as many taps, rounded up, and four times as many channels. A vector has the values of
two columns in one row of a pair, and what is behind them in memory, which meets no filter. What `bench.tiles` keeps
for all images, panels of all channels, would take longer to write and read than so few channels take to be
multiplied: here a few tiles go all the way while they are in the nearest caches.
"""

from dataclasses import dataclass
from pathlib import Path

from bench.minimal_filters import FOUR, TWO, Matrix, both_sides, transposed
from bench.tile_filters import transform

# Channels of an image at most: of two columns they fill a vector.
CHANNELS = 3


@dataclass(frozen=True)
class Pairs:
    """Filters of so many pairs of taps a side.

    Attributes:
        name: in C.
        matrices: A, G and B of their products, see `bench.minimal_filters.transforms`.
    """

    name: str
    matrices: tuple[Matrix, Matrix, Matrix]

    @property
    def taps(self) -> int:
        """Pairs a side."""
        return len(self.matrices[1][0])

    @property
    def points(self) -> int:
        """Products of a tile a side."""
        return len(self.matrices[2])


# By the pairs of taps a side.
PAIRS = {form.taps: form for form in (Pairs("two", TWO), Pairs("four", FOUR))}

_FORM = """
static void few_windows_in_{name}(const few *j, const float *padded, float *to, const places *at, long m) {{
  const long wide = FEW_WIDE(j), c = 2 * j->c, plane = FEW_PLANE;
  for (long t = 0; t < m; t++) for (long row = 0; row < 2; row++) {{
    const float *from = padded + at->window[t] + row * wide;
    float *o = to + t * 16 + row * 8;
    {windows_in}
  }}
}}
static void few_windows_out_{name}(const few *j, const float *from, float *sums, const places *at, long m) {{
  const long wide = FEW_PAIRS(j) * 16, plane = FEW_PLANE;
  for (long t = 0; t < m; t++) for (long row = 0; row < 2; row++) {{
    const float *o = from + t * 16 + row * 8;
    float *sum = sums + at->sum[t] + row * wide / 2;
    v8 r[{points}][{points}];
    {windows_out}
    for (long y = 0; y < {points}; y++) for (long x = 0; x < {points}; x++) STORE(sum + y * wide + x * 8) += r[y][x];
  }}
}}
static void few_pixels_in_{name}(const few *j, const float *pixels, float *to, const places *at, long m,
                                 long plane) {{
  const long w = j->w / 2, c = j->k;
  for (long t = 0; t < m; t++) for (long k = 0; k < 16; k += 8) {{
    const float *image = pixels + at->pixel[t];
    float *o = to + t * 16 + k;
    FEW_AHEAD(pixels, 0)
    {pixels_in}
  }}
}}
static void few_pixels_out_{name}(const few *j, const float *from, float *pixels, const places *at, long m) {{
  const long w = j->w / 2, c = j->k, plane = 16;
  for (long t = 0; t < m; t++) for (long k = 0; k < 16; k += 8) {{
    float *image = pixels + at->pixel[t];
    const float *o = from + t * {points} * {points} * 16 + k;
    FEW_AHEAD(pixels, 1)
    {pixels_out}
  }}
}}

// Image to pixels, through filters [k / 16, points, 4 * c, 16].
static void few_convolve_some_{name}(few *j) {{
  const long count = FEW_IMAGES(j), points = {points} * {points}, told = j->h / 2 * (j->w / 2) * j->k;
  float *padded = j->work, *x = padded + FEW_LINES(count * FEW_WHOLE(j) + 16), *m = x + points * FEW_PLANE;
  memset(padded, 0, (FEW_LEAST(count, j->n) * FEW_WHOLE(j) + 16) * sizeof *padded);
  for (long b = 0; b < j->n; b += count) {{
    const long n = FEW_LEAST(j->n - b, count), all = n * FEW_TILES(j);
    few_pad(j, j->image + b * j->h * j->w * j->c, padded, n);
    for (long first = 0; first < all; first += FEW_SOME) {{
      const long rows = FEW_LEAST(FEW_SOME, all - first);
      const float *f = j->filters;
      places at;
      few_find(j, first, rows, &at);
      few_windows_in_{name}(j, padded, x, &at, rows);
      for (long l = 0; l < j->k; l += 16) {{
        for (long p = 0; p < points; p++, f += 64 * j->c)
          few_multiply(x + p * FEW_PLANE, 2 * j->c, f, m + p * 16, rows, points * 16);
        few_pixels_out_{name}(j, m, j->out + b * told + l, &at, rows);
      }}
    }}
  }}
}}

// The filters' gradient [k / 16, points, 4 * c, 16], of both.
static void few_correlate_some_{name}(few *j) {{
  const long count = FEW_IMAGES(j), points = {points} * {points}, told = j->h / 2 * (j->w / 2) * j->k;
  float *padded = j->work, *x = padded + FEW_LINES(count * FEW_WHOLE(j) + 16), *m = x + points * FEW_PLANE;
  memset(padded, 0, (FEW_LEAST(count, j->n) * FEW_WHOLE(j) + 16) * sizeof *padded);
  memset(j->out, 0, j->k * points * 4 * j->c * sizeof *j->out);
  for (long b = 0; b < j->n; b += count) {{
    const long n = FEW_LEAST(j->n - b, count), all = n * FEW_TILES(j);
    few_pad(j, j->image + b * j->h * j->w * j->c, padded, n);
    for (long first = 0; first < all; first += FEW_SOME) {{
      const long rows = FEW_LEAST(FEW_SOME, all - first);
      float *g = j->out;
      places at;
      few_find(j, first, rows, &at);
      few_windows_in_{name}(j, padded, x, &at, rows);
      for (long l = 0; l < j->k; l += 16) {{
        few_pixels_in_{name}(j, j->pixels + b * told + l, m, &at, rows, FEW_PLANE);
        for (long p = 0; p < points; p++, g += 64 * j->c)
          few_outer(x + p * FEW_PLANE, 2 * j->c, m + p * FEW_PLANE, g, rows);
      }}
    }}
  }}
}}

// Pixels to image, through filters [points, k, 16].
static void few_spread_some_{name}(few *j) {{
  const long count = FEW_IMAGES(j), points = {points} * {points}, told = j->h / 2 * (j->w / 2) * j->k;
  const long plane = j->k * FEW_SOME + 16;
  float *sums = j->work, *row = sums + FEW_LINES(count * FEW_SUMS(j)), *m = row + FEW_LINES(FEW_WIDE(j) + 16);
  float *x = m + points * FEW_PLANE;
  for (long b = 0; b < j->n; b += count) {{
    const long n = FEW_LEAST(j->n - b, count), all = n * FEW_TILES(j);
    memset(sums, 0, n * FEW_SUMS(j) * sizeof *sums);
    for (long first = 0; first < all; first += FEW_SOME) {{
      const long rows = FEW_LEAST(FEW_SOME, all - first);
      places at;
      few_find(j, first, rows, &at);
      for (long l = 0; l < j->k; l += 16)
        few_pixels_in_{name}(j, j->pixels + b * told + l, x + l * FEW_SOME, &at, rows, plane);
      for (long p = 0; p < points; p++)
        multiply(x + p * plane, j->filters + p * j->k * 16, m + p * FEW_PLANE, rows, j->k / 16, 1, FEW_SOME, 0);
      few_windows_out_{name}(j, m, sums, &at, rows);
    }}
    few_unpad(j, sums, row, j->out + b * j->h * j->w * j->c, n);
  }}
}}

// Floats of memory that a thread wants, for whichever.
long few_work_{name}(long h, long w, long c, long k, long border) {{
  const few j = {{.h = h, .w = w, .c = c, .k = k, .border = border}};
  const long image = FEW_WHOLE(&j) > FEW_SUMS(&j) ? FEW_WHOLE(&j) : FEW_SUMS(&j);
  const long panels = {points} * {points} * (FEW_SOME * (k + 16) + 32);
  return FEW_LINES(FEW_IMAGES(&j) * image + 16) + FEW_LINES(FEW_WIDE(&j) + 16) + panels;
}}
void few_convolve_{name}(const float *image, const float *filters, float *pixels, float *work, long n, long h, long w,
                         long c, long k, long border, long threads) {{
  few all = {{image, 0, filters, pixels, work, n, h, w, c, k, border, few_convolve_some_{name}}};
  few_run(&all, h / 2 * (w / 2) * k, 0, few_work_{name}(h, w, c, k, border), threads);
}}
void few_spread_{name}(const float *pixels, const float *filters, float *image, float *work, long n, long h, long w,
                       long c, long k, long border, long threads) {{
  few all = {{0, pixels, filters, image, work, n, h, w, c, k, border, few_spread_some_{name}}};
  few_run(&all, h * w * c, 0, few_work_{name}(h, w, c, k, border), threads);
}}
// To a gradient of each thread, [threads, k / 16, points, 4 * c, 16].
void few_correlate_{name}(const float *image, const float *pixels, float *grads, float *work, long n, long h, long w,
                          long c, long k, long border, long threads) {{
  few all = {{image, pixels, 0, grads, work, n, h, w, c, k, border, few_correlate_some_{name}}};
  few_run(&all, 0, {points} * {points} * 4 * c * k, few_work_{name}(h, w, c, k, border), threads);
}}
"""


def few_code() -> str:
    """The C behind few.c, and few.c."""
    text = [Path(__file__).with_name("few.c").read_text()]
    for form in PAIRS.values():
        back, _, image = form.matrices
        n = form.points

        def window(i: int, j: int) -> str:
            return f"(from + {2 * i} * wide + {j} * c)"

        def pixel(i: int, j: int) -> str:
            return f"(image + ({i} * w + {j}) * c + k)"

        def panel(i: int, j: int, n: int = n) -> str:
            return f"LOAD(o + {i * n + j} * plane)"

        turned = transposed(image)
        text.append(
            _FORM.format(
                name=form.name,
                points=n,
                windows_in=transform(image, image, window, n),
                windows_out=both_sides(turned, turned, panel, lambda i, j: f"r[{i}][{j}]"),
                pixels_in=transform(transposed(back), transposed(back), pixel, n),
                pixels_out=transform(back, back, pixel, n, outward=True),
            )
        )
    return "".join(text)
