"""Matrices of Winograd's minimal filters, and the C that multiplies by them: sums term by term, zeros left out."""

from collections.abc import Callable, Sequence
from fractions import Fraction

Matrix = tuple[tuple[Fraction, ...], ...]
TILE = 4
# Channels come in such numbers.
LANES = 16


def transforms(taps: int, points: Sequence[int | Fraction]) -> tuple[Matrix, Matrix, Matrix]:
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


def _polynomial(roots: Sequence[int | Fraction]) -> list[Fraction]:
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
# With 3 in place of -1/2 errors are forty times as large.
FOUR = transforms(4, (0, 1, -1, 2, -2, Fraction(-1, 2)))


def _of_first_tap(matrices: tuple[Matrix, Matrix, Matrix]) -> tuple[Matrix, Matrix, Matrix]:
    """Matrices for a filter's first tap where its others are zero: nothing is left at infinity.

    At all other points the filter is the same, a number that images are multiplied by in its place.
    """
    a, g, b = matrices
    scaled = [[g[i][0] * c for c in b[i][:TILE]] for i in range(TILE)]
    return tuple(row[:TILE] for row in a), ((Fraction(1),),), _matrix(scaled)


ONE = _of_first_tap(TWO)


def _sum(row: Sequence[Fraction], names: Sequence[str]) -> str:
    terms = []
    for c, name in zip(row, names, strict=True):
        if c:
            sign, size = ("-" if c < 0 else "+"), abs(c)
            terms.append(f"{sign} {name}" if size == 1 else f"{sign} {float(size)!r}f * {name}")
    return " ".join(terms).removeprefix("+ ") or "(v8){0}"


def _twins(rows: Sequence[Sequence[Fraction]]) -> list[tuple[int, int]]:
    """Pairs of rows that differ by signs: those of points p and -p."""
    pairs: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        if any(i in pair for pair in pairs):
            continue
        for j in range(i + 1, len(rows)):
            signs = {b / a for a, b in zip(row, rows[j], strict=True) if a and b}
            if [abs(c) for c in row] == [abs(c) for c in rows[j]] and signs == {Fraction(1), Fraction(-1)}:
                pairs.append((i, j))
                break
    return pairs


def product(matrix: Matrix, names: Sequence[str], fresh: str) -> tuple[list[str], list[str]]:
    """C of a matrix times a vector: what two entries or two rows of it share is summed once.

    Args:
        matrix: [rows, columns].
        names: of the vector's entries, one a column.
        fresh: a prefix of names that are free.

    Returns:
        Statements that come first, and the expression of each row.
    """
    columns, before, names = [list(c) for c in transposed(matrix)], [], list(names)
    for i, j in _twins(columns):
        both, apart = f"{fresh}p{i}", f"{fresh}m{i}"
        before.append(f"v8 {both} = {names[i]} + {names[j]}, {apart} = {names[i]} - {names[j]};")
        same = [a == b for a, b in zip(columns[i], columns[j], strict=True)]
        whole = columns[i]
        columns[i] = [c if s else Fraction(0) for c, s in zip(whole, same, strict=True)]
        columns[j] = [Fraction(0) if s else c for c, s in zip(whole, same, strict=True)]
        names[i], names[j] = both, apart
    rows = list(zip(*columns, strict=True))
    found = [_sum(row, names) for row in rows]
    for i, j in _twins(rows):
        same = [c if a == c else Fraction(0) for c, a in zip(rows[i], rows[j], strict=True)]
        other = [c if a != c else Fraction(0) for c, a in zip(rows[i], rows[j], strict=True)]
        before.append(f"v8 {fresh}e{i} = {_sum(same, names)}, {fresh}o{i} = {_sum(other, names)};")
        found[i], found[j] = f"{fresh}e{i} + {fresh}o{i}", f"{fresh}e{i} - {fresh}o{i}"
    return before, found


def both_sides(
    left: Matrix,
    right: Matrix,
    load: Callable[[int, int], str],
    store: Callable[[int, int], str],
    follow: Callable[[int, int, str], str] | None = None,
) -> str:
    """C of o = left a right^T, entries of which are vectors.

    Args:
        left: [rows, m].
        right: [cols, n].
        load: an entry of a [m, n], read once.
        store: what an entry of o [rows, cols] is assigned to.
        follow: what is made of an entry first.
    """
    cols = len(right[0])
    lines = [f"v8 t[{len(left)}][{cols}];"]
    for j in range(cols):
        names = [f"a{i}" for i in range(len(left[0]))]
        before, rows = product(left, names, "s")
        loads = [f"{name} = {load(i, j)}" for i, name in enumerate(names)]
        lines += ["{", f"v8 {', '.join(loads)};", *before]
        lines += [*(f"t[{i}][{j}] = {row};" for i, row in enumerate(rows)), "}"]
    for i in range(len(left)):
        before, rows = product(right, [f"t[{i}][{j}]" for j in range(cols)], "s")
        if follow:
            rows = [follow(i, j, row) for j, row in enumerate(rows)]
        lines += ["{", *before, *(f"{store(i, j)} = {row};" for j, row in enumerate(rows)), "}"]
    return "\n      ".join(lines)
