"""What a person sees while cells run: bars on a terminal, plain lines elsewhere."""

import contextlib
import copy
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Self, TextIO

from bench.headlines import show_result, show_values
from bench.launch.outcome import Outcome
from bench.plan import Cell
from bench.time_left import TimeLeft, duration

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_SECONDS = 30.0
BAR_WIDTH = 16


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

    def lane(self) -> Self:
        """A display of one worker's cells, among the others'."""
        twin = copy.copy(self)
        twin._left = self._left.lane()
        return twin

    def cell_lost(self) -> None:
        """The running cell was lost with its worker."""
        self._left.lost()

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

    def lane(self) -> Self:
        """A bar for one worker's cells, among the others'."""
        twin = copy.copy(self)
        twin._left, twin._cell = self._left.lane(), None
        return twin

    def cell_lost(self) -> None:
        """The running cell was lost with its worker."""
        self._remove()
        self._left.lost()

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


def file_bar(stream: TextIO) -> "Progress":
    """One bar over files of a data set, with the time that is left."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=BAR_WIDTH),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(file=stream),
    )
