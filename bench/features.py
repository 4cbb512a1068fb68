"""What enters the trained part of a probe: the frozen prefix's output, computed once per image or for each batch."""

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.data.batches import Pixels
from models.backbones import Backbone

CHUNK = 256


@runtime_checkable
class Source(Protocol):
    """Inputs of the trained part, and labels."""

    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Inputs [b, ...] and labels [b]."""
        ...


class ComputedFeatures:
    """The plain way: run the frozen prefix for every batch.

    With `batch_statistics` the prefix's BN normalises by the batch and updates its running statistics while the
    probe trains, as the authors' code does although it calls these layers frozen.
    """

    def __init__(
        self, pixels: Pixels, backbone: Backbone, stages: int, batch_statistics: bool = False
    ) -> None:
        self.pixels, self.backbone, self.stages = pixels, backbone, stages
        self.batch_statistics = batch_statistics

    @torch.no_grad()
    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of some images."""
        images, labels = self.pixels.batch(index, flip)
        for module in self.backbone.stage_modules(0, self.stages):
            module.train(self.batch_statistics and self.backbone.training)
        return self.backbone(images, 0, self.stages), labels


def _never() -> None:
    pass


class CachedFeatures:
    """The prefix's output, computed once: exact, because a frozen layer's BN runs on stored statistics.

    Args:
        source: computes them.
        mirrored: whether the mirrored images' are wanted too.
        between: called between chunks of images; may raise to end the work.

    Attributes:
        features: [n, ...] float, on the images' device; a second copy for the mirrored images on demand.
    """

    def __init__(
        self, source: ComputedFeatures, mirrored: bool, between: Callable[[], None] = _never
    ) -> None:
        self.labels = source.pixels.labels
        self.features = self._compute(source, False, between)
        self.mirrored = self._compute(source, True, between) if mirrored else None

    @staticmethod
    def _compute(
        source: ComputedFeatures, mirror: bool, between: Callable[[], None]
    ) -> Float[Tensor, "n ..."]:
        device = source.pixels.device
        features: Tensor | None = None
        for begin in range(0, len(source.pixels), CHUNK):
            between()
            index = torch.arange(begin, min(begin + CHUNK, len(source.pixels)), device=device)
            flip = torch.ones(len(index), dtype=torch.bool, device=device) if mirror else None
            part, _ = source.batch(index, flip)
            if features is None:
                features = part.new_empty((len(source.pixels), *part.shape[1:]))
            features[begin : begin + len(index)] = part
        if features is None:
            raise ValueError("no images to compute features of")
        return features

    def batch(self, index: Int[Tensor, " b"], flip: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of some images."""
        chosen = self.features[index]
        if flip is not None:
            if self.mirrored is None:
                raise ValueError("features of mirrored images were not computed")
            wide = flip.view(-1, *[1] * (chosen.ndim - 1))
            chosen = torch.where(wide, self.mirrored[index], chosen)
        return chosen, self.labels[index]


def cache_bytes(source: ComputedFeatures, mirrored: bool) -> int:
    """What `CachedFeatures` of a source would occupy."""
    one, _ = source.batch(torch.zeros(1, dtype=torch.int64, device=source.pixels.device))
    return one.nbytes * len(source.pixels) * (2 if mirrored else 1)
