"""What a person sees while cells run: bars on a terminal, plain lines elsewhere."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Self, TextIO

from bench.launch.outcome import Outcome
from bench.plan import Cell

if TYPE_CHECKING:
    from rich.progress import TaskID

LINE_SECONDS = 30.0
_RATES = ("top1", "accuracy")


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


def show_values(values: Mapping[str, Any]) -> str:
    """Loss and accuracy of a step or a row, as far as it has them."""
    parts = []
    for name, value in values.items():
        if not isinstance(value, int | float):
            continue
        if any(rate in name for rate in _RATES):
            parts.append(f"{name} {100 * value:.1f} %")
        elif "loss" in name:
            parts.append(f"{name} {value:.4g}")
    return ", ".join(parts[:4])


def show_result(result: Mapping[str, Any] | None) -> str:
    """What came out of a cell, in a few words."""
    if not result:
        return ""
    if result.get("kind") == "probe":
        rules = sorted(result.get("rules", {}).items(), reverse=True)
        return ", ".join(f"top-1 {100 * row['top1']:.2f} % ({rule})" for rule, row in rules)
    return show_values(result.get("metrics") or {})


class TimeLeft:
    """Time left of a run, from what cells of each kind took so far."""

    def __init__(self, waiting: Mapping[str, int]) -> None:
        self._waiting = dict(waiting)
        self._spent: dict[str, list[float]] = {}

    def ended(self, kind: str, seconds: float | None) -> None:
        """A cell is over; None when it was not computed."""
        self._waiting[kind] = max(0, self._waiting.get(kind, 0) - 1)
        if seconds is not None:
            self._spent.setdefault(kind, []).append(seconds)

    def left(self) -> float | None:
        """Seconds; None while a kind that waits has never been seen."""
        total = 0.0
        for kind, count in self._waiting.items():
            if count:
                if not (spent := self._spent.get(kind)):
                    return None
                total += count * sum(spent) / len(spent)
        return total


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
        self, waiting: Mapping[str, int], stream: TextIO, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._left = TimeLeft(waiting)
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
        self.line(f"{self._prefix}{cell.label}")

    def cell_ended(self, outcome: Outcome, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        if outcome.state != "kept":
            self._left.ended(outcome.cell.kind, outcome.seconds if outcome.state == "done" else None)
            self.line(f"[{number:>{len(str(total))}}/{total}] {end_line(outcome)}")

    def step(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """See `bench.launch.outcome.Display`."""
        if self._clock() - self._last < LINE_SECONDS:
            return
        self._last = self._clock()
        left = self._left.left()
        parts = [f"step {step}/{total}", show_values(values), f"{images_per_second:,.0f} images/s"]
        if left:
            parts.append(f"about {duration(left)} left")
        self.line(f"{self._prefix}{self._label}: " + ", ".join(part for part in parts if part))

    def row(self, row: dict[str, Any]) -> None:
        """See `bench.launch.outcome.Display`."""


class RichDisplay:
    """Two bars, of all cells and of this one, with lines above them."""

    def __init__(self, waiting: Mapping[str, int], stream: TextIO) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        self._left = TimeLeft(waiting)
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[values]}"),
            console=Console(file=stream),
        )
        self._all: TaskID = self._bars.add_task("all cells", total=sum(waiting.values()), values="")
        self._cell: TaskID | None = None

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._bars.stop()

    def note(self, text: str) -> None:
        """Write a line above the bars."""
        with contextlib.suppress(OSError):
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def cell_started(self, cell: Cell, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        self._remove()
        self._cell = self._bars.add_task(f"{number}/{total} {cell.label}", total=None, values="")

    def cell_ended(self, outcome: Outcome, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`."""
        self._remove()
        if outcome.state == "kept":
            return
        self._left.ended(outcome.cell.kind, outcome.seconds if outcome.state == "done" else None)
        left = self._left.left()
        self._bars.update(self._all, advance=1, values=f"about {duration(left)} left" if left else "")
        self.note(f"[{number}/{total}] {end_line(outcome)}")

    def step(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """See `bench.launch.outcome.Display`."""
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


def make_display(waiting: Mapping[str, int], stream: TextIO | None = None) -> PlainDisplay | RichDisplay:
    """Bars where `stream` is a terminal, else lines.

    Args:
        waiting: number of cells to run, by kind.
        stream: where to write; None is standard output.
    """
    out: TextIO = sys.stdout if stream is None else stream
    return RichDisplay(waiting, out) if out.isatty() else PlainDisplay(waiting, out)
