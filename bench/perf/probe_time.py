"""Seconds of one probe, as `bench.probe.probe` takes them, and a probe that nothing was trained for."""

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from bench.build import build_backbone
from bench.checkpoint import write_tensors
from bench.data.arrays import Dataset
from bench.feature_store import SHELF
from bench.launch.control import RunOptions, Stop
from bench.memory import release_freed_memory
from bench.perf.ceiling import clock
from bench.probe import probe
from bench.protocols import ProbeSettings


@dataclass(frozen=True)
class Taken:
    """Seconds of one probe.

    Attributes:
        before: until training begins: what is read and built, and the features.
        first: until the first epoch has ended.
        epoch: of one epoch after it.
    """

    before: float
    first: float
    epoch: float

    def whole(self, epochs: int) -> float:
        """Of so many epochs."""
        return self.first + (epochs - 1) * self.epoch


class _Attempt:
    """Keeps nothing but the times at which training began and each epoch ended."""

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.dir, self.device = folder, device
        self.ready = 0.0
        self.ends: list[float] = []

    def log(self, row: dict[str, Any]) -> None:
        del row
        self.ends.append(clock(self.device))

    def note(self, text: str) -> None:
        del text

    def load_checkpoint(self, accept: Callable[[dict[str, Any]], bool]) -> None:
        del accept
        self.ready = clock(self.device)

    def save_checkpoint(self, tensors: Any, meta: Any) -> None:
        del tensors, meta

    def save_arrays(self, name: str, **arrays: Any) -> None:
        del name, arrays


def fresh_weights(backbone: str, folder: Path) -> Path:
    """A file of a network's weights as they were initialised, in a folder."""
    path = folder / "model.safetensors"
    state = build_backbone(backbone, 0).state_dict()
    write_tensors(path, {f"backbone.{name}": value for name, value in state.items()})
    return path


def probe_config(backbone: str, freeze: str, epochs: int, images: int) -> dict[str, Any]:
    """The configuration of a probe of so many images, the paper's but for its epochs."""
    settings = ProbeSettings(epochs=epochs, batch_size=min(128, images))
    return {"pretrain": {"backbone": backbone}, "freeze": freeze, "seed": 0, "probe": {**vars(settings)}}


def time_probe(
    config: dict[str, Any], data: Dataset, weights: Path, device: str, options: RunOptions, kept: bool = False
) -> Taken:
    """Run it; features of earlier ones are forgotten before, unless they are to be kept."""
    if not kept:
        SHELF.items.clear()
    release_freed_memory()
    where = torch.device(device)
    attempt = _Attempt(weights.parent, where)
    begun = clock(where)
    probe(
        config,
        data,
        weights,
        cast(Any, attempt),
        device=device,
        stop=Stop(),
        progress=lambda *_: None,
        options=options,
    )
    ends = attempt.ends
    later = [b - a for a, b in itertools.pairwise(ends)]
    first = ends[0] - begun
    return Taken(attempt.ready - begun, first, statistics.median(later) if later else first)
