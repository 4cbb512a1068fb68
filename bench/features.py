"""What enters the trained part of a probe: the frozen prefix's output, computed once per image or for each batch.

A mirrored image's features are computed, never the features mirrored: a convolution of stride 2 over an even number
of pixels, such as a ResNet's first, reads other pixels of the mirrored image.
"""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.data.batches import Pixels
from bench.data.shuffling import Reach
from models.backbones import Backbone

# Of 64 to 1000 images the quickest on a core whose caches hold what 128 of 32 x 32 pixels need between two layers.
CHUNK = 128


@runtime_checkable
class Source(Protocol):
    """Inputs of the trained part, and labels.

    Attributes:
        index_device: where an index costs nothing to look up.
    """

    index_device: torch.device

    def expect(
        self, parts: Iterable[Int[Tensor, " b"]], of: object = None, reach: Reach | None = None
    ) -> None:
        """Say which indices will be asked for next; see `bench.data.batches.Pixels.expect`."""
        ...

    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [b, ...], the caller's own, and labels [b]."""
        ...

    def look(self, index: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """The same, not to be written to: what lies together in memory is not copied."""
        ...


class ComputedFeatures:
    """Run the frozen prefix for every batch: the plain way, unless a faster `prefix` is given.

    With `batch_statistics` the prefix's BN normalises by the batch and updates its running statistics while the
    probe trains, as the authors' code does although it calls these layers frozen.

    Args:
        pixels: the images.
        backbone: whose prefix it is.
        stages: how many stages that has.
        batch_statistics: as above.
        prefix: computes the features of images in place of the backbone's modules.
    """

    def __init__(
        self,
        pixels: Pixels,
        backbone: Backbone,
        stages: int,
        batch_statistics: bool = False,
        prefix: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.pixels, self.backbone, self.stages, self.prefix = pixels, backbone, stages, prefix
        self.batch_statistics = batch_statistics
        self.index_device = pixels.index_device

    def expect(
        self, parts: Iterable[Int[Tensor, " b"]], of: object = None, reach: Reach | None = None
    ) -> None:
        """The images of these indices are read ahead."""
        self.pixels.expect(parts, of, reach)

    @torch.no_grad()
    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of some images."""
        images, labels = self.pixels.batch(index, flip)
        if self.prefix is not None:
            return self.prefix(images), labels
        for module in self.backbone.stage_modules(0, self.stages):
            module.train(self.batch_statistics and self.backbone.training)
        return self.backbone(images, 0, self.stages), labels

    def look(self, index: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """Features of some images."""
        return self.batch(index)


def never() -> None:
    """What is called between chunks where nobody wants to stop."""


def compute(
    source: ComputedFeatures,
    mirror: bool,
    between: Callable[[], None] = never,
    allocate: Callable[[Tensor, int], Tensor] | None = None,
) -> Float[Tensor, "n ..."]:
    """The features of all images of a source.

    Args:
        source: computes them.
        mirror: of the mirrored images.
        between: called between chunks of images; may raise to end the work.
        allocate: given a chunk's features and the number of images, where to put them; None is memory.
    """
    features: Tensor | None = None
    begins = range(0, len(source.pixels), CHUNK)
    source.expect(_numbers(source, begin) for begin in begins)
    for begin in begins:
        between()
        part = chunk(source, begin, mirror)
        if features is None:
            features = (allocate or empty_rows)(part, len(source.pixels))
        features[begin : begin + len(part)] = part
    if features is None:
        raise ValueError("no images to compute features of")
    return features


def chunk(source: ComputedFeatures, begin: int, mirror: bool) -> Float[Tensor, "c ..."]:
    """The features of the next few images from `begin` on."""
    index = _numbers(source, begin)
    flip = torch.ones(len(index), dtype=torch.bool, device=source.pixels.device) if mirror else None
    return source.batch(index, flip)[0]


def _numbers(source: ComputedFeatures, begin: int) -> Int[Tensor, " c"]:
    return torch.arange(begin, min(begin + CHUNK, len(source.pixels)), device=source.index_device)


class CachedFeatures:
    """The prefix's output, computed once: exact, because a frozen layer's BN runs on stored statistics.

    Args:
        labels: of all images.
        features: [n, ...] float, on the labels' device.
        mirrored: of the mirrored images, where those are wanted.
        rows: which of the images are meant by 0, 1, ...; None is all of them.
    """

    def __init__(
        self,
        labels: Int[Tensor, " n"],
        features: Float[Tensor, "n ..."],
        mirrored: Float[Tensor, "n ..."] | None = None,
        rows: Int[Tensor, " m"] | None = None,
    ) -> None:
        self.labels, self.features, self.mirrored, self.rows = labels, features, mirrored, rows
        self.index_device = labels.device

    def expect(
        self, parts: Iterable[Int[Tensor, " b"]], of: object = None, reach: Reach | None = None
    ) -> None:
        """Nothing is read any more."""

    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of some images."""
        if self.rows is not None:
            index = self.rows[index]
        chosen = _rows(self.features, index)
        if flip is not None:
            if self.mirrored is None:
                raise ValueError("features of mirrored images were not computed")
            wide = flip.view(-1, *[1] * (chosen.ndim - 1))
            chosen = torch.where(wide, _rows(self.mirrored, index), chosen)
        return chosen, self.labels[index]

    def look(self, index: Int[Tensor, " b"]) -> tuple[Tensor, Tensor]:
        """Features of some images; a view of those that follow one another."""
        if self.rows is not None or not len(index):
            return self.batch(index)
        begin = int(index[0])
        end = begin + len(index)
        if not torch.equal(index, torch.arange(begin, end, device=index.device)):
            return self.batch(index)
        return self.features[begin:end], self.labels[begin:end]


def empty_rows(like: Float[Tensor, "c ..."], count: int) -> Float[Tensor, "n ..."]:
    """Memory for the features of `count` images, channel by channel."""
    return like.new_empty((count, *like.shape[1:]))


def empty_pixels(like: Float[Tensor, "c ..."], count: int) -> Float[Tensor, "n ..."]:
    """The same pixel by pixel, as convolutions want it."""
    if like.ndim != 4:
        return empty_rows(like, count)
    _, c, h, w = like.shape
    return like.new_empty((count, h, w, c)).permute(0, 3, 1, 2)


def _rows(features: Float[Tensor, "n ..."], index: Int[Tensor, " b"]) -> Float[Tensor, "b ..."]:
    if features.ndim == 4 and not features.is_contiguous():
        return features.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
    return features[index]


def cache_bytes(source: ComputedFeatures, mirrored: bool) -> int:
    """What the features of all images of a source would occupy."""
    one, _ = source.batch(torch.zeros(1, dtype=torch.int64, device=source.pixels.device))
    return one.nbytes * len(source.pixels) * (2 if mirrored else 1)
