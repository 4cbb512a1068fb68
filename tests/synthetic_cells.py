"""Cells of every state on disk, byte for byte as the harness leaves them, but for the computing."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from bench import asked
from bench.claims import NAME, Owner
from bench.dispatches import Dispatch, Pack, make_dispatch
from bench.files import dumps
from bench.plan import Cell, Plan, Selection, make_plan
from bench.records import open_results
from bench.run_folder import CONFIG, PROGRESS, PROVENANCE, RESULT, STATUS, run_dir

BODY = {
    "n_test": 360, "num_classes": 10, "seconds": 5.0, "feature_seconds": 1.0,
    "epochs": [{"epoch": e, "lr": 0.01, "test_loss": 2.0, "test_top1": 0.5, "test_top5": 0.9} for e in range(15)],
    "rules": {"last": {"epoch": 15, "top1": 0.5, "top5": 0.9}},
}  # fmt: skip


def text(value: Any) -> str:
    """What `bench.files.write_json` writes."""
    return dumps(value, indent=1) + "\n"


def dead(**other: Any) -> Owner:
    """An owner of this machine that has ended."""
    return replace(Owner.me(), pid=2**22 + 1, started="1", **other)


class Cells:
    """A results folder under construction.

    Args:
        results: the folder.
        selection: what was asked for.
        record: whether that is on record.
    """

    def __init__(self, results: Path, selection: Selection, record: bool = True) -> None:
        self.results = results
        self.plan: Plan = make_plan(selection)
        self.cells = list(self.plan.cells)
        open_results(results)
        if record:
            asked.record(results, self.plan, selection, None)

    def cell(self, label: str) -> Cell:
        """By what a person calls it."""
        return next(cell for cell in self.cells if cell.label == label)

    def _attempt(self, cell: Cell, number: int = 1) -> Path:
        folder = run_dir(self.results, cell.id)
        attempt = folder / "attempts" / f"{number:04d}"
        attempt.mkdir(parents=True)
        (folder / CONFIG).write_text(text(cell.config))
        return attempt

    def done(self, cell: Cell) -> None:
        """With a result."""
        attempt = self._attempt(cell)
        head = {"schema": 1, "id": cell.id, "kind": cell.kind, "attempt": "0001"}
        (attempt / RESULT).write_text(text({**head, **BODY}))
        (attempt.parent.parent / RESULT).hardlink_to(attempt / RESULT)
        (attempt / STATUS).write_text(text({"forget": 0, "state": "done"}))

    def ended(
        self,
        cell: Cell,
        state: str,
        error: str = "",
        kind: str = "Interrupted",
        job: str = "",
        number: int = 1,
    ) -> Path:
        """An attempt that says of itself how it ended."""
        attempt = self._attempt(cell, number)
        (attempt / STATUS).write_text(text({"forget": 0, "state": state, "error": error, "error_kind": kind}))
        scheduler = {"scheduler": {"job": job, "array": None, "restarts": 0}} if job else {}
        (attempt / PROVENANCE).write_text(text({"host": "here", **scheduler}))
        return attempt

    def running(self, cell: Cell, owner: Owner, step: int = 30, number: int = 1) -> Path:
        """An attempt in the middle, with a claim."""
        attempt = self._attempt(cell, number)
        (attempt / STATUS).write_text(text({"forget": 0, "state": "running"}))
        progress = {
            "step": step, "total": 120, "steps_per_second": 2.0, "images_per_second": 256.0,
            "values": {"loss": 0.5}, "seconds": 15.0, "written": "2026-01-01T00:00:00+00:00",
        }  # fmt: skip
        (attempt / PROGRESS).write_text(text(progress))
        (run_dir(self.results, cell.id) / NAME).write_text(json.dumps(asdict(owner)))
        return attempt

    def dispatch(self, packs: list[Pack], cluster: str = "dev", **more: Any) -> Dispatch:
        """Packs handed to SLURM."""
        facts = {
            "argv": ["bench", "run", "--slurm"], "host": "login", "user": "me", "cluster": cluster, "profile": {},
            "root": None, "threads": 1, "code": "code", "packs": packs,
        }  # fmt: skip
        one = make_dispatch(self.results, **facts | more)
        one.write()
        return one


def mixed(results: Path, seeds: int) -> Cells:
    """46 cells a seed of all states: two in three done, the others failed, lost, stopped, running, queued, new."""
    from models import registry as methods

    made = Cells(results, Selection(tuple(methods.METHODS), ("digits",), tuple(range(seeds)), preset="smoke"))
    me, gone = Owner.me(), dead()
    away = dead(host="node7", cluster="dev", job="1200", restart=0)
    queued = []
    for number, cell in enumerate(made.cells):
        match number % 15:
            case 0:
                made.ended(cell, "failed", "loss is not finite from step 7 on", "Diverged")
            case 1:
                made.running(cell, gone)
            case 2:
                made.ended(cell, "interrupted", "stopped after step 30 of 120")
            case 3:
                made.running(cell, me if number % 2 else away)
            case 4:
                queued.append(cell.id)
            case 5:
                pass
            case _:
                made.done(cell)
    packs = [
        Pack(n, "pretrain", tuple(queued[n * 20 : n * 20 + 20]), job=f"1200_{n}", name="bench-x-pretrain-0")
        for n in range((len(queued) + 19) // 20)
    ]
    made.dispatch(packs)
    return made
