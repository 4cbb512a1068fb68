"""What pretraining and probing share: the clock, means over an epoch, when to save, when to stop, divergence."""

import resource
import sys
import time
from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor

from bench.errors import Diverged
from bench.launch.control import Progress, RunOptions, Stop, stopped

PROGRESS_SECONDS = 0.5


class EpochMeans:
    """Means of named values over an epoch, weighted by examples, summed on the device without synchronising."""

    def __init__(self, device: torch.device | str) -> None:
        self.device = device
        self.names: tuple[str, ...] = ()
        self.sums = torch.zeros(0, dtype=torch.float64, device=device)
        self.count = 0
        self.bad_step = torch.full((), -1, dtype=torch.int64, device=device)

    def add(self, values: Mapping[str, Tensor], count: int, step: int) -> None:
        """Add a batch's means; remember the first step at which one of them was not finite."""
        if not self.names:
            self.names = tuple(values)
            self.sums = torch.zeros(len(values), dtype=torch.float64, device=self.device)
        # One vector: as many operations whatever the number of values.
        wide = torch.stack([values[name].to(torch.float64) for name in self.names])
        self.sums += wide * count
        bad = ~torch.isfinite(wide).all() & (self.bad_step < 0)
        self.bad_step = torch.where(bad, step, self.bad_step)
        self.count += count

    def check(self) -> None:
        """Look whether a value was not finite.

        Raises:
            Diverged: with the first such step.
        """
        step = int(self.bad_step)
        if step >= 0:
            raise Diverged(step)

    def means(self) -> dict[str, float]:
        """The means so far."""
        return {name: total / self.count for name, total in zip(self.names, self.sums.tolist(), strict=True)}

    def reset(self) -> None:
        """Begin the next epoch."""
        self.names, self.count = (), 0
        self.sums = self.sums[:0]

    def state(self) -> dict[str, Tensor]:
        """Tensors to save in the middle of an epoch."""
        return {f"epoch.{name}": total for name, total in zip(self.names, self.sums.unbind(), strict=True)}

    def load(self, tensors: Mapping[str, Tensor], count: int) -> None:
        """Put back what `state` gave."""
        self.names = tuple(tensors)
        if tensors:
            self.sums = torch.stack([t.to(self.device) for t in tensors.values()])
        self.count = count


class Watched(Protocol):
    """The means that a pace looks at: of one run, or of several that take their steps together."""

    def check(self) -> None:
        """Look whether a value was not finite."""

    def means(self) -> dict[str, float]:
        """What to tell."""
        ...


class Pace:
    """Counts steps; tells progress now and then, saves when it is due, ends when asked to.

    Args:
        total: steps of the whole cell.
        stop: asked after every step.
        progress: told at most twice a second.
        options: how often to save.
        save: writes a checkpoint.
        means: of the current epoch, checked for divergence whenever it is looked at.
    """

    def __init__(
        self,
        total: int,
        stop: Stop,
        progress: Progress,
        options: RunOptions,
        save: Callable[[], None],
        means: Watched,
    ) -> None:
        self.total, self.stop, self.progress, self.options = total, stop, progress, options
        self.save, self.means = save, means
        self.before = 0.0
        self.images = 0
        self.begin = self.told = self.saved = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Spent on this cell so far, by all processes."""
        return self.before + time.perf_counter() - self.begin

    @property
    def rate(self) -> float:
        """Images a second in this process."""
        return self.images / max(time.perf_counter() - self.begin, 1e-9)

    def after_step(self, step: int, images: int, last: bool = False) -> None:
        """Do what is due after `step` completed steps.

        Raises:
            Diverged: a loss is not finite.
            Interrupted: the user asked to stop; a checkpoint is written.
            OutOfTime: the time budget is spent; a checkpoint is written.
            Preempted: the scheduler wants the machine back; a checkpoint is written.
        """
        self.images += images
        now = time.perf_counter()
        if now - self.told > PROGRESS_SECONDS:
            self.means.check()
            self.progress(step, self.total, self.rate, self.means.means())
            self.told = now
        reason = None if last else self.stop.check()
        every = self.options.checkpoint_every_steps
        due = step % every == 0 if every else now - self.saved > self.options.checkpoint_every_seconds
        due = self.stop.save_due() or due
        if reason is not None or (due and not last):
            self.means.check()
            self.save()
            self.saved = time.perf_counter()
        if reason is not None:
            raise stopped(reason, f"after step {step} of {self.total}")


def peak_memory(device: torch.device | str) -> int:
    """Peak memory in bytes: the accelerator's, or this process's resident set on the CPU."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def prepare_device(device: str, options: RunOptions) -> torch.device:
    """Pin what a record promises: threads, and full precision of convolutions and matrix products."""
    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    resolved = torch.device(device)
    if resolved.type == "cuda":
        torch.cuda.reset_peak_memory_stats(resolved)
    return resolved
