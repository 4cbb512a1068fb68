"""Features of a data set's images by a backbone, in chunks: memory for one chunk, whatever the number of images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.build import build_backbone, under
from bench.checkpoint import read_with_digest
from bench.data.arrays import Dataset, Split
from bench.data.batches import Pixels, Scale
from bench.errors import RecordError, UsageError
from bench.given import Given
from bench.heads import freeze_index
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.records import Run
from bench.taking import fill
from models.backbones import Backbone, point_names

CHUNK = 250
Shape = Literal["pooled", "flat"]


@dataclass(frozen=True)
class Rows:
    """A chunk of what is written.

    Attributes:
        features: float32 [n, d].
        labels: int64 [n]; -1 where there is none.
        split: "train" or "test".
        rows: int64 [n], the place of each image in that split.
    """

    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    split: str
    rows: NDArray[np.int64]


@dataclass(frozen=True)
class Embedder:
    """A backbone up to a freeze point, and how its input looks and its output is given.

    Attributes:
        backbone: frozen, on its device.
        point: the freeze point.
        scale: of the input.
        shape: "pooled" averages a map over its locations, "flat" keeps all of them.
        weights: SHA-256 of the weights, "" of random ones.
    """

    backbone: Backbone
    point: str
    scale: Scale
    shape: Shape
    weights: str

    def rows(self, name: str, split: Split, device: str) -> Iterator[Rows]:
        """The features of a split's images, chunk by chunk, in order."""
        stages = freeze_index(self.backbone, self.point)
        for begin in range(0, len(split), CHUNK):
            place = slice(begin, min(begin + CHUNK, len(split)))
            part = Split(np.asarray(split.images[place]), split.labels[place])
            index = torch.arange(len(part), device=device)
            # As `bench.evaluate` computes them; a context about the loop would hold for the caller's code too.
            flags = torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=False
            )
            with torch.no_grad(), flags:
                maps: Tensor = self.backbone(Pixels(part, device, self.scale).batch(index)[0], 0, stages)
            features = maps.mean((2, 3)) if self.shape == "pooled" else maps.flatten(1)
            rows = np.arange(place.start, place.stop, dtype=np.int64)
            labels = np.asarray(part.labels, np.int64)
            yield Rows(features.float().cpu().numpy(), labels, name, rows)


def of_run(run: Run, point: str | None, scale: Scale, shape: Shape, device: str) -> Embedder:
    """The backbone that a pretraining left.

    Raises:
        RecordError: its weights are broken or gone.
        UsageError: it has no such freeze point.
    """
    backbone = build_backbone(run.config["backbone"], 0)
    assert run.weights is not None
    try:
        tensors, digest = read_with_digest(run.weights)
    except FileNotFoundError as error:
        raise RecordError(str(error)) from None
    backbone.load_state_dict(under(tensors, "backbone."))
    return _frozen(backbone, point, scale, shape, digest, device)


def of_given(given: Given, point: str | None, scale: Scale, shape: Shape, device: str) -> Embedder:
    """A backbone with weights from elsewhere; see `of_run`."""
    backbone = build_backbone(given.backbone, 0)
    fill(backbone, given.origin, Path(given.path))
    return _frozen(backbone, point, scale, shape, given.sha256, device)


def of_random(name: str, seed: int, point: str | None, scale: Scale, shape: Shape, device: str) -> Embedder:
    """A backbone with the initial weights of a seed; see `of_run`."""
    return _frozen(build_backbone(name, seed), point, scale, shape, "", device)


def _frozen(
    backbone: Backbone, point: str | None, scale: Scale, shape: Shape, weights: str, device: str
) -> Embedder:
    prepare_device(device, RunOptions())
    point = point or point_names(backbone.taps)[-1]
    if point == "none":
        raise UsageError("--freeze none: features are the output of a stage")
    freeze_index(backbone, point)
    ready: Any = backbone.requires_grad_(False).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return Embedder(ready.eval(), point, scale, shape, weights)


def splits_of(data: Dataset, wanted: str) -> list[tuple[str, Split]]:
    """The splits that `--split` means."""
    found = [("train", data.train), ("test", data.test)]
    return [pair for pair in found if wanted in (pair[0], "all")]
