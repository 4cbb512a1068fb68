"""Several seeds of a method: at once under vmap, one after another in a process, and in a process each.

Every way takes steps in turn, round after round, on random images. On a processor its CPU seconds are compared, as
others may use the machine, and wall seconds are told beside them; on an accelerator there are wall seconds alone.
"""

import multiprocessing
import resource
import statistics
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import torch

from bench.compilable import why_missing
from bench.config import pretrain_config
from bench.data.arrays import Dataset, Split
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.memory import keep_freed_memory, release_freed_memory
from bench.prepared import prepare
from bench.speed import PLAIN, Speed, choose, stacked, without_c
from bench.stacked import StackedSteps
from bench.train import Steps, pixels_of, ready_method

TOGETHER, APART, PROCESSES = "together", "one after another", "a process each"
PLAIN_APART, PLAIN_TOGETHER = "one after another, plain", "together, plain"


@dataclass(frozen=True)
class Wish:
    """What to measure.

    Attributes:
        method: its name.
        seeds: how many.
        device: "cpu", "cuda", ...
        threads: of the process that has all seeds; one that has one of several has a share of them.
        batch: images a step and seed.
        size: pixels a side.
        steps: of each seed in a round.
        rounds: after one that warms up.
        settings: of the method.
    """

    method: str
    seeds: int = 3
    device: str = "cpu"
    threads: int = 1
    batch: int = 128
    size: int = 32
    steps: int = 1
    rounds: int = 5


def measure(wish: Wish, tell: Callable[[str], None]) -> dict[str, Any]:
    """Seconds of each way by round, and the ratio of their rate to that of one after another.

    Args:
        wish: what to measure.
        tell: told now and then how far it is.
    """
    fast = _fast(wish.device)
    rounds: dict[str, list[tuple[float, float]]] = {}
    with ExitStack() as ended:
        ways: dict[str, Callable[[], float | None]] = {**_ways(wish, fast)}
        ways[PROCESSES] = _Processes(wish, fast, ended).step
        for number in range(-1, wish.rounds):
            tell(f"{wish.method}: round {number + 1} of {wish.rounds}")
            for name in list(ways)[:: 1 if number % 2 else -1]:
                taken = _timed(ways[name], wish.device)
                if number >= 0:
                    rounds.setdefault(name, []).append(taken)
    kind = 0 if wish.device == "cpu" else 1
    found = {}
    for name in ways:
        ratios = [a[kind] / t[kind] for a, t in zip(rounds[APART], rounds[name], strict=True)]
        walls = [a[1] / t[1] for a, t in zip(rounds[APART], rounds[name], strict=True)]
        seconds = statistics.median(t[kind] for t in rounds[name])
        found[name] = {
            "ms_a_step": 1000 * seconds / wish.steps,
            "images_per_second": wish.seeds * wish.batch * wish.steps / seconds,
            "times_faster": statistics.median(ratios),
            "each_round": ratios,
            "times_faster_by_the_clock": statistics.median(walls),
        }
    return {
        "part": "seeds",
        **{name: getattr(wish, name) for name in Wish.__dataclass_fields__},
        "switches": fast.as_json(),
        "switches_together": stacked(fast).as_json(),
        "ways": found,
    }


def _fast(device: str) -> Speed:
    speed = replace(choose(device), compile="never")
    return without_c(speed) if why_missing() else speed


def _config(wish: Wish, seed: int) -> dict[str, Any]:
    identity = {"name": "random pixels", "version": 1}
    settings = {"pretrain.batch_size": wish.batch}
    return pretrain_config(
        wish.method, identity, image_size=wish.size, flip=True, seed=seed, settings=settings
    )


def _data(wish: Wish) -> Dataset:
    draw, count = np.random.default_rng(0), 4 * wish.batch
    images = draw.integers(0, 256, (count, 3, wish.size, wish.size)).astype(np.uint8)
    split = Split(images, draw.integers(0, 10, count))
    return Dataset("random pixels", split, split, split, tuple("0123456789"), "0" * 64, True)


def _alone(wish: Wish, seed: int, speed: Speed, where: torch.device) -> Steps:
    config, data = _config(wish, seed), _data(wish)
    method = ready_method(config, data, where)
    prepare(method, replace(speed, keep_memory=False), lambda _: None)
    return Steps(method, pixels_of(config, data, where), config["train"], seed, speed)


def _ways(wish: Wish, fast: Speed) -> dict[str, Callable[[], None]]:
    """Those of this process."""
    where = prepare_device(wish.device, RunOptions(threads=wish.threads))
    seeds = range(wish.seeds)

    def repeated(steps: list[Callable[[], object]]) -> Callable[[], None]:
        def run() -> None:
            for step in steps:
                for _ in range(wish.steps):
                    step()

        return run

    def apart(speed: Speed) -> Callable[[], None]:
        alone = [_alone(wish, seed, speed, where) for seed in seeds]
        return repeated([one.next for one in alone])

    def together(speed: Speed) -> Callable[[], None]:
        configs, data = [_config(wish, seed) for seed in seeds], _data(wish)
        methods = [ready_method(config, data, where) for config in configs]
        pixels = pixels_of(configs[0], data, where)
        steps = StackedSteps(methods, pixels, configs[0]["train"], list(seeds), stacked(speed))
        return repeated([steps.next])

    ways = {
        APART: _keeping(apart(fast), fast),
        TOGETHER: _keeping(together(fast), fast),
        PLAIN_APART: _keeping(apart(PLAIN), PLAIN),
    }
    if stacked(fast) != PLAIN:
        ways[PLAIN_TOGETHER] = _keeping(together(PLAIN), PLAIN)
    return ways


def _keeping(run: Callable[[], None], speed: Speed) -> Callable[[], None]:
    """The switch is the whole process's: it is put as this way has it."""

    def switched() -> None:
        keep_freed_memory() if speed.keep_memory else release_freed_memory()
        run()

    return switched


def _timed(run: Callable[[], Any], device: str) -> tuple[float, float]:
    """CPU seconds, of those that `run` says other processes spent too, and wall seconds."""
    begun, cpu = time.perf_counter(), _cpu_seconds()
    elsewhere = run() or 0.0
    if device != "cpu":
        torch.accelerator.synchronize(device)
    return _cpu_seconds() - cpu + elsewhere, time.perf_counter() - begun


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class _Processes:
    """A process for each seed, all of which take their steps at the same time."""

    def __init__(self, wish: Wish, fast: Speed, ended: ExitStack) -> None:
        context = multiprocessing.get_context("spawn")
        each = replace(wish, threads=max(1, wish.threads // wish.seeds))
        self.pipes: list[Connection] = []
        for seed in range(wish.seeds):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, each, seed, fast), daemon=True)
            process.start()
            # Those that are closed first end their process, which is then waited for.
            ended.callback(process.join)
            ended.callback(ours.close)
            theirs.close()
            self.pipes.append(ours)
        for pipe in self.pipes:
            pipe.recv()

    def step(self) -> float:
        """Their CPU seconds."""
        for pipe in self.pipes:
            pipe.send(True)
        return sum(pipe.recv() for pipe in self.pipes)


def _serve(pipe: Connection, wish: Wish, seed: int, fast: Speed) -> None:
    where = prepare_device(wish.device, RunOptions(threads=wish.threads))
    steps = _alone(wish, seed, fast, where)
    if fast.keep_memory:
        keep_freed_memory()
    pipe.send(True)
    try:
        while pipe.recv():
            begun = _cpu_seconds()
            for _ in range(wish.steps):
                steps.next()
            if where.type != "cpu":
                torch.accelerator.synchronize(where)
            pipe.send(_cpu_seconds() - begun)
    except EOFError:
        # The measuring process is done with it.
        pass


def rows(facts: Mapping[str, Any]) -> list[list[str]]:
    """A table's rows: way, ms for a step of every seed, images/s, the ratio and its range, the ratio by the clock."""
    return [
        [
            facts["method"],
            way,
            f"{t['ms_a_step']:.0f}",
            f"{t['images_per_second']:.0f}",
            f"{t['times_faster']:.2f}",
            f"{min(t['each_round']):.2f}-{max(t['each_round']):.2f}",
            f"{t['times_faster_by_the_clock']:.2f}",
        ]
        for way, t in facts["ways"].items()
    ]
