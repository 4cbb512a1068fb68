"""Images that show the same thing in other bytes: a 64-bit hash to find them, a second look to tell them.

The hash is pHash's: the signs, against their median, of the 8x8 lowest frequencies of the luminance at 32x32 pixels
(Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010). Images of 32 pixels have few
other frequencies, so many pairs within its reach are skies, seas and roads that are merely alike. The second look
tells them apart: the correlation of luminance gradients, which such pairs do not share. docs/data.md has how
often both are wrong.
"""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIDE = 32
DISTANCE = 8  # bits of 64
AGREEMENT = 0.6  # correlation of gradients
BLOCK = (16, 8192)  # test by training images: what is compared at once stays in a core's cache
BLANK = 1.0  # levels of 255: the standard deviation of pixels below which nothing is to be seen


def luminance(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(n, 3, h, w) as (n, 32, 32): ITU-R 601 luminance, each pixel the mean of the area that it covers."""
    height, width = images.shape[-2:]
    grey = np.zeros((len(images), height, width), np.float32)
    for channel, weight in enumerate((0.299, 0.587, 0.114)):
        grey += np.float32(weight) * images[:, channel]
    if height == width == SIDE:
        return grey
    return np.einsum("yi,nij,xj->nyx", _averages(height), grey, _averages(width), optimize=True)


def hashes(small: NDArray[np.float32]) -> NDArray[np.uint64]:
    """PHash of `luminance`: (n,)."""
    cosines = _cosines()
    waves = (cosines @ small @ cosines.T).reshape(len(small), 64)
    waves[:, 0] = -np.inf  # the mean brightness says nothing of what is shown
    bits = waves > np.median(waves[:, 1:], axis=1, keepdims=True)
    return np.packbits(bits, axis=1).view(np.uint64)[:, 0]


def gradients(small: NDArray[np.float32]) -> NDArray[np.float32]:
    """Differences to the pixel below and to the right of `luminance`: (n, 2 * 31 * 31), each of mean 0."""
    corner = small[:, :-1, :-1]
    both = np.stack([small[:, 1:, :-1] - corner, small[:, :-1, 1:] - corner], axis=1).reshape(len(small), -1)
    return both - both.mean(axis=1, keepdims=True)


def is_blank(small: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether there is nothing to be seen, so that a hash would be of noise: (n,)."""
    return small.std(axis=(1, 2)) < BLANK


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """Correlation of the gradients of pairs of `luminance`: (n,), 1 where they are equal."""
    a, b = gradients(one), gradients(other)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return (a * b).sum(axis=1) / np.maximum(norms, 1e-9)


def within(
    hashed: NDArray[np.uint64], queries: NDArray[np.uint64], distance: int = DISTANCE
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """All pairs of hashes no further apart than `distance` bits.

    Every pair is looked at, a block at a time, on all cores (NumPy lets go of the interpreter meanwhile): 50,000 by
    10,000 take about a second, and memory does not grow with either.

    Args:
        hashed: (n,).
        queries: (m,).
        distance: in bits.

    Yields:
        Indices into `hashed` and into `queries` of the same length, in the order of the queries.
    """
    rows, columns = BLOCK

    def look(start: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        wanted = queries[start : start + rows, None]
        apart = np.empty((len(wanted), columns), np.uint64)
        bits = np.empty(apart.shape, np.uint8)
        found: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = []
        for first in range(0, len(hashed), columns):
            block = hashed[None, first : first + columns]
            xor, count = apart[:, : block.shape[1]], bits[:, : block.shape[1]]
            np.bitwise_xor(block, wanted, out=xor)
            np.bitwise_count(xor, out=count)
            near = count <= distance
            if near.any():
                query, position = np.nonzero(near)
                found.append((position + first, query + start))
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        position, query = (np.concatenate(part) for part in zip(*found, strict=True))
        order = np.lexsort((position, query))
        return position[order], query[order]

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    starts = range(0, len(queries), rows)
    with ThreadPoolExecutor(min(16, cores), thread_name_prefix="hashes") as pool:
        # A few at a time, so that what was found is taken before more is looked for.
        for begin in range(0, len(starts), 64):
            yield from pool.map(look, starts[begin : begin + 64])


@cache
def _averages(size: int) -> NDArray[np.float32]:
    """(32, size): area averages from `size` pixels to 32; where there are fewer, pixels are repeated in part."""
    edges = np.linspace(0, size, SIDE + 1)
    starts, ends = edges[:-1, None], edges[1:, None]
    pixels = np.arange(size)[None]
    overlap = np.clip(np.minimum(ends, pixels + 1) - np.maximum(starts, pixels), 0, None)
    return (overlap / overlap.sum(axis=1, keepdims=True)).astype(np.float32)


@cache
def _cosines() -> NDArray[np.float32]:
    """(8, 32): the eight lowest waves of the orthonormal DCT-II."""
    waves, places = np.arange(8)[:, None], np.arange(SIDE)[None]
    table = np.cos(np.pi * (places + 0.5) * waves / SIDE) * np.sqrt(2 / SIDE)
    table[0] /= np.sqrt(2)
    return table.astype(np.float32)
