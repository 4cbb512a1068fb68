"""How long a run will still take, and how a person says a time."""

import copy
import time
from collections.abc import Callable, Iterable

from bench.launch.outcome import Outcome
from bench.plan import Cell


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
    """Time left of a run: of running cells by their own pace, of cells to come by what cells like them took.

    Where several workers share the cells, each has a `lane` of it, and those to come are divided among them.
    """

    def __init__(self, waiting: Iterable[Cell], clock: Callable[[], float] = time.monotonic) -> None:
        self._waiting = {cell.id: cell for cell in waiting}
        self._clock = clock
        self._spent: dict[tuple[str, ...], list[float]] = {}
        self._lanes: list[TimeLeft] = []
        self._cell: Cell | None = None
        self._begun = 0.0
        self._first: tuple[float, int] | None = None
        self._last: tuple[float, int, int] | None = None

    def lane(self) -> "TimeLeft":
        """One that tells of one worker's cell and shares all else."""
        twin = copy.copy(self)
        self._lanes.append(twin)
        return twin

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

    def lost(self) -> None:
        """The running cell was lost with its worker: it is to come again."""
        if self._cell is not None:
            self._waiting[self._cell.id] = self._cell
            self._cell = None

    def left(self) -> float | None:
        """Seconds; None while it is unknown what a cell will take."""
        lanes, longest, total = tuple(self._lanes) or (self,), 0.0, 0.0
        for lane in lanes:
            if (cell := lane._cell) is not None:
                if (seconds := lane._rest(cell)) is None:
                    return None
                longest, total = max(longest, seconds), total + seconds
        # The bars are drawn by a thread of their own: a copy does not change in the middle.
        for cell in tuple(self._waiting.values()):
            if (seconds := self._mean(cell)) is None:
                return None
            total += seconds
        return max(longest, total / len(lanes))

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
