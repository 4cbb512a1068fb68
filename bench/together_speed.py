"""Whether seeds of a method are trained faster together than one after another: measured on a few steps of each."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.accelerated import compiled_share
from bench.data.arrays import Dataset
from bench.data.batches import Pixels
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.prepared import prepare
from bench.speed import Speed, stacked
from bench.stacked import StackedSteps
from bench.train import Steps, pixels_of, ready_method

# Steps before anything is measured, rounds, and steps of each way in a round.
WARM_STEPS, ROUNDS, ROUND_STEPS = 3, 5, 2


@dataclass(frozen=True)
class TogetherSpeed:
    """Seconds for one step of every seed.

    Attributes:
        seeds: how many.
        apart: one after another.
        together: at once; None where they cannot be.
        why: the reason, if so.
    """

    seeds: int
    apart: float
    together: float | None
    why: str = ""

    @property
    def times_faster(self) -> float:
        """Of together; 0 where it cannot be."""
        return 0.0 if self.together is None else self.apart / self.together

    def __str__(self) -> str:
        if self.together is None:
            return f"{self.seeds} seeds cannot be trained together: {self.why}"
        return f"{self.seeds} seeds together measured at {self.times_faster:.2f} of the speed of one after another"


def measure(
    configs: Sequence[dict[str, Any]], data: Dataset, *, device: str, options: RunOptions
) -> TogetherSpeed:
    """Time steps of both ways in turn, on networks that are thrown away.

    One after another is timed on the first seed, as the seeds do not differ in what a step takes. Where a run would
    be long enough to be compiled, what that leaves of a step is counted.

    Args:
        configs: of pretraining cells that differ in their seed alone.
        data: the data set they name.
        device: "cpu", "cuda", ...
        options: as of the cells one after another.
    """
    where = prepare_device(device, options)
    speed = options.switches
    with pixels_of(configs[0], data, where, options.data_bytes) as pixels:
        return _measure(configs, data, pixels, where, speed)


def _measure(
    configs: Sequence[dict[str, Any]], data: Dataset, pixels: Pixels, where: torch.device, speed: Speed
) -> TogetherSpeed:
    settings = configs[0]["train"]
    seeds = [int(config["seed"]) for config in configs]
    method = ready_method(configs[0], data, where)
    prepare(method, speed, lambda _: None)
    eager = Speed(**{**speed.as_json(), "compile": "never", "graph": False})
    alone = Steps(method, pixels, settings, seeds[0], eager)
    try:
        methods = [ready_method(config, data, where) for config in configs]
        together = StackedSteps(methods, pixels, settings, seeds, stacked(speed))
        apart, fused = _rounds(alone.next, together.next, where)
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        return TogetherSpeed(len(seeds), 0.0, None, text)
    if speed.compile != "never":
        apart *= compiled_share(apart, alone.total, len(method.phases))
    return TogetherSpeed(len(seeds), len(seeds) * apart, fused)


def _rounds(
    first: Callable[[], object], second: Callable[[], object], where: torch.device
) -> tuple[float, float]:
    for _ in range(WARM_STEPS):
        first()
        second()
    taken: tuple[list[float], list[float]] = [], []
    for _ in range(ROUNDS):
        for step, times in zip((first, second), taken, strict=True):
            begun = clock(where)
            for _ in range(ROUND_STEPS):
                step()
            times.append((clock(where) - begun) / ROUND_STEPS)
    return statistics.median(taken[0]), statistics.median(taken[1])


def clock(where: torch.device) -> float:
    """CPU seconds of this process on a processor; elsewhere the time when the device is done."""
    if where.type == "cpu":
        return time.process_time()
    torch.accelerator.synchronize(where)
    return time.perf_counter()
