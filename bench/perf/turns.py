"""What takes turns in a measurement of one method, in this process and, at the same time, in others beside it."""

import multiprocessing
import statistics
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.data.arrays import Split
from bench.errors import BenchError
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.memory import keep_freed_memory
from bench.perf.authors import AuthorsSteps, why_not
from bench.perf.ceiling import clock, product
from bench.perf.clone import AUTHORS
from bench.perf.steps import make_steps, set_memory
from bench.perf.work import Convolutions, best_convolutions, work_of
from bench.speed import PLAIN, Speed, has_bf16

if TYPE_CHECKING:
    from bench.perf.pretrain import Wish

# Rounds that warm up, and steps of a turn: one step of a GPU is too short to be timed alone.
WARM_UP = {"cpu": (2, 1), "cuda": (5, 10)}
CONVOLUTIONS, PRODUCT = "convolutions", "product"


class Turns:
    """A method's step in each way, the authors' step, its convolutions alone and a large product.

    Args:
        method: its name.
        speeds: the ways, plain among them.
        split: images of a few batches.
        wish: the measurement.
        layout: of the convolutions alone; None looks for the fastest.

    Raises:
        UsageError: the method cannot be built for such images, or the authors' code does not run here.
    """

    def __init__(
        self,
        method: str,
        speeds: Mapping[str, Speed],
        split: Split,
        wish: "Wish",
        layout: tuple[str, torch.dtype] | None = None,
    ) -> None:
        self._device, self._threads = torch.device(wish.device), wish.threads
        shape = {"batch": wish.batch, "size": wish.size, "device": self._device}
        self.authors: AuthorsSteps | None = None
        if wish.authors is not None and why_not(method) is None:
            self.authors = AuthorsSteps(Path(wish.authors), method, split, **shape)
        # Way -> what it said of itself: one that fell back to another is not what it is called.
        self.notes: dict[str, list[str]] = {way: [] for way in speeds}
        steps = {
            way: make_steps(
                method, speed, split, num_classes=wish.num_classes, note=self.notes[way].append, **shape
            )
            for way, speed in speeds.items()
        }
        self.parameters = sum(p.numel() for p in steps["plain"].method.parameters())
        self.work = work_of(steps["plain"].next)
        keep_freed_memory()
        if layout is None:
            self.alone = best_convolutions(self.work.calls, self._device)
        else:
            self.alone = Convolutions(self.work.calls, self._device, *layout)
        self._speeds = dict(speeds)
        self.runs: dict[str, Callable[[], object]] = {way: one.next for way, one in steps.items()}
        if self.authors is not None:
            self.runs[AUTHORS] = self.authors.next
            self._speeds[AUTHORS] = PLAIN
        self.ways = tuple(self.runs)
        dtype = torch.bfloat16 if has_bf16(self._device.type) else torch.float32
        large, self.product_flop = product(self._device, dtype)
        self.runs |= {CONVOLUTIONS: self.alone, PRODUCT: large}
        self._count = WARM_UP.get(self._device.type, WARM_UP["cuda"])[1]

    def ready(self, name: str) -> Callable[[], object]:
        """What has that name, with the C library's memory as it wants it."""
        if name in self._speeds:
            set_memory(self._speeds[name])
        else:
            keep_freed_memory()
        return self.runs[name]

    def take(self, name: str) -> float:
        """Seconds of one step of a turn."""
        run = self.ready(name)
        begun = clock(self._device, self._threads)
        for _ in range(self._count):
            run()
        return (clock(self._device, self._threads) - begun) / self._count


class Beside:
    """Processes that take the same turns at the same time, so that every core is as busy as with several seeds.

    Args:
        count: how many, this one not counted.
        ended: ends them.
        asked: what `Turns` is given, in its order.
    """

    def __init__(self, count: int, ended: ExitStack, *asked: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, *asked), daemon=True)
            process.start()
            # Those that are closed first end their process, which is then waited for.
            ended.callback(process.join)
            ended.callback(ours.close)
            theirs.close()
            self._pipes.append(ours)
        self.taken()

    def begin(self, name: str) -> None:
        """Have every one begin a turn."""
        for pipe in self._pipes:
            try:
                pipe.send(name)
            except OSError:
                raise _died() from None

    def taken(self) -> list[float]:
        """What each took; waits for all.

        Raises:
            BenchError: one died.
        """
        found = []
        for pipe in self._pipes:
            try:
                found.append(pipe.recv())
            except (EOFError, OSError):
                raise _died() from None
        return found


def _died() -> BenchError:
    return BenchError("a process that was measured beside this one died, which is mostly for want of memory")


def _serve(pipe: Connection, method: str, speeds: Any, split: Split, wish: "Wish", layout: Any) -> None:
    from models.registry import load_plugins

    load_plugins()
    prepare_device(wish.device, RunOptions(threads=wish.threads))
    turns = Turns(method, speeds, split, wish, layout)
    pipe.send(0.0)
    try:
        while True:
            pipe.send(turns.take(pipe.recv()))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def rounds(turns: Turns, beside: Beside, number: int, device: torch.device) -> dict[str, list[float]]:
    """Seconds of each way's step and of each ceiling, by name, one a round: the mean over processes."""
    warm_up, _ = WARM_UP.get(device.type, WARM_UP["cuda"])
    found: dict[str, list[float]] = {name: [] for name in turns.runs}
    names = list(turns.runs)
    for turn in range(number + warm_up):
        # Who comes after whom changes from round to round.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            beside.begin(name)
            taken = [turns.take(name), *beside.taken()]
            if turn >= warm_up:
                found[name].append(statistics.mean(taken))
    return found
