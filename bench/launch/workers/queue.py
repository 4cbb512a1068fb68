"""Which cell is next: what judges a worker's own pretraining, else the one with the longest path behind it."""

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
    pretraining on the longest path, itself and the longest of what judges it: so none is left for the end, when the
    other workers have nothing to do but what is left to judge. Then comes what other workers' pretrainings have made
    possible, without the features that those hold. Among equals the plan's order stands.

    Args:
        seconds: what a cell is expected to take.
    """

    def __init__(self, seconds: Callable[[Cell], float]) -> None:
        self._seconds = seconds
        self._waiting: list[tuple[float, int, Task]] = []
        self._added = 0

    def add(self, task: Task) -> None:
        """A cell can be computed."""
        cost = self._seconds(task.cell)
        if task.first:
            cost += max(map(self._seconds, task.group.dependents), default=0.0)
        self._waiting.append((-cost, self._added, task))
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
