"""Matrices of Winograd's minimal filters, and the C that applies them to tiles of an image. No torch.

The sums of neighbours that stand before and after the products are written out term by term, zeros left out, on
eight channels at once.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from fractions import Fraction

from bench.compiled import NoCompiler, load_library

Matrix = tuple[tuple[Fraction, ...], ...]
TILE = 4
LANES = 8


def transforms(taps: int, points: Sequence[int]) -> tuple[Matrix, Matrix, Matrix]:
    """Toom and Cook's matrices of F(TILE, taps) at some points and infinity: y = A [(G g) * (B d)].

    Returns:
        A [TILE, n], G [n, taps] and B [n, n], where n = TILE + taps - 1 = len(points) + 1.
    """
    n = TILE + taps - 1
    a = [[Fraction(p) ** i for p in points] + [Fraction(i == TILE - 1)] for i in range(TILE)]
    g, b = [], []
    for i, p in enumerate(points):
        others = [q for j, q in enumerate(points) if j != i]
        norm = Fraction(1)
        for q in others:
            norm *= p - q
        g.append([Fraction(p) ** k / norm for k in range(taps)])
        b.append([*_polynomial(others), Fraction(0)])
    g.append([Fraction(k == taps - 1) for k in range(taps)])
    b.append(_polynomial(points))
    assert len(b) == n
    return _matrix(a), _matrix(g), _matrix(b)


def _polynomial(roots: Sequence[int]) -> list[Fraction]:
    """Coefficients, from the constant up, of the product of (x - root)."""
    found = [Fraction(1)]
    for root in roots:
        shifted, scaled = [Fraction(0), *found], [*(c * -root for c in found), Fraction(0)]
        found = [s + t for s, t in zip(shifted, scaled, strict=True)]
    return found


def _matrix(rows: Sequence[Sequence[Fraction]]) -> Matrix:
    return tuple(tuple(row) for row in rows)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


THREE = transforms(3, (0, 1, -1, 2, -2))
TWO = transforms(2, (0, 1, -1, 2))


def _sum(row: Sequence[Fraction], name: Callable[[int], str]) -> str:
    terms = []
    for i, c in enumerate(row):
        if c:
            sign, size = ("-" if c < 0 else "+"), abs(c)
            terms.append(f"{sign} {name(i)}" if size == 1 else f"{sign} {float(size)!r}f * {name(i)}")
    return " ".join(terms).removeprefix("+ ")


def _both_sides(matrix: Matrix) -> str:
    """C: a[rows][cols] of vectors becomes o = matrix a matrix^T."""
    cols, rows = len(matrix[0]), len(matrix)
    lines = [f"v8 t[{rows}][{cols}], o[{rows}][{rows}];"]
    for j in range(cols):
        lines += [
            f"t[{i}][{j}] = {_sum(row, lambda k, j=j: f'a[{k}][{j}]')};" for i, row in enumerate(matrix)
        ]
    for i in range(rows):
        lines += [
            f"o[{i}][{j}] = {_sum(row, lambda k, i=i: f't[{i}][{k}]')};" for j, row in enumerate(matrix)
        ]
    return "\n      ".join(lines)


_HEAD = """
#include <string.h>
typedef float v8 __attribute__((vector_size(32), aligned(4)));
#define LOAD(p) (*(const v8 *)(p))
#define STORE(p) (*(v8 *)(p))
#define TILES for (long b = 0, tile = 0; b < n; b++) for (long u = 0; u < h; u += 4) \\
  for (long v = 0; v < w; v += 4, tile++)
"""

# From tiles of an image [n, h, w, c], read at an offset, zero beyond its border, to matrices [s * s, rows, c].
_GATHER = """
void gather_{name}(const float *x, float *m, long n, long h, long w, long c, long rows, long row, long col,
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
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++)
        STORE(m + ((i * {s} + j) * rows + tile) * c + k) = o[i][j];
    }}
  }}
}}
void scatter_{name}(float *x, const float *m, long n, long h, long w, long c, long rows, long row, long col,
                    float *trash) {{
  TILES {{
    float *at[{s}][{s}];
    for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) {{
      long y = u + i + row, z = v + j + col;
      at[i][j] = y < 0 || z < 0 || y >= h || z >= w ? trash : x + ((b * h + y) * w + z) * c;
    }}
    for (long k = 0; k < c; k += 8) {{
      v8 a[{s}][{s}];
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++)
        a[i][j] = LOAD(m + ((i * {s} + j) * rows + tile) * c + k);
      {back}
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++) STORE(at[i][j] + k) += o[i][j];
    }}
  }}
}}
"""

# Between matrices [s * s, rows, c] and every `step`-th pixel of an image [n, step * h, step * w, c].
_PIXELS = """
void emit_{name}(float *y, const float *m, long n, long h, long w, long c, long rows, long row, long col,
               long step) {{
  TILES {{
    float *to = y + ((b * h * step + u * step + row) * w * step + v * step + col) * c;
    for (long k = 0; k < c; k += 8) {{
      v8 a[{s}][{s}];
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++)
        a[i][j] = LOAD(m + ((i * {s} + j) * rows + tile) * c + k);
      {into}
      for (long i = 0; i < 4; i++) for (long j = 0; j < 4; j++)
        STORE(to + (i * step * w * step + j * step) * c + k) = o[i][j];
    }}
  }}
}}
void absorb_{name}(const float *y, float *m, long n, long h, long w, long c, long rows, long row, long col,
                   long step) {{
  TILES {{
    const float *from = y + ((b * h * step + u * step + row) * w * step + v * step + col) * c;
    for (long k = 0; k < c; k += 8) {{
      v8 a[4][4];
      for (long i = 0; i < 4; i++) for (long j = 0; j < 4; j++)
        a[i][j] = LOAD(from + (i * step * w * step + j * step) * c + k);
      {back}
      for (long i = 0; i < {s}; i++) for (long j = 0; j < {s}; j++)
        STORE(m + ((i * {s} + j) * rows + tile) * c + k) = o[i][j];
    }}
  }}
}}
"""


def source() -> str:
    """The C of all transforms."""
    parts = [_HEAD]
    for name, (a, _, b) in (("three", THREE), ("two", TWO)):
        s = len(b)
        back = _both_sides(_transposed(b))
        parts.append(_GATHER.format(name=name, s=s, into=_both_sides(b), back=back))
        parts.append(_PIXELS.format(name=name, s=s, into=_both_sides(a), back=_both_sides(_transposed(a))))
    return "".join(parts)


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
