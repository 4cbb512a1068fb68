"""Some of the images of an array, without a copy where there are many."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# So many bytes are copied rather than looked up row by row.
COPIED = 1 << 30


class ChosenImages:
    """Rows of images by their numbers, read when they are asked for.

    Args:
        images: uint8 [n, 3, h, w], or anything that gives rows of them by an integer array.
        rows: [m] numbers of the rows that are meant by 0, 1, ...
    """

    def __init__(self, images: Any, rows: NDArray[np.integer]) -> None:
        self.images, self.rows = images, rows

    @property
    def shape(self) -> tuple[int, ...]:
        """[m, 3, h, w]."""
        return (len(self.rows), *self.images.shape[1:])

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the images."""
        return self.images.dtype

    @property
    def nbytes(self) -> int:
        """What the chosen images take in memory once they are read."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: Any) -> NDArray[np.uint8]:
        """Rows by a number, a slice or an integer array."""
        return self.images[self.rows[key]]


def choose_rows(images: Any, rows: NDArray[np.integer]) -> Any:
    """Some rows of images: a copy of an array's, unless it is large; else looked up when they are asked for."""
    chosen = ChosenImages(images, rows)
    return images[rows] if isinstance(images, np.ndarray) and chosen.nbytes <= COPIED else chosen
