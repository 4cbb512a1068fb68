"""What a person sees while cells run: bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TextIO

from bench.headlines import show_result, show_values
from bench.launch.outcome import Outcome
from bench.plan import Cell

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS = 30.0
BAR_WIDTH = 16


def duration(seconds: float) -> str:
    """A time as a person says it: "8.3 s", "12 s", "3 min 20 s", "2 h 05 min"."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if round(seconds) < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds) // 60
    if minutes < 60:
        return f"{minutes} min {round(seconds) % 60:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


class TimeLeft:
    """Time left of a run: of the running cell by its own pace, of cells to come by what cells like them took."""

    def __init__(self, waiting: Iterable[Cell], clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting = {cell.id: cell for cell in waiting}
        self._clock = clock
        self._spent: dict[tuple[str, ...], list[float]] = {}
        self._cell: Cell | None = None
        self._begun = 0.0
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int, int] | None = None

    def started(self, cell: Cell) -> None:
        """A cell begins."""
        self._waiting.pop(cell.id, None)
        self._first = self._last = None
        self._begun, self._cell = self._clock(), cell

    def step(self, step: int, total: int) -> None:
        """The running cell has come so far."""
        now = self._clock()
        # A resumed cell does not begin at step 0, and nobody's first step tells the pace.
        self._first = self._first or (now, step)
        self._last = (now, step, total)

    def ended(self, outcome: Outcome) -> None:
        """A cell is over."""
        cell = outcome.cell
        self._waiting.pop(cell.id, None)
        self._cell = None
        if outcome.state == "done":
            # A resumed cell's result knows of the time before.
            earlier = (outcome.result or {}).get("seconds") or 0.0
            for key in _alike(cell):
                self._spent.setdefault(key, []).append(max(outcome.seconds, earlier))

    def left(self) -> float | None:
        """Seconds; None while it is unknown what a cell will take."""
        total = 0.0
        if (cell := self._cell) is not None:
            if (seconds := self._rest(cell)) is None:
                return None
            total += seconds
        # The bars are drawn by a thread of their own: a copy does not change in the middle.
        for cell in tuple(self._waiting.values()):
            if (seconds := self._mean(cell)) is None:
                return None
            total += seconds
        return total

    def __str__(self) -> str:
        """What to show of it; "" while it is unknown."""
        return f"about {duration(left)} left" if (left := self.left()) else ""

    def _rest(self, cell: Cell) -> float | None:
        now, first, last = self._clock(), self._first, self._last
        if first is not None and last is not None and last[1] > first[1]:
            seconds = (last[2] - last[1]) * (last[0] - first[0]) / (last[1] - first[1])
            return max(0.0, seconds - (now - last[0]))
        mean = self._mean(cell)
        return None if mean is None else max(0.0, mean - (now - self._begun))

    def _mean(self, cell: Cell) -> float | None:
        for key in _alike(cell):
            if spent := self._spent.get(key):
                return sum(spent) / len(spent)
        return None if _steps(cell) else 0.0


def _steps(cell: Cell) -> bool:
    """Whether a cell takes any steps: an untrained backbone's pretraining does not."""
    group = {"pretrain": "train", "probe": "probe"}.get(cell.kind)
    return group is None or bool(cell.config[group]["epochs"])


def _alike(cell: Cell) -> tuple[tuple[str, ...], ...]:
    """Whose times tell what a cell takes, the closest first; one without steps is like no other kind of cell."""
    what = cell.config.get("freeze") or cell.config.get("evaluation", "")
    close = (cell.kind, cell.method, what)
    return (close, (cell.kind,)) if _steps(cell) else (close,)


def end_line(outcome: Outcome) -> str:
    """How a cell ended, in one line."""
    label = outcome.cell.label
    if outcome.state == "done":
        found = show_result(outcome.result)
        return f"{label}: done in {duration(outcome.seconds)}" + (f", {found}" if found else "")
    if outcome.state == "failed":
        return f"{label}: FAILED: {outcome.reason}" + (f" (log {outcome.log})" if outcome.log else "")
    words = {"kept": "done before", "elsewhere": "running elsewhere", "skipped": "skipped"}
    return f"{label}: " + ": ".join(part for part in (words.get(outcome.state), outcome.reason) if part)


class PlainDisplay:
    """Lines: one where a cell begins and ends, one now and then in between."""

    def __init__(
        self, waiting: Iterable[Cell], stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._left = TimeLeft(waiting, clock)
        self._stream, self._clock = stream, clock
        self._prefix, self._label = "", ""
        self._last = clock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def line(self, text: str) -> None:
        """Write a line."""
        with contextlib.suppress(OSError):
            # A terminal that went away must not fail a cell.
            print(text, file=self._stream, flush=True)

    note = line

    def cell_started(self, cell: Cell, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        self._prefix, self._label = f"[{number:>{len(str(total))}}/{total}] ", cell.label
        self._last = self._clock()
        self._left.started(cell)
        self.line(f"{self._prefix}{cell.label}")

    def cell_ended(self, outcome: Outcome, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        self._left.ended(outcome)
        if outcome.state != "kept":
            self.line(f"[{number:>{len(str(total))}}/{total}] {end_line(outcome)}")

    def step(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """See `bench.launch.outcome.Display`."""
        self._left.step(step, total)
        if self._clock() - self._last < LINE_SECONDS:
            return
        self._last = self._clock()
        parts = [
            f"step {step}/{total}",
            show_values(values),
            f"{images_per_second:,.0f} images/s",
            str(self._left),
        ]
        self.line(f"{self._prefix}{self._label}: " + ", ".join(part for part in parts if part))

    def row(self, row: dict[str, Any]) -> None:
        """See `bench.launch.outcome.Display`."""


class RichDisplay:
    """Two bars, of all cells and of this one, with lines above them."""

    def __init__(self, waiting: Iterable[Cell], stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeElapsedColumn
        from rich.table import Column
        from rich.text import Text

        class Values(TextColumn):
            """The one column that gives way where the terminal is narrow: in one line, cut at its end."""

            def render(self, task: Task) -> Text:
                return Text(str(task.fields["values"]), no_wrap=True, overflow="ellipsis")

        waiting = tuple(waiting)
        self._left = TimeLeft(waiting)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=BAR_WIDTH, table_column=Column(no_wrap=True)),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeElapsedColumn(table_column=Column(no_wrap=True, min_width=len("0:00:00"))),
            Values("", table_column=Column(no_wrap=False)),
            console=Console(file=stream),
        )
        self._all: TaskID = self._bars.add_task("all cells", total=len(waiting), values=self._left)
        self._cell: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._bars.stop()

    def note(self, text: str) -> None:
        """Write a line above the bars; the terminal wraps it, so that a path in it can be copied."""
        self._print(text, by_word=False)

    def _print(self, text: str, by_word: bool) -> None:
        with contextlib.suppress(OSError):
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=not by_word)

    def cell_started(self, cell: Cell, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        self._remove()
        self._left.started(cell)
        self._cell = self._bars.add_task(f"{number}/{total} {cell.label}", total=None, values="")

    def cell_ended(self, outcome: Outcome, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        self._remove()
        self._left.ended(outcome)
        if outcome.state == "kept":
            return
        self._bars.update(self._all, advance=1)
        self._print(f"[{number}/{total}] {end_line(outcome)}", by_word=outcome.state == "done")

    def step(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """See `bench.launch.outcome.Display`."""
        self._left.step(step, total)
        if self._cell is not None:
            text = ", ".join(
                part for part in (show_values(values), f"{images_per_second:,.0f} images/s") if part
            )
            self._bars.update(self._cell, completed=step, total=total, values=text)

    def row(self, row: dict[str, Any]) -> None:
        """See `bench.launch.outcome.Display`."""
        if self._cell is not None and (text := show_values(row)):
            self._bars.update(self._cell, values=text)

    def _remove(self) -> None:
        if self._cell is not None:
            self._bars.remove_task(self._cell)
            self._cell = None


def make_display(waiting: Iterable[Cell], stream: TextIO | None = None) -> PlainDisplay | RichDisplay:
    """Bars where `stream` is a terminal, else lines.

    Args:
        waiting: cells to run.
        stream: where to write; None is standard output.
    """
    out: TextIO = sys.stdout if stream is None else stream
    return RichDisplay(waiting, out) if out.isatty() else PlainDisplay(waiting, out)
