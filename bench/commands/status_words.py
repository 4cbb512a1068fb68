"""What `bench status` says: a matrix of counts, and the cells that are worth a line."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import click

from bench.commands.options import counted
from bench.data.fractions import typed_name
from bench.files import dumps
from bench.plan import pretraining
from bench.scheduler.jobs import REASONS
from bench.status import STATES, Standing, State, Survey
from bench.time_left import duration
from models import registry as methods

WIDTH = 100
ROWS = 10
# The letter of a state in the matrix, and its colour.
LOOK: dict[State, tuple[str, dict[str, Any]]] = {
    "done": ("", {"fg": "green"}),
    "running": ("r", {"fg": "cyan"}),
    "retrying": ("y", {"fg": "yellow"}),
    "queued": ("q", {"fg": "blue"}),
    "new": ("n", {}),
    "failed": ("F", {"fg": "red", "bold": True}),
    "lost": ("L", {"fg": "red"}),
    "skipped": ("k", {"fg": "magenta"}),
    "stopped": ("s", {"fg": "yellow"}),
}
Piece = tuple[str, State | None]


def cut(text: str, width: int | None) -> str:
    """A line of at most so many columns."""
    text = " ".join(text.split())
    return text if width is None or len(text) <= width else text[: max(0, width - 3)] + "..."


def heading(survey: Survey) -> str:
    """The folder, and how many cells there are of each state."""
    numbers = ", ".join(f"{number} {state}" for state, number in survey.counts.items())
    return f"{survey.results.absolute()}: {counted(len(survey.cells), 'cell')}: {numbers}"


def _counts(cells: Counter[State]) -> list[Piece]:
    total = cells.total()
    whole: State | None = "done" if cells["done"] == total else None
    others: list[Piece] = [(f"{cells[state]}{LOOK[state][0]}", state) for state in STATES[1:] if cells[state]]
    return [(f"{cells['done']}/{total}", whole), *others]


def _plain(pieces: Sequence[Piece]) -> str:
    return " ".join(text for text, _ in pieces)


def _styled(pieces: Sequence[Piece], width: int) -> str:
    text = " ".join(click.style(text, **LOOK[state][1]) if state else text for text, state in pieces)
    return text + " " * (width - len(_plain(pieces)))


def matrix(survey: Survey, width: int = WIDTH) -> list[str]:
    """Method x data set, each with its cells done of all and a count with a letter for every other state."""
    counted: dict[str, dict[str, Counter[State]]] = {}
    names: dict[str, None] = {}
    for one in survey.cells.values():
        name = typed_name(one.cell.config["dataset"])
        names.setdefault(name)
        counted.setdefault(one.cell.method, {}).setdefault(name, Counter())[one.state] += 1
    order = [name for name in methods.METHODS if name in counted]
    order += [name for name in counted if name not in order]
    if len(order) > 1:
        every = {name: sum((counted[row].get(name, Counter()) for row in order), Counter()) for name in names}
        order, counted = [*order, "all"], {**counted, "all": every}
    first = max(map(len, order))
    columns = []
    for name in names:
        cells = [_counts(counted[row][name]) if name in counted[row] else [("", None)] for row in order]
        columns.append((name, cells, max(len(name), *(len(_plain(cell)) for cell in cells))))
    lines: list[str] = []
    while columns:
        # As many data sets side by side as there is room for.
        used, taken = first, 0
        while taken < len(columns) and (not taken or used + 2 + columns[taken][2] <= width):
            used += 2 + columns[taken][2]
            taken += 1
        now, columns = columns[:taken], columns[taken:]
        lines.append("  ".join([" " * first, *(name.ljust(wide) for name, _, wide in now)]).rstrip())
        for k, row in enumerate(order):
            cells = [_styled(pieces[k], wide) for _, pieces, wide in now]
            lines.append("  ".join([row.ljust(first), *cells]).rstrip())
    letters = [f"{LOOK[state][0]} {state}" for state in survey.counts if LOOK[state][0]]
    # A letter stays beside its word where the line is broken.
    legend = "   ".join(["done/all", *(text.replace(" ", "\0") for text in letters)])
    return [*lines, *(line.replace("\0", " ") for line in textwrap.wrap(legend, width))]


def _where(one: Standing) -> str:
    """Node, job and restarts of a cell that runs."""
    parts = [one.node]
    if one.job is not None and one.trace.owner is not None and one.trace.owner.job:
        parts.append(f"job {one.job.array_id}")
        parts += [f"restart {one.job.restarts}"] if one.job.restarts else []
    elif one.trace.owner is not None:
        owner = one.trace.owner
        parts.append(f"job {owner.job}" if owner.job else f"process {owner.pid}")
    return ", ".join(part for part in parts if part)


def _running_line(one: Standing) -> str:
    progress, parts = one.trace.progress, []
    if progress is not None:
        parts.append(f"{100 * progress.fraction:.0f} %")
        if progress.seconds_left is not None:
            parts.append(f"{duration(progress.seconds_left)} left")
    parts += [where] if (where := _where(one)) else []
    # Who it is where nobody can ask is told by the reason.
    parts += [] if one.sure or not one.reason else [one.reason]
    return f"{one.id[:8]} {one.cell.label}: {', '.join(parts) or 'begins'}"


def _grouped(cells: Iterable[Standing], everything: bool) -> list[str]:
    """A line a reason: its first cell and how many are like it; a line a cell where all are wanted."""
    groups: dict[str, list[Standing]] = {}
    for one in cells:
        groups.setdefault(one.id if everything else one.reason, []).append(one)
    lines = []
    for mine in groups.values():
        others = f" (and {len(mine) - 1} more)" if len(mine) > 1 else ""
        reason = f": {mine[0].reason}" if mine[0].reason else ""
        lines.append(f"{mine[0].id[:8]} {mine[0].cell.label}{others}{reason}")
    return lines


def _queued_lines(cells: Sequence[Standing], everything: bool) -> list[str]:
    """A line a reason of squeue's, with the jobs that have it."""
    if everything:
        return [f"{one.id[:8]} {one.cell.label}: {_waits(one)}" for one in cells]
    groups: dict[str, list[Standing]] = {}
    for one in cells:
        inside = one.sure and one.job is not None and not one.job.waiting
        unsure = one.handed.silent if one.handed else one.reason
        reason = _meaning(one.reason) if one.sure else unsure
        groups.setdefault("in jobs that run, not reached yet" if inside else reason, []).append(one)
    lines = []
    for reason, mine in sorted(groups.items(), key=lambda item: -len(item[1])):
        jobs = list(dict.fromkeys(one.handed.name for one in mine if one.handed))
        more = f" and {len(jobs) - 1} more" if len(jobs) > 1 else ""
        which = f" ({jobs[0]}{more})" if jobs else ""
        lines.append(f"{counted(len(mine), 'cell')}: {reason}{which}")
    return lines


def _meaning(reason: str) -> str:
    return f"{reason}: {REASONS[reason]}" if reason in REASONS else reason


def _waits(one: Standing) -> str:
    name = f"{one.handed.name}: " if one.handed and one.job is not None and one.job.waiting else ""
    return name + _meaning(one.reason)


def details(survey: Survey, everything: bool, width: int = WIDTH) -> list[str]:
    """The cells that are not simply done or new, a few of each state.

    Args:
        survey: the cells.
        everything: every cell by itself, its reason whole.
        width: of a line, in columns.
    """
    lines: list[str] = []
    for state in ("running", "retrying", "failed", "lost", "stopped", "skipped", "queued"):
        cells = survey.of(state)
        if not cells:
            continue
        if state == "running":
            rows = [_running_line(one) for one in cells]
        elif state == "queued":
            rows = _queued_lines(cells, everything)
        else:
            rows = _grouped(cells, everything)
        unsure = sum(not one.sure for one in cells)
        doubt = (
            ""
            if not unsure
            else f", {unsure} of them as last known"
            if unsure < len(cells)
            else ", as last known"
        )
        lines += ["", click.style(f"{state} ({len(cells)}{doubt})", **LOOK[state][1])]
        shown = rows if everything else rows[:ROWS]
        lines += ["  " + cut(row, None if everything else width - 2) for row in shown]
        if len(shown) < len(rows):
            lines.append(f"  and {len(rows) - len(shown)} more: --all")
    return lines


def facts(survey: Survey, follow: str) -> dict[str, Any]:
    """The survey for a program."""
    return {
        "results": str(survey.results),
        "counts": {state: survey.counts.get(state, 0) for state in STATES},
        "done": survey.done,
        "slurm_silent": survey.silent or None,
        "slurm_unread": survey.unread or None,
        "cells": [_facts(one) for one in survey.cells.values()],
        "next": follow,
    }


def _facts(one: Standing) -> dict[str, Any]:
    config, job, progress = one.cell.config, one.job, one.trace.progress
    pretrain = pretraining(config)
    pack = one.handed.pack if one.handed else None
    return {
        "id": one.id,
        "kind": one.cell.kind,
        "label": one.cell.label,
        "method": one.cell.method,
        "dataset": typed_name(config["dataset"]),
        "seed": pretrain["seed"],
        "freeze": config.get("freeze"),
        "evaluation": config.get("evaluation"),
        "probe_seed": config["seed"] if one.cell.kind == "probe" else None,
        "state": one.state,
        "sure": one.sure,
        "again": one.again,
        "reason": one.reason or None,
        "attempt": one.trace.attempt.name if one.trace.attempt else None,
        "attempts": one.trace.attempts,
        "step": progress.step if progress else None,
        "steps": progress.total if progress else None,
        "seconds_left": progress.seconds_left if progress and one.state == "running" else None,
        "node": one.node or None,
        "job": job.array_id if job else pack.job if pack else None,
        "job_state": job.state if job else None,
        "restarts": job.restarts if job else None,
        "dispatch": one.handed.dispatch.id if one.handed else None,
        "dir": str(one.dir),
    }


def as_json(survey: Survey, follow: str) -> str:
    """`facts` as text: a line a cell, which takes a quarter of the time of a line a fact."""
    head = facts(survey, follow)
    lines = ",\n  ".join(dumps(cell) for cell in head["cells"])
    text = dumps({**head, "cells": []}, indent=1)
    return text.replace('"cells": []', f'"cells": [\n  {lines}\n ]', 1) if lines else text
