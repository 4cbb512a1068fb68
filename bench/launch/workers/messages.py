"""Cells and what became of them as JSON, between a worker and its parent."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.launch.outcome import Outcome
from bench.launch.workers.queue import Task
from bench.plan import Cell, Group, Plan


def _cell(cell: Cell) -> dict[str, Any]:
    return {"config": cell.config, "source": cell.source}


def of_task(task: Task) -> dict[str, Any]:
    """A task, without the rest of its group."""
    return {"pretrain": _cell(task.group.pretrain), "cell": None if task.first else _cell(task.cell)}


def as_plan(row: Mapping[str, Any]) -> Plan:
    """A plan of one task: its cell, and before it the pretraining that it needs."""
    dependents = () if row["cell"] is None else (Cell(**row["cell"]),)
    return Plan((Group(Cell(**row["pretrain"]), dependents),))


def of_outcome(outcome: Outcome) -> dict[str, Any]:
    """An outcome; its cell by id."""
    return {
        "id": outcome.cell.id,
        "state": outcome.state,
        "reason": outcome.reason,
        "seconds": outcome.seconds,
        "log": None if outcome.log is None else str(outcome.log),
        "result": outcome.result,
    }


def as_outcome(row: Mapping[str, Any], cells: Mapping[str, Cell]) -> Outcome:
    """An outcome of one of some cells."""
    log = None if row["log"] is None else Path(row["log"])
    return Outcome(cells[row["id"]], row["state"], row["reason"], row["seconds"], log, row["result"])
