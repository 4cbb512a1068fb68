"""Which cell is next: what a finished pretraining has made possible, then the pretraining with the most behind it."""

import heapq
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

    The longest chain of a pretraining and what judges it begins first, so that none is left for the end, when
    the other workers have nothing to do. Among equals the plan's order stands.

    Args:
        seconds: what a cell is expected to take.
    """

    def __init__(self, seconds: Callable[[Cell], float]) -> None:
        self._seconds = seconds
        self._heap: list[tuple[bool, float, int, Task]] = []
        self._added = 0

    def add(self, task: Task) -> None:
        """A cell can be computed."""
        cells = task.group.cells if task.first else (task.cell,)
        cost = sum(self._seconds(cell) for cell in cells)
        heapq.heappush(self._heap, (task.first, -cost, self._added, task))
        self._added += 1

    def next(self) -> Task | None:
        """The cell to compute next; None when there is none."""
        return heapq.heappop(self._heap)[-1] if self._heap else None

    def __len__(self) -> int:
        return len(self._heap)
