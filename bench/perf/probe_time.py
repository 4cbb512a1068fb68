"""Seconds of one probe, as `bench.probe.probe` takes them."""

import itertools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from bench.data.arrays import Dataset
from bench.feature_store import SHELF
from bench.launch.control import RunOptions, Stop
from bench.memory import release_freed_memory
from bench.perf.ceiling import clock
from bench.probe import probe


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
