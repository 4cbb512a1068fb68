"""Predictions in a sixth of the space: the best class of each image, and whether the true one is among five.

That is all that tables, claims and confusions ask of them: accuracies, which images were right, which class stood in
the true one's place. The classes on ranks two to five are lost, and read as -1.
"""

from typing import Any, Literal

import numpy as np

Kept = Literal["all", "first"]
# How an array is stored: as it was; the best class of each image; a bit an image, whether five hold the true one.
RAW, FIRST, HIT = "", "first", "hit"
LABELS, PREFIX = "labels", "top5_"


def shorten(best: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The short form of predictions.

    Args:
        best: classes, int [n, k], the best first.
        labels: true classes, int [n].

    Returns:
        the best class of each image, uint8 or int16 [n], and whether any of the k is the true one, as bits; None
        where they are no such arrays.
    """
    if best.ndim != 2 or best.dtype.kind != "i" or labels.shape != best.shape[:1] or not best.size:
        return None
    first = np.ascontiguousarray(best[:, 0])
    high = int(first.max())
    # The true class is what stands for a hit, so it must be one; a label of -1 would be hit by what is unknown.
    if high >= 1 << 15 or min(int(first.min()), int(labels.min())) < 0:
        return None
    hit = (best == labels[:, None]).any(axis=1)
    return first.astype(np.uint8 if high < 256 else "<i2"), np.packbits(hit)


def lengthen(
    first: np.ndarray, hit: np.ndarray, labels: np.ndarray, shape: tuple[int, ...], dtype: Any
) -> np.ndarray:
    """Predictions [n, k] from their short form: the true class stands second where it was on ranks two to k."""
    best = np.full(shape, -1, dtype)
    best[:, 0] = first
    if shape[1] > 1:
        lower = np.unpackbits(hit, count=shape[0]).astype(bool) & (first != labels)
        best[lower, 1] = labels[lower]
    return best


def is_short(best: np.ndarray) -> bool:
    """Whether nothing is known of ranks three and below, so that the short form may hold all there is."""
    return best.ndim == 2 and best.shape[1] > 2 and bool((best[:, 2:] == -1).all())
