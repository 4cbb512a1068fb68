"""Which cell is next: a worker's own pretraining and what judges it, the one with the most behind it first."""

from collections.abc import Callable
from dataclasses import dataclass

from bench.plan import Cell, Group


@dataclass(frozen=True)
class Task:
    """One cell for one worker, with the group that it is of."""

    group: Group
    cell: Cell

    @property
    def first(self) -> bool:
        """Whether it is the pretraining."""
        return self.cell is self.group.pretrain


class Queue:
    """Cells that can be computed now.

    A worker goes on with what its last cell was of: it holds features that the next probe wants. Then comes the
    pretraining with the longest chain of what judges it, so that none is left for the end, when the other workers
    have nothing to do; then what other workers' pretrainings have made possible. Among equals the plan's order
    stands.

    Args:
        seconds: what a cell is expected to take.
    """

    def __init__(self, seconds: Callable[[Cell], float]) -> None:
        self._seconds = seconds
        self._waiting: list[tuple[float, int, Task]] = []
        self._added = 0

    def add(self, task: Task) -> None:
        """A cell can be computed."""
        cells = task.group.cells if task.first else (task.cell,)
        self._waiting.append((-sum(self._seconds(cell) for cell in cells), self._added, task))
        self._added += 1

    def next(self, last: Group | None = None) -> Task | None:
        """The cell to compute next, for a worker whose last one was of that group; None when there is none."""
        if not self._waiting:
            return None

        def rank(entry: tuple[float, int, Task]) -> tuple[bool, bool, float, int]:
            cost, number, task = entry
            return task.first or task.group is not last, not task.first, cost, number

        chosen = min(self._waiting, key=rank)
        self._waiting.remove(chosen)
        return chosen[-1]

    def __len__(self) -> int:
        return len(self._waiting)
