"""How alike a few patches are: the share of those that fall into the commonest class or cluster."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.streams import stream_key

# Of random groups of patches whose mean purity is the level of chance.
DRAWS = 200


def purity(groups: NDArray[np.integer]) -> float:
    """The share of members that are of the commonest group; members with a negative group are left out.

    Returns:
        Between 1/n and 1; NaN of nobody.
    """
    known = groups[groups >= 0]
    return float(np.bincount(known).max() / len(known)) if len(known) else float("nan")


def chance(groups: NDArray[np.integer], size: int) -> float:
    """Mean purity of `size` members drawn at random without replacement, over `DRAWS` draws.

    The draws are the same for every pretraining, so that what is held against chance differs by itself alone.
    """
    g = np.random.default_rng(stream_key(0, "evaluate", "purity"))
    size = min(size, len(groups))
    found = [purity(g.choice(groups, size, replace=False)) for _ in range(DRAWS)]
    return float(np.mean(found))


class PixelClusters:
    """k-means of patches by their pixels on [0, 1] (scikit-learn's, k-means++, one start, one thread).

    Args:
        patches: uint8 [n, 3, side, side], to fit on.
        k: clusters; fewer where there are fewer different patches.
    """

    def __init__(self, patches: NDArray[np.uint8], k: int) -> None:
        from sklearn.cluster import KMeans

        flat = _flat(patches)
        different = len(np.unique(flat, axis=0))
        seed = stream_key(0, "evaluate", "kmeans") % 2**32
        self.k = min(k, different)
        self._means = KMeans(self.k, n_init=1, random_state=seed)  # pyright: ignore[reportArgumentType]
        with _one_thread():
            self._means.fit(flat)

    def of(self, patches: NDArray[np.uint8]) -> NDArray[np.integer]:
        """The cluster of each patch."""
        with _one_thread():
            return np.asarray(self._means.predict(_flat(patches)))


def _flat(patches: NDArray[np.uint8]) -> NDArray[np.float64]:
    return patches.reshape(len(patches), -1).astype(np.float64) / 255


def _one_thread() -> Any:
    """Threads add up in the order in which they end, and so do not give the same bits twice."""
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, "openmp")


def crops(
    images: NDArray[np.uint8],
    index: Sequence[int] | NDArray[np.integer],
    centres: NDArray[np.integer],
    side: int,
) -> NDArray[np.uint8]:
    """Square patches around pixels, moved inside the image where they would leave it.

    Args:
        images: uint8 [n, 3, h, w].
        index: of the image of each patch.
        centres: [m, 2], row and column of each patch's centre, in pixels.
        side: of a patch, at most that of the image.

    Returns:
        uint8 [m, 3, side, side]
    """
    height, width = images.shape[-2:]
    top = np.clip(centres[:, 0] - side // 2, 0, height - side)
    left = np.clip(centres[:, 1] - side // 2, 0, width - side)
    found = np.empty((len(centres), 3, side, side), np.uint8)
    for number, (i, y, x) in enumerate(zip(index, top, left, strict=True)):
        found[number] = images[int(i)][:, y : y + side, x : x + side]
    return found
