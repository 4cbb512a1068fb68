"""Has the cells of a plan computed by a crew of workers, and does without one that dies."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol, Self

from bench.errors import RecordError, WorkersLost
from bench.launch.control import Reason, Stop, stopped
from bench.launch.local import LocalRunner
from bench.launch.outcome import Display, Outcome, Summary, one_line
from bench.launch.workers import messages
from bench.launch.workers.crew import Crew
from bench.launch.workers.process import Worker
from bench.launch.workers.queue import Queue, Task
from bench.plan import Cell, Group, Plan

POLL_SECONDS = 0.2
# A cell is given up that has lost so many workers, and so is a run that has lost so many before they were ready.
LOST_TOO_OFTEN = 2


class Board(Display, Protocol):
    """A display that several workers share."""

    def lane(self) -> Self:
        """One worker's part of it."""
        ...

    def cell_lost(self) -> None:
        """The cell of this part is not computed any more: its worker has died."""


class SharedRunner:
    """Runs the cells of a plan on workers: each takes a pretraining and what judges it, the longest paths first.

    Args:
        crew: the workers, set up.
        local: knows what is there already; computes nothing.
        display: who watches.
        stop: asked all the time.
        seconds: what a cell is expected to take.
        fail_fast: stop all at the first failure.
    """

    def __init__(
        self,
        crew: Crew,
        local: LocalRunner,
        display: Board,
        stop: Stop,
        seconds: Callable[[Cell], float],
        fail_fast: bool = False,
    ) -> None:
        self._crew, self._local, self._display, self._stop = crew, local, display, stop
        self._fail_fast = fail_fast
        self._queue = Queue(seconds)
        self._lanes: dict[int, Board] = {}
        self._losses: Counter[str] = Counter()
        self._deaths = self._stillborn = 0
        self._peaks: list[int] = []
        self._told: Reason | None = None
        self._lost: WorkersLost | None = None

    def run(self, plan: Plan) -> Summary:
        """Run what is not done yet.

        A cell that a process outside works on is passed over and looked at again at the end.
        """
        self._summary = Summary(len(plan))
        self._cells = {cell.id: cell for cell in plan.cells}
        self._numbers = {key: number for number, key in enumerate(self._cells, 1)}
        for group in plan.groups:
            self._enter(group)
        waiting: int | None = None
        while True:
            self._ask_to_stop()
            self._hand_out()
            if not any(worker.task for worker in self._crew.workers):
                if self._told is not None or self._lost is not None:
                    break
                if not len(self._queue):
                    before, waiting = waiting, len(self._summary.of("elsewhere"))
                    if waiting in (0, before):
                        break
                    self._look_again(plan)
                    continue
            if (event := self._crew.event(POLL_SECONDS)) is not None:
                self._hear(*event)
        return self._end()

    def _end(self) -> Summary:
        reached = [o for o in self._summary.outcomes.values() if o.state != "stopped"]
        if self._lost is not None:
            self._summary.stopped = self._lost
        elif self._told is not None and not self._failed_fast() and len(reached) < self._summary.total:
            self._summary.stopped = stopped(self._told)
        return self._summary

    def _failed_fast(self) -> bool:
        return self._fail_fast and bool(self._summary.of("failed"))

    def _enter(self, group: Group) -> None:
        """What is known of a pretraining and those that need it; what is not waits to be computed."""
        first = self._known(group.pretrain)
        if first is not None:
            self._note(first)
            self._after(group, first)
            return
        self._queue.add(Task(group, group.pretrain))
        for cell in group.dependents:
            if (known := self._known(cell)) is not None and known.state == "kept":
                self._note(known)

    def _after(self, group: Group, first: Outcome) -> None:
        """What follows from a pretraining's outcome for those that need it."""
        for cell in group.dependents:
            found = self._summary.outcomes.get(cell.id)
            if found is not None and found.state != "elsewhere":
                continue
            if not first.ok:
                self._note(self._local.without(cell, first))
            elif (known := self._known(cell)) is not None:
                self._note(known)
            else:
                self._queue.add(Task(group, cell))

    def _known(self, cell: Cell) -> Outcome | None:
        """What became of a cell that needs no computing; a folder that cannot be read is one cell's failure."""
        try:
            return self._local.known(cell)
        except (OSError, RecordError) as error:
            return Outcome(cell, "failed", one_line(error))

    def _look_again(self, plan: Plan) -> None:
        away = {outcome.cell.id for outcome in self._summary.of("elsewhere")}
        for group in plan.groups:
            if group.pretrain.id in away:
                self._queue.add(Task(group, group.pretrain))
                continue
            for cell in group.dependents:
                if cell.id in away:
                    self._queue.add(Task(group, cell))

    def _ask_to_stop(self) -> None:
        if self._told is None and self._failed_fast():
            self._display.note("a cell has failed: the others save and stop")
            self._stop.request()
        if self._told is None and (reason := self._stop.check()) is not None:
            self._told = reason
            for worker in self._crew.workers:
                worker.send({"stop": reason})

    def _hand_out(self) -> None:
        if self._told is not None:
            return
        for worker in self._crew.workers:
            if not worker.ready or worker.task is not None:
                continue
            if (task := self._next(worker.last)) is None:
                return
            worker.task, worker.last = task, task.group
            worker.send({"task": messages.of_task(task), "jobs": self._crew.provenance(worker)})

    def _next(self, last: Group | None) -> Task | None:
        while (task := self._queue.next(last)) is not None:
            first = self._summary.outcomes.get(task.group.pretrain.id)
            if task.first or first is None or first.ok:
                return task
            # A pretraining was made again for a sibling's sake, and failed.
            self._note(self._local.without(task.cell, first))
        return None

    def _hear(self, worker: Worker, message: dict[str, Any] | None) -> None:
        if worker not in self._crew.workers:
            # Sent away before.
            return
        lane = self._lane(worker)
        if message is None:
            self._died(worker)
        elif "ready" in message:
            worker.ready = True
        elif "started" in message:
            cell = self._cells[message["started"]]
            lane.cell_started(cell, self._numbers[cell.id], self._summary.total)
        elif "step" in message:
            lane.step(*message["step"])
            self._remember(message["memory"])
        elif "row" in message:
            lane.row(message["row"])
        elif "note" in message:
            lane.note(message["note"])
        elif "refused" in message:
            self._display.note(f"a worker cannot be used: {message['refused']}")
            worker.kill()
        elif "ended" in message:
            self._ended(worker, message)

    def _lane(self, worker: Worker) -> Board:
        if worker.slot not in self._lanes:
            self._lanes[worker.slot] = self._display.lane()
        return self._lanes[worker.slot]

    def _remember(self, peak: int) -> None:
        """A GPU gets more workers when it is known what a cell takes of its memory."""
        if peak > max(self._peaks, default=0):
            self._peaks = [peak]
            self._crew.grow(self._peaks)

    def _ended(self, worker: Worker, message: dict[str, Any]) -> None:
        task, worker.task = worker.task, None
        assert task is not None
        for row in message["ended"]:
            self._note(messages.as_outcome(row, self._cells), self._lane(worker))
        if message["stopped"] is not None:
            # Whoever asked one of us, such as `bench cancel`, means all.
            self._stop.request(message["stopped"])
        outcome = self._summary.outcomes.get(task.cell.id)
        if task.first and outcome is not None and outcome.state != "stopped":
            self._after(task.group, outcome)

    def _note(self, outcome: Outcome, lane: Board | None = None) -> None:
        cell = outcome.cell
        known = self._summary.outcomes.get(cell.id)
        if outcome.state == "kept" and known is not None and known.ok:
            # Whoever computes a probe finds its pretraining done.
            return
        if known is None or known.state != outcome.state:
            (lane or self._display).cell_ended(outcome, self._numbers[cell.id], self._summary.total)
        self._summary.outcomes[cell.id] = outcome

    def _died(self, worker: Worker) -> None:
        crew, task = self._crew, worker.task
        crew.lose(worker)
        self._deaths += 1
        self._stillborn += not worker.ready
        text = f"a worker (process {worker.pid}) {worker.end()}"
        if task is not None:
            lane = self._lane(worker)
            lane.cell_lost()
            self._losses[task.cell.id] += 1
            text += f" in {task.cell.label}"
            if self._losses[task.cell.id] < LOST_TOO_OFTEN:
                self._queue.add(task)
                text += ", which another one takes up where it was" if self._told is None else ""
            else:
                reason = f"lost {LOST_TOO_OFTEN} times: its worker {worker.end()}; the same line goes on from there"
                outcome = Outcome(task.cell, "failed", reason)
                self._note(outcome)
                if task.first:
                    self._after(task.group, outcome)
        # The first may be an accident. Where memory is short, fewer workers are what helps.
        if (
            self._told is None
            and self._stillborn < LOST_TOO_OFTEN
            and (self._deaths == 1 or not crew.workers)
        ):
            crew.hire(worker.slot)
        left = len(crew.workers)
        self._display.note(f"{text}; the run goes on with {left} worker" + "s" * (left != 1))
        if not left and self._told is None:
            self._lost = WorkersLost("no worker is left")
