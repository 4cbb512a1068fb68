"""A worker that computes nothing, and a run on such workers: the real ones import torch, which takes seconds.

What goes wrong in it is told by the environment variable FAKE_WORKER, a JSON object:

- faults: label of a cell -> reason for which it fails
- deadly: label of a cell -> so many of its attempts kill their worker
- steps: of a cell, by its label
- seconds: that a step takes
- stillborn: whether it dies before it is ready
- memory: bytes of a GPU that a cell takes
- gpus: how many this machine has, with so much memory `free` on each
"""

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.launch.control import Stop
from bench.launch.local import LocalRunner
from bench.launch.workers import worker
from bench.launch.workers.crew import Crew
from bench.launch.workers.runner import SharedRunner
from bench.launch.workers.share import Jobs
from bench.plan import Cell, Plan, Selection, label, make_plan
from bench.records import open_results
from tests.fake_trainer import DATA, FakeTrainer, Watcher

COMMAND = (sys.executable, "-P", "-m", "tests.fake_worker")


class Told(FakeTrainer):
    """Does as FAKE_WORKER says."""

    def __init__(self, said):
        faults = {name: BenchError(reason) for name, reason in said.get("faults", {}).items()}
        # To save, it would import torch.
        super().__init__(faults, saves=False)
        self.said = said

    def _run(self, config, attempt, stop, progress):
        name = label(config)
        if int(attempt.name) <= self.said.get("deadly", {}).get(name, 0):
            os.kill(os.getpid(), signal.SIGKILL)
        self.steps = self.said.get("steps", {}).get(name, 2)
        self.on_step = lambda: time.sleep(self.said.get("seconds", 0.01))
        super()._run(config, attempt, stop, progress)


class Board(Watcher):
    """Remembers, and calls `on_start` with the label of each cell that begins."""

    def __init__(self, on_start=lambda label: None):
        super().__init__()
        self.on_start, self.begun, self.lost = on_start, [], []

    def lane(self):
        return Lane(self)

    def cell_lost(self) -> None:
        raise AssertionError("a cell is lost by a worker")


class Lane(Board):
    """One worker's part of a board."""

    def __init__(self, board):
        self.board, self.now = board, ""
        self.notes, self.ended, self.rows = board.notes, board.ended, board.rows

    def cell_started(self, cell, number, total):
        self.now = cell.label
        self.board.begun.append(cell.label)
        self.board.on_start(cell.label)

    def cell_lost(self):
        self.board.lost.append(self.now)


class Shared:
    """A run on fake workers."""

    def __init__(self, plan: Plan, results: Path, number: int | None = 2, **options: Any) -> None:
        open_results(results)
        self.plan, self.results = plan, results
        self.stop, self.board = options.pop("stop", None) or Stop(), options.pop("board", None) or Board()
        self.seconds = options.pop("seconds", lambda cell: 1.0)
        jobs = options.pop("jobs", None) or Jobs(number)
        self.fail_fast = options.pop("fail_fast", False)
        self.options = options
        self.crew = Crew(jobs, len(plan), 1, self.board.note, COMMAND)

    def run(self):
        with self.crew as crew:
            crew.look("cpu")
            local = LocalRunner(self.results, {}.__getitem__, self.board, self.stop, **self.options)
            local.look_back(self.plan)
            crew.begin(
                {
                    "results": str(self.results),
                    "root": None,
                    "skip_corrupt": False,
                    "sides": {},
                    "options": {"threads": 1},
                    "forget": dict(local.forget),
                    "forgive": dict(local.forgive),
                    "steal": False,
                }
            )
            runner = SharedRunner(crew, local, self.board, self.stop, self.seconds, self.fail_fast)
            return runner.run(self.plan)


def a_plan(seeds: int = 1, probes: tuple[str, ...] = ("conv1", "conv1-5")) -> Plan:
    """Two methods, each pretraining with two probes."""
    return make_plan(
        Selection(("beta-vae", "random"), ("digits",), tuple(range(seeds)), probes=probes, preset="smoke")
    )


def serve() -> int:
    """Be a worker."""
    said = json.loads(os.environ.get("FAKE_WORKER", "{}"))
    count = said.get("gpus", 0)
    machine = {
        "device": "cuda" if count else "cpu",
        "name": "a fake",
        "gpus": [str(k) for k in range(count)],
        "free": [said.get("free", 0)] * count,
        "cores": said.get("cores", 2),
        "memory": 1 << 40,
    }

    def prepare():
        if said.get("stillborn"):
            sys.exit("no torch here")

    return worker.serve(
        Told(said), prepare, lambda: said.get("memory", 0), lambda device: machine, lambda name: DATA
    )


__all__ = ["COMMAND", "Board", "Cell", "Shared", "a_plan", "serve"]

if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(serve())
    # A run as a process of its own, which takes signals.
    with Stop() as asked:
        summary = Shared(a_plan(), Path(sys.argv[1]), stop=asked).run()
    print(len(summary.of("done")), len(summary.of("stopped")))
    sys.exit(summary.exit_code)
