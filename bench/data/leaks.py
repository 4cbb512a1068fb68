"""Images on both sides of a split: of the same bytes once decoded, and near-equal ones, counted apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data import perceptual
from bench.data.signatures import Images, Signatures, rows_of, signatures
from bench.data.source import Progress

PAIRS_AT_ONCE = 4096  # looked at a second time
# More pairs than these within a hash's reach are no copies: the images are all alike, as handwritten digits are.
MOST_PAIRS = 1_000_000
Pairs = NDArray[np.int64]


@dataclass(frozen=True)
class Leaks:
    """Pairs of a training (or pool) image and a test image.

    Attributes:
        equal: int64, (k, 2): of the same bytes, sorted by test image.
        near: int64, (m, 2): of other bytes that show the same thing; likewise.
        agreement: float32, (m,): of the near ones, see `bench.data.perceptual.agreement`.
        num_images: training images that were looked at.
        num_test: test images that were.
        looked: whether near-equal images were looked for; not where all are too much alike to tell.
    """

    equal: Pairs
    near: Pairs
    agreement: NDArray[np.float32]
    num_images: int
    num_test: int
    looked: bool = True

    def counts(self) -> dict[str, int | None]:
        """Test images with an equal image on the other side, and those with none but a near-equal one.

        The latter are None where nobody looked.
        """
        equal = np.unique(self.equal[:, 1])
        near = len(np.setdiff1d(self.near[:, 1], equal)) if self.looked else None
        return {"test": self.num_test, "equal": len(equal), "near": near}

    def images(self) -> Pairs:
        """Training images that are in a pair of either kind, sorted: what `--drop-leaks` removes."""
        return np.unique(np.concatenate([self.equal[:, 0], self.near[:, 0]]))

    def among(self, kept: Pairs) -> "Leaks":
        """Of a part of the training images.

        Args:
            kept: their positions, sorted.
        """
        parts = []
        for pairs in (self.equal, self.near):
            place = np.searchsorted(kept, pairs[:, 0])
            is_kept = np.append(kept, -1)[np.minimum(place, len(kept))] == pairs[:, 0]
            parts.append((np.stack([place, pairs[:, 1]], axis=1)[is_kept], is_kept))
        (equal, _), (near, is_near) = parts
        return Leaks(equal, near, self.agreement[is_near], len(kept), self.num_test, self.looked)

    def as_json(self) -> dict[str, Any]:
        """All of it."""
        return {
            "equal": self.equal.tolist(),
            "near": self.near.tolist(),
            "agreement": [round(float(value), 4) for value in self.agreement],
            "num_images": self.num_images,
            "num_test": self.num_test,
            "looked": self.looked,
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> "Leaks":
        """What `as_json` gave."""
        equal, near = (np.array(kept[key], np.int64).reshape(-1, 2) for key in ("equal", "near"))
        agreement = np.array(kept["agreement"], np.float32)
        return cls(
            equal, near, agreement, int(kept["num_images"]), int(kept["num_test"]), bool(kept["looked"])
        )


def find(images: Images, test: Images, progress: Progress | None = None) -> Leaks:
    """Look for test images among others.

    Args:
        images: uint8, (n, 3, h, w): of training, or of a pool.
        test: uint8, (m, 3, h, w), of the same size.
        progress: called with (images done, images in all).
    """
    total = len(images) + len(test)
    first = None if progress is None else lambda done, _: progress(done, total)
    then = None if progress is None else lambda done, _: progress(len(images) + done, total)
    return compare(images, signatures(images, first), test, signatures(test, then))


def compare(
    images: Images,
    of_images: Signatures,
    test: Images,
    of_test: Signatures,
    near: bool = True,
    *,
    distance: int = perceptual.DISTANCE,
    agreement: float = perceptual.AGREEMENT,
) -> Leaks:
    """As `find`, where the signatures are there.

    Args:
        images: uint8, (n, 3, h, w).
        of_images: their signatures.
        test: uint8, (m, 3, h, w).
        of_test: likewise.
        near: whether near-equal images are looked for.
        distance: in bits, within which hashes are.
        agreement: that gradients must have.
    """
    equal = equal_pairs(of_images.digests, of_test.digests)
    found = _near_pairs(images, of_images, test, of_test, distance, agreement) if near else None
    if found is None:
        return Leaks(equal, equal[:0], np.empty(0, np.float32), len(images), len(test), looked=False)
    alike, agreements = found
    # Of the same bytes is near too: what has been counted by itself is taken out.
    known = set(map(tuple, equal.tolist()))
    other = np.array([tuple(pair) not in known for pair in alike.tolist()], bool)
    return Leaks(equal, alike[other], agreements[other], len(images), len(test))


def equal_pairs(digests: NDArray[np.uint64], test: NDArray[np.uint64]) -> Pairs:
    """All pairs of equal digests, (k, 2): positions in the first and in the second, sorted by the second."""
    order = np.argsort(digests[:, 0], kind="stable")
    ordered = digests[order, 0]
    low = np.searchsorted(ordered, test[:, 0], "left")
    high = np.searchsorted(ordered, test[:, 0], "right")
    pairs = [
        (int(i), int(j))
        for j in np.flatnonzero(high > low)
        for i in np.sort(order[low[j] : high[j]])
        if digests[i, 1] == test[j, 1]
    ]
    return np.array(pairs, np.int64).reshape(-1, 2)


def copies_within(digests: NDArray[np.uint64]) -> int:
    """How many images are copies of an earlier one."""
    return len(digests) - len(np.unique(digests, axis=0))


def _near_pairs(
    images: Images,
    of_images: Signatures,
    test: Images,
    of_test: Signatures,
    distance: int,
    least: float,
) -> tuple[Pairs, NDArray[np.float32]] | None:
    """Pairs and their agreement; None where so many are within reach that it says nothing."""
    reached = 0
    shown, tested = np.flatnonzero(~of_images.blank), np.flatnonzero(~of_test.blank)
    found = [(np.empty((0, 2), np.int64), np.empty(0, np.float32))]
    for i, j in perceptual.within(of_images.hashes[shown], of_test.hashes[tested], distance):
        reached += len(i)
        if reached > MOST_PAIRS:
            return None
        for start in range(0, len(i), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            rows, columns = shown[i[part]], tested[j[part]]
            alike = perceptual.agreement(_small(images, rows), _small(test, columns))
            near = alike >= least
            found.append((np.stack([rows, columns], axis=1)[near], alike[near]))
    pairs, agreement = (np.concatenate(part) for part in zip(*found, strict=True))
    return pairs, agreement


def _small(images: Images, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Luminance of some images, each of which is read once."""
    unique, back = np.unique(rows, return_inverse=True)
    return perceptual.luminance(rows_of(images, unique))[back]
