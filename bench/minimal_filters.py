"""Matrices of Winograd's minimal filters, and the C that multiplies by them: sums term by term, zeros left out."""

from collections.abc import Callable, Sequence
from fractions import Fraction

Matrix = tuple[tuple[Fraction, ...], ...]
TILE = 4
# Channels come in such numbers.
LANES = 16


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


def transposed(matrix: Matrix) -> Matrix:
    """A matrix with its rows as columns."""
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


def both_sides(matrix: Matrix) -> str:
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
