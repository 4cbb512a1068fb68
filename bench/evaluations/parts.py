"""What the parts of a part-based method are: how many are used, whether they overlap, how consistent each is.

The paper (Gupta et al., CVPR 2020, section 4.2, figures 3 to 5) shows pictures and asserts the rest; these are the
numbers for it. Presence is judged on the test images. The patches of a part come from the labelled training images,
as in the paper's figure 4, and nothing is picked by hand: a part's patches are those with its highest probability of
occurrence, at most one an image, ties by the order of the images.

The purity of a part is the share of its patches that fall into the commonest class of their images (labels that no
part was trained on), or into the commonest cluster of a k-means of patches' pixels. Either is held against the mean
purity of as many random patches, each of another image and at any location: the k-means is fit on those, and they
are the same for every pretraining on the data.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bench.data.arrays import Split
from bench.errors import BenchError
from bench.evaluations.purity import PixelClusters, chance, crops, purity
from bench.evaluations.settings import PartsSettings
from bench.evaluations.swaps import swap
from bench.evaluations.task import Findings, Task
from bench.streams import stream_key
from models.method import Method

# Random patches on which the k-means is fit and from which chance is drawn.
POOL = 5_000
# What the figures show: test images with all maps, and the patches of so many parts.
IMAGES, SHOWN = 12, 16


@dataclass(frozen=True)
class Presence:
    """Where parts are present in the test images, counted.

    Attributes:
        images: of all parts, share of images in which the part is present somewhere [n].
        locations: share of all locations at which it is present [n].
        both: share of all locations at which both of two parts are [n, n].
        one: share of all locations at which some part is.
        two: share of all locations at which two or more are.
        mean: probability of occurrence, mean over locations [n].
    """

    images: NDArray[np.float64]
    locations: NDArray[np.float64]
    both: NDArray[np.float64]
    one: float
    two: float
    mean: NDArray[np.float64]

    def iou(self, parts: NDArray[np.intp]) -> float | None:
        """Intersection over union of two parts' locations, mean over the pairs of some parts; None of no pair."""
        both = self.both[np.ix_(parts, parts)]
        union = self.locations[parts][:, None] + self.locations[parts][None] - both
        pairs = np.triu_indices(len(parts), 1)
        if not len(pairs[0]):
            return None
        return float(np.mean(both[pairs] / union[pairs]))


@dataclass(frozen=True)
class Patches:
    """Of each part, the places where it is likeliest, at most one an image; the likeliest first.

    Attributes:
        probability: of occurrence there [n, top].
        image: number of the image [n, top].
        location: row-major number of the location [n, top].
        side: locations a side.
    """

    probability: NDArray[np.float32]
    image: NDArray[np.int64]
    location: NDArray[np.int64]
    side: int


def presence(maps: Iterable[torch.Tensor], threshold: float) -> Presence:
    """Count where parts are present, from probabilities [b, n, h, w] chunk by chunk."""
    images = locations = both = mean = torch.zeros(1, dtype=torch.float64)
    one = two = num_images = num_locations = 0
    for chunk in maps:
        there = chunk > threshold
        flat = there.transpose(0, 1).flatten(1).double()
        images = images + there.flatten(2).any(2).sum(0).cpu()
        locations, both = locations + flat.sum(1).cpu(), both + (flat @ flat.T).cpu()
        mean = mean + chunk.double().sum((0, 2, 3)).cpu()
        many = there.sum(1)
        one, two = one + int((many >= 1).sum()), two + int((many >= 2).sum())
        num_images, num_locations = num_images + len(chunk), num_locations + flat.shape[1]
    return Presence(
        images.numpy() / num_images,
        locations.numpy() / num_locations,
        both.numpy() / num_locations,
        one / num_locations,
        two / num_locations,
        mean.numpy() / num_locations,
    )


def top_patches(maps: Iterable[torch.Tensor], count: int) -> Patches:
    """The likeliest patches, from probabilities [b, n, h, w] chunk by chunk; of equals, those of earlier images."""
    kept: tuple[NDArray[Any], ...] | None = None
    seen = side = 0
    for chunk in maps:
        highest, where = (t.T.cpu().numpy() for t in chunk.float().flatten(2).max(2))
        number = np.broadcast_to(np.arange(seen, seen + len(chunk)), where.shape)
        new = (highest, number, where)
        both = new if kept is None else tuple(np.concatenate(pair, 1) for pair in zip(kept, new, strict=True))
        order = np.argsort(-both[0], 1, kind="stable")[:, :count]
        kept = tuple(np.take_along_axis(values, order, 1) for values in both)
        seen, side = seen + len(chunk), chunk.shape[-1]
    assert kept is not None
    probability, image, location = kept
    return Patches(probability, image, location, side)


def centres(location: NDArray[np.integer], side: int, image_size: int) -> NDArray[np.int64]:
    """Pixels in the middle of locations of a grid of so many a side: [m, 2], row and column."""
    grid = np.stack([location // side, location % side], 1)
    return np.floor((grid + 0.5) * image_size / side).astype(np.int64)


@torch.no_grad()
def parts(task: Task) -> Findings:
    """How many parts are alive, how often they overlap, how pure their patches are.

    Saves "part_numbers", an entry a part: alive, share of images and locations, mean probability, purities, and of
    its top patches the image, location, probability and label [n, top]. And "parts", the pictures of figures 3 to 5:
    images uint8 [12, 3, h, w] with occurrence float16 [12, n, i, j]; patches uint8 [shown, top, 3, side, side] of the
    parts in shown [shown], most active first; and what `bench.evaluations.swaps.swap` gives.
    """
    s: PartsSettings = task.settings
    method, train = task.method(), task.data.train
    found = presence(_maps(task, method, task.data.test), s.threshold)
    alive = found.images >= s.alive
    best = top_patches(_maps(task, method, train), min(s.top, len(train)))
    size, (num_parts, count) = train.images.shape[-1], best.image.shape
    side = min(s.patch or 2 * method.backbone.stride, size)
    patches = np.stack([
        crops(train.images, best.image[part], centres(best.location[part], best.side, size), side)
        for part in range(num_parts)
    ])  # fmt: skip
    pool, pool_patches = _pool(train, best.side, side)
    clusters = PixelClusters(pool_patches, s.clusters)
    task.stop.raise_if_asked()
    labels = train.labels[best.image]
    by_label = np.array([purity(row) for row in labels])
    by_pixel = np.array([purity(clusters.of(row)) for row in patches])
    by_chance = {
        "purity_labels": chance(train.labels[pool], count),
        "purity_pixels": chance(clusters.of(pool_patches), count),
    }
    order = np.argsort(-found.images, kind="stable")
    task.attempt.save_arrays(
        "part_numbers",
        alive=alive,
        images=found.images,
        locations=found.locations,
        probability=found.mean,
        purity_labels=by_label,
        purity_pixels=by_pixel,
        order=order.astype(np.int16),
        top_image=best.image.astype(np.int32),
        top_location=best.location.astype(np.int16),
        top_probability=best.probability,
        top_label=labels.astype(np.int16),
    )
    shown = order[:SHOWN]
    task.attempt.save_arrays(
        "parts",
        shown=shown.astype(np.int16),
        patches=patches[shown],
        **_figure_3(task, method),
        **swap(task, method),
    )
    metrics = {"parts_alive": float(alive.sum()), "coverage": found.one, "overlap": found.two}
    if (iou := found.iou(np.flatnonzero(alive))) is not None:
        metrics["overlap_iou"] = iou
    for name, values in (("purity_labels", by_label), ("purity_pixels", by_pixel)):
        if alive.any() and np.isfinite(values[alive]).all() and np.isfinite(by_chance[name]):
            metrics |= {name: float(values[alive].mean()), f"{name}_chance": by_chance[name]}
    facts = {
        "parts": num_parts,
        "locations": best.side**2,
        "threshold": s.threshold,
        "alive_share": s.alive,
        "top": count,
        "patches_from": "training images",
        "patch": side,
        "clusters": clusters.k,
    }
    return Findings(metrics, facts)


def _maps(task: Task, method: Method, split: Split) -> Iterator[torch.Tensor]:
    """Probabilities of occurrence of a split's images, chunk by chunk: [b, n, h, w]."""
    pixels = task.pixels(split)
    for index in task.chunks(len(pixels), ahead=pixels):
        found = method.parts(pixels.batch(index)[0])
        if found is None:
            raise BenchError(f"{task.config['pretrain']['method']} is registered with parts and shows none")
        yield found.occurrence
        task.told(int(index[-1]) + 1, len(pixels))


def _pool(split: Split, grid: int, side: int) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Random patches, at most one an image, at any of the locations: indices of their images, and their pixels."""
    g = np.random.default_rng(stream_key(0, "evaluate", "pool"))
    index = np.sort(g.permutation(len(split))[:POOL])
    location = g.integers(grid**2, size=len(index))
    return index, crops(split.images, index, centres(location, grid, split.images.shape[-1]), side)


def _figure_3(task: Task, method: Method) -> dict[str, Any]:
    test = task.data.test
    chosen = task.pictures(test, IMAGES)
    images = np.array(test.images[chosen])
    (maps,) = _maps(task, method, Split(images, test.labels[chosen]))
    return {"images": images, "occurrence": maps.half().cpu().numpy()}
