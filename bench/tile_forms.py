"""Forms of convolutions between a small image, of 4x4 tiles, and a large one, of windows. No torch.

One of stride 2 falls into four, one for each parity of the large image's rows and columns, and each into as many
products of a tile as its rows' matrices have times its columns'. A 3x3 convolution of stride 2 meets the odd rows
with two taps and the even ones with one, whose products share a filter and leave out the points at infinity: of 25
products in each of four parts there remain 81 in all, with 36 filters.
"""

import functools
from dataclasses import dataclass

from bench.minimal_filters import ONE, THREE, TILE, TWO, Matrix


@dataclass(frozen=True)
class Side:
    """Rows of a part, or columns.

    Attributes:
        first: of them in the large image.
        above: how many of them a window has before its tile's own.
        taps: of the filter, which they meet.
        filter: G [products, taps], or [1, taps] where all products are by one filter.
        image: B [products, rows of a window].
    """

    first: int
    above: int
    taps: tuple[int, ...]
    filter: Matrix
    image: Matrix

    @property
    def overlaps(self) -> bool:
        """Whether a window reaches beyond its tile."""
        return len(self.image[0]) > TILE


@dataclass(frozen=True)
class Form:
    """A convolution.

    Attributes:
        name: in C.
        back: A [4, products] of the small image, a side.
        sides: each with each makes a part; the first has all products.
        taps: of the filter, a side.
        step: how many of the large image's pixels a side are one of the small one's.
        joined: how many parts' products are one after another in memory, to be summed as one.
    """

    name: str
    back: Matrix
    sides: tuple[Side, ...]
    taps: int
    step: int
    joined: int

    @property
    def points(self) -> int:
        """Of a side: products of the part that has most."""
        return len(self.back[0])

    @functools.cached_property
    def parts(self) -> tuple[tuple[Side, Side], ...]:
        """Rows and columns of each."""
        return tuple((rows, cols) for rows in self.sides for cols in self.sides)

    @functools.cached_property
    def filters(self) -> int:
        """How many transforms of a filter there are."""
        return sum(len(rows.filter) * len(cols.filter) for rows, cols in self.parts)

    @functools.cached_property
    def products(self) -> int:
        """Of a tile, with each pair of channels."""
        return sum(len(rows.image) * len(cols.image) for rows, cols in self.parts)

    @functools.cached_property
    def runs(self) -> list[tuple[int, int, int]]:
        """Products that are one call: a point, the (first) part, the point whose filter it takes."""
        found, n = [], self.points
        for i in range(n):
            for j in range(n):
                for part, (rows, cols) in enumerate(self.parts[:: self.joined]):
                    if i < len(rows.image) and j < len(cols.image):
                        taken = (0 if len(rows.filter) == 1 else i), (0 if len(cols.filter) == 1 else j)
                        found.append((i * n + j, part, taken[0] * n + taken[1]))
        return found


def _side(matrices: tuple[Matrix, Matrix, Matrix], first: int, above: int, *taps: int) -> Side:
    return Side(first, above, taps, *matrices[1:])


# Of stride 2 a small image's row meets, of the large one's even rows, its own and the next; of the odd ones, the one
# before and its own.
CONVOLVE = Form("three", THREE[0], (_side(THREE, 0, 1, 0, 1, 2),), 3, 1, 1)
HALVE = Form("two", TWO[0], (_side(TWO, 0, 0, 1, 3), _side(TWO, 1, 1, 0, 2)), 4, 2, 4)
HALVE_BY_THREE = Form("mixed", TWO[0], (_side(TWO, 1, 1, 0, 2), _side(ONE, 0, 0, 1)), 3, 2, 1)
FORMS = (CONVOLVE, HALVE, HALVE_BY_THREE)
