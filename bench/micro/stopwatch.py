"""From the times at which a running cell asks whether to stop to the parts of its time. No torch.

A cell asks after every training step but its last, and between chunks of images whose features are computed.
"""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from bench.launch.control import Reason, Stop
from bench.micro.measurement import Parts

# Wall and processor.
Clock = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Mark:
    """A time at which the cell asked: after so many steps, or before a chunk."""

    kind: Literal["step", "chunk"]
    steps: int
    at: tuple[float, float]


class Stopwatch(Stop):
    """Writes down when it was asked.

    Args:
        clock: synchronised with the device.
        until: on the wall's clock, when to have the cell stop; None lets it run to its end.
        every: steps between two looks at the clock: synchronising after each one would slow a GPU down.
    """

    def __init__(self, clock: Clock, until: float | None = None, every: int = 1) -> None:
        super().__init__()
        self._clock, self._until, self._every = clock, until, every
        self.marks: list[Mark] = []
        self._steps = 0

    def check(self) -> Reason | None:
        """After a step."""
        self._steps += 1
        if self._steps > 1 and self._steps % self._every:
            return None
        mark = Mark("step", self._steps, self._clock())
        self.marks.append(mark)
        return "time" if self._until is not None and mark.at[0] >= self._until else None

    def raise_if_asked(self, where: str = "") -> None:  # noqa: ARG002
        """Before a chunk."""
        self.marks.append(Mark("chunk", self._steps, self._clock()))


@dataclass
class Timed:
    """The times of one miniature, by one of the clock's two hands.

    Attributes:
        begun: when it began.
        ended: when its result was there; None where it was stopped.
        marks: (kind, steps, time).
        per_epoch: steps an epoch.
        total: steps in all.
        chunk: images a chunk.
        tested: images tested on after an epoch.
    """

    begun: float
    ended: float | None
    marks: Sequence[tuple[str, int, float]]
    per_epoch: int = 0
    total: int = 0
    chunk: int = 128
    tested: int = 0

    def steps(self) -> list[float]:
        """Seconds of a step, of those that neither warm up nor end an epoch."""
        found = []
        marks = [(steps, at) for kind, steps, at in self.marks if kind == "step"]
        for (before, began), (after, ended) in itertools.pairwise(marks):
            ends = self.tested and after // self.per_epoch > before // self.per_epoch
            if not ends:
                found.append((ended - began) / (after - before))
        return found

    def chunks(self) -> list[float]:
        """Seconds of a chunk."""
        times = [at for kind, _, at in self.marks if kind == "chunk"]
        # The first warms up where there are others.
        found = [b - a for a, b in itertools.pairwise(times)]
        return found[1:] or found

    def tests(self, step: float) -> list[float]:
        """Seconds of the test that ends an epoch, by images."""
        found = []
        marks = [(steps, at) for kind, steps, at in self.marks if kind == "step"]
        for (before, began), (after, ended) in itertools.pairwise(marks):
            if self.tested and after // self.per_epoch > before // self.per_epoch:
                found.append(max(0.0, ended - began - (after - before) * step) / self.tested)
        return found


@dataclass
class Timings:
    """All miniatures of one signature, by one hand of the clock."""

    runs: list[Timed] = field(default_factory=list)

    def parts(self) -> Parts:
        """Medians over them; a set-up is the shortest there was, as the first one also warms the process up."""
        steps = [seconds for run in self.runs for seconds in run.steps()]
        step = statistics.median(steps) if steps else 0.0
        chunks = [seconds for run in self.runs for seconds in run.chunks()]
        chunk = statistics.median(chunks) if chunks else 0.0
        tests = [seconds for run in self.runs for seconds in run.tests(step)]
        test = statistics.median(tests) if tests else 0.0
        before = [seconds for run in self.runs if (seconds := _before(run, step, chunk)) is not None]
        after = [seconds for run in self.runs if (seconds := _after(run, step, test)) is not None]
        fixed = max(0.0, min(before, default=0.0)) + max(0.0, min(after, default=0.0))
        each = chunk / self.runs[0].chunk if self.runs else 0.0
        return Parts(fixed, step, each, test, steps=len(steps))


def _before(run: Timed, step: float, chunk: float) -> float | None:
    """Seconds before the first step, without the features'."""
    first = next((at for kind, _, at in run.marks if kind == "step"), run.ended)
    if first is None:
        return None
    number = sum(kind == "chunk" for kind, _, _ in run.marks)
    return first - run.begun - number * chunk - (step if run.total else 0.0)


def _after(run: Timed, step: float, test: float) -> float | None:
    """Seconds after the last step."""
    last = next(((steps, at) for kind, steps, at in reversed(run.marks) if kind == "step"), None)
    if run.ended is None or last is None:
        return None
    return run.ended - last[1] - (run.total - last[0]) * step - test * run.tested


def evaluation_parts(runs: Sequence[tuple[float, float]]) -> Parts:
    """Of an evaluation, which is not made of steps: a line through a small and a large run of it.

    Args:
        runs: share of the cell's images, and seconds: one run of them all, or a large and a small one.
    """
    (share, seconds), (small, less) = runs[0], runs[-1]
    if share == small:
        return Parts(seconds)
    grows = max(0.0, (seconds - less) / (share - small))
    # What grows less than nothing, or more than there is, is noise.
    grows = min(grows, seconds / share)
    return Parts(seconds - grows * share, whole=grows)
