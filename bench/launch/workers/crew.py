"""The workers of one run: hired, asked what there is, set up, let go."""

import queue
import sys
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from bench.errors import BenchError, UsageError, WorkersLost
from bench.launch.workers.process import COMMAND, Worker
from bench.launch.workers.share import Jobs, Machine, num_workers, provenance, threads_each

# A worker that is told to end may be writing a checkpoint.
PATIENCE_SECONDS = 60.0


class Crew:
    """Workers, which start when this is entered and are gone when it is left.

    Args:
        jobs: how many were asked for.
        most: of them, as there are no more cells.
        threads: of a cell, as typed.
        note: told what they print.
        command: that starts one.

    Attributes:
        workers: those that live.
        machine: what one of them has seen; known after `look`.
    """

    def __init__(
        self,
        jobs: Jobs,
        most: int,
        threads: int | None = None,
        note: Callable[[str], None] = lambda _: None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._jobs, self._most, self._command = jobs, most, command
        self.threads, self.note = threads_each(jobs, threads), note
        self.workers: list[Worker] = []
        self.machine = Machine()
        self.setup: dict[str, Any] = {}
        self._events: queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        # Where their number is known, all import torch while the parent reads data.
        for slot in range(min(self._jobs.number or 1, self._most)):
            self._start(slot)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            # One that has nothing to save need not be waited for; who asks twice has one that has killed, too.
            if not worker.ready or kind is KeyboardInterrupt:
                worker.kill()
            worker.dismiss()
        for worker in self.workers:
            worker.wait(PATIENCE_SECONDS)

    def kill(self) -> None:
        """End all of them at once."""
        for worker in self.workers:
            worker.kill()

    def event(self, seconds: float) -> tuple[Worker, dict[str, Any] | None] | None:
        """What one of them says next, or (worker, None) at its end; None when none has in so many seconds."""
        try:
            return self._events.get(timeout=seconds)
        except queue.Empty:
            return None

    def look(self, device: str) -> Machine:
        """Have a worker say what there is here.

        Raises:
            UsageError: no such device, or not what was asked for.
            WorkersLost: a worker died instead.
        """
        first = self.workers[0]
        first.send({"look": device})
        while not (event := self.event(1.0)) or not self._has_looked(*event):
            pass
        if len(self.machine.gpus) > 1:
            # It has had a look at all of them, and is to see its own alone.
            first.kill()
            self.lose(first)
            self._start(0)
        num_workers(self._jobs, self.machine)
        return self.machine

    def _has_looked(self, worker: Worker, message: dict[str, Any] | None) -> bool:
        if message is None:
            raise WorkersLost(f"a worker {worker.end()}, before it was ready")
        if "refused" in message:
            raise (UsageError if message["code"] == UsageError.exit_code else BenchError)(message["refused"])
        if "note" in message:
            self.note(message["note"])
        if "saw" in message:
            facts = message["saw"]
            self.machine = Machine(**{**facts, "gpus": tuple(facts["gpus"]), "free": tuple(facts["free"])})
        return "saw" in message

    def begin(self, setup: Mapping[str, Any]) -> None:
        """Set up those that are there, and all that follow; as many are hired as were asked for.

        Args:
            setup: see `bench.launch.workers.worker.Runners`, without what is the crew's.
        """
        self.setup = {
            **setup,
            "argv": sys.argv,
            "machine": [self.machine.device, self.machine.name],
        }
        for worker in self.workers:
            self._set_up(worker)
        self.grow(())

    def grow(self, peaks: Sequence[int]) -> None:
        """Hire as many as there may be.

        Args:
            peaks: bytes of the GPU that cells have had so far.
        """
        wanted = min(num_workers(self._jobs, self.machine, peaks), self._most)
        taken = {worker.slot for worker in self.workers}
        for slot in range(wanted):
            if slot not in taken:
                self.hire(slot)

    def hire(self, slot: int) -> None:
        """Start a worker and set it up."""
        self._set_up(self._start(slot))

    def lose(self, worker: Worker) -> None:
        """Know that one has died."""
        self.workers.remove(worker)
        worker.wait(1.0)

    def provenance(self, worker: Worker) -> dict[str, Any]:
        """What a record says of the crew."""
        return provenance(len(self.workers), self.machine.pin(worker.slot))

    def __str__(self) -> str:
        number = min(num_workers(self._jobs, self.machine), self._most)
        what = "1 worker" if number == 1 else f"{number} workers"
        if self.threads is not None:
            what += (
                (", each" if number > 1 else "") + f" with {self.threads} thread" + "s" * (self.threads > 1)
            )
        if self.machine.gpus:
            count = len(self.machine.gpus)
            what += f", on {count} GPU" + "s" * (count > 1)
        if self._jobs.number is None and self.machine.gpus and self._jobs.per_gpu is None:
            what += "; more as soon as it is known what a cell takes of the GPU's memory"
        return what

    def _start(self, slot: int) -> Worker:
        worker = Worker(slot, self._events, self.threads, self._command)
        self.workers.append(worker)
        return worker

    def _set_up(self, worker: Worker) -> None:
        worker.send({"setup": {**self.setup, "pin": self.machine.pin(worker.slot)}})
