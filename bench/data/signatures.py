"""What is kept of images to find them again: a digest of their bytes and a hash of what they show.

A chunk of images is in memory at a time, whether they are memory-mapped or decoded as they are asked for.
"""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.data import perceptual
from bench.data.source import Progress

CHUNK_BYTES = 8 << 20  # of decoded images at a time


class Images(Protocol):
    """uint8, (n, 3, h, w): an array, or what gives one of the rows that it is asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, 3, h, w)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


@dataclass(frozen=True)
class Signatures:
    """Of n images.

    Attributes:
        digests: uint64, (n, 2): 128 bits of BLAKE2 over the decoded bytes.
        hashes: uint64, (n,): see `bench.data.perceptual.hashes`.
        blank: bool, (n,): nothing is to be seen, so the hash means nothing.
        grey: bool, (n,): red, green and blue are the same in every pixel.
    """

    digests: NDArray[np.uint64]
    hashes: NDArray[np.uint64]
    blank: NDArray[np.bool_]
    grey: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.hashes)


def rows_of(images: Images, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Some of the images; neighbours of an array without a copy."""
    if isinstance(images, np.ndarray) and len(rows) and rows[-1] - rows[0] == len(rows) - 1:
        return images[rows[0] : rows[-1] + 1]
    return np.asarray(images[rows])


def chunk_rows(images: Images) -> int:
    """How many images are in memory at a time."""
    return max(1, CHUNK_BYTES // max(1, int(np.prod(images.shape[1:]))))


def digests(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """(n, 2): 128 bits of each image's bytes."""
    every = b"".join(blake2b(np.ascontiguousarray(image).data, digest_size=16).digest() for image in images)
    return np.frombuffer(every, np.uint64).reshape(-1, 2)


def signatures(images: Images, progress: Progress | None = None) -> Signatures:
    """Look at every image once.

    Args:
        images: uint8, (n, 3, h, w).
        progress: called with (images done, images in all).
    """
    count, step = len(images), chunk_rows(images)
    found = Signatures(
        np.empty((count, 2), np.uint64),
        np.empty(count, np.uint64),
        np.empty(count, bool),
        np.empty(count, bool),
    )
    for start in range(0, count, step):
        rows = slice(start, min(start + step, count))
        chunk = rows_of(images, np.arange(rows.start, rows.stop))
        small = perceptual.luminance(chunk)
        found.digests[rows] = digests(chunk)
        found.hashes[rows] = perceptual.hashes(small)
        found.blank[rows] = perceptual.is_blank(small)
        found.grey[rows] = ((chunk[:, 0] == chunk[:, 1]) & (chunk[:, 1] == chunk[:, 2])).all(axis=(1, 2))
        if progress is not None:
            progress(rows.stop, count)
    return found
