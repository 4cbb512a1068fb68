"""What is said of a dispatch: what was submitted, what was not and why, what to type next."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bench.commands.options import counted
from bench.commands.order import Order
from bench.commands.words import Voice, command_line, retry_line, shell_line
from bench.estimate import JOB_SECONDS
from bench.launch.slurm.packing import Draft
from bench.launch.slurm.profile import Profile
from bench.launch.slurm.work import States, Work
from bench.scheduler import cluster_name
from bench.time_left import duration

if TYPE_CHECKING:
    from bench.launch.slurm.submit import Submission


@dataclass(frozen=True)
class Prepared:
    """What a dispatch starts from.

    Attributes:
        order: what was asked for.
        profile: what the cluster wants to be told.
        found: state of every cell.
        work: what is to be done about each.
        drafts: the jobs.
        basis: where the predicted times come from.
    """

    order: Order
    profile: Profile
    found: States
    work: Work
    drafts: list[Draft]
    basis: str


def intent(work: Work) -> str:
    """What becomes of the cells."""
    parts = [f"{len(work.todo)} to submit" if work.todo else "nothing to submit"]
    for cells, text in (
        (work.queued, "queued or running already"),
        (work.elsewhere, "worked on by another process"),
        (work.failed, "failed earlier (--retry-failed tries them again)"),
        (work.skipped, "left out as their pretraining failed"),
    ):
        if cells:
            parts.append(f"{len(cells)} {text}")
    return ", ".join(parts)


def _resources(profile: Profile, kind: str) -> str:
    """The resources of a class in one line."""
    asked = profile.classes[kind]
    words = [counted(asked["cpus_per_task"], "CPU")]
    gpus = asked.get("gpus_per_node") or asked.get("slurm_gpus_per_task") or asked.get("slurm_gres")
    words += [counted(gpus, "GPU") if isinstance(gpus, int) else str(gpus)] if gpus else []
    memory = asked.get("mem_gb") or asked.get("slurm_mem")
    words += [f"{memory} GB" if isinstance(memory, int | float) else str(memory)] if memory else []
    words += [str(asked[key]) for key in ("slurm_partition", "slurm_qos", "slurm_constraint") if key in asked]
    return ", ".join([*words, f"{duration(60 * asked['timeout_min'])} at most"])


def table_of(drafts: Sequence[Draft], profile: Profile) -> list[str]:
    """A line a class of resources."""
    lines = []
    for kind in dict.fromkeys(draft.pack.resources for draft in drafts):
        mine = [draft.pack for draft in drafts if draft.pack.resources == kind]
        cells = sum(len(pack.cells) for pack in mine)
        each = [pack.seconds + JOB_SECONDS for pack in mine]
        span = (
            duration(max(each))
            if max(each) < 1.2 * min(each)
            else f"{duration(min(each))} to {duration(max(each))}"
        )
        what = f"{counted(len(mine), 'job')}, {counted(cells, 'cell')}; about {span} a job"
        lines.append(f"  {kind}: {what}; {_resources(profile, kind)}")
    return lines


def total(drafts: Iterable[Draft]) -> float:
    """Predicted seconds of all jobs."""
    return sum(draft.pack.seconds + JOB_SECONDS for draft in drafts)


def ended(ready: Prepared, done: "Submission | None", say: Voice) -> int:
    """Say what was submitted and what to type next."""
    order, work = ready.order, ready.work
    submitted = done.submitted if done else []
    left = sum(len(draft.pack.cells) for draft in done.left) if done else 0
    if submitted and done is not None:
        cells = sum(len(draft.pack.cells) for draft in submitted)
        name = f" on cluster {done.dispatch.cluster}" if done.dispatch.cluster else ""
        arrays = ", ".join(done.arrays[:8]) + (", ..." if len(done.arrays) > 8 else "")
        jobs = f"{counted(len(submitted), 'job')} ({arrays})"
        say(f"submitted{name}: {jobs} with {counted(cells, 'cell')}, by {ready.profile}")
        for line in table_of(submitted, ready.profile):
            say(line)
        say(f"  predicted: {duration(total(submitted))} of work in all ({ready.basis})")
    again = done is not None and bool(left)
    if done is not None and again:
        say(f"not submitted: {counted(left, 'cell')}: {done.why}; what is queued stays queued")
    code = 3 if again else 3 if work.elsewhere and not submitted else 0
    if not submitted and not again and not work.queued and work.failed:
        code = 1
    follow = [shell_line(word, order.results) for word in ("status", "report")]
    if again:
        follow.insert(0, command_line())
    elif code == 1:
        follow.insert(0, retry_line())
    for line in follow:
        say(f"next: {line}")
    say.object(
        {
            "results": str(order.results),
            "executor": "slurm",
            "cluster": done.dispatch.cluster if done else cluster_name(),
            "dispatch": done.dispatch.id if submitted and done else None,
            "profile": None if ready.profile.path is None else str(ready.profile.path),
            "cells": len(order.plan),
            "done": len(work.kept),
            "submitted": [_facts(draft) for draft in submitted],
            "queued": [cell.id for cell in work.queued],
            "elsewhere": [cell.id for cell in work.elsewhere],
            "failed": [cell.id for cell in work.failed],
            "skipped": [cell.id for cell in work.skipped],
            "not_submitted": left,
            "why": done.why or None if done else None,
            "predicted_seconds": total(submitted),
            "predicted_from": ready.basis,
            "exit_code": code,
            "next": follow[0],
        }
    )
    return code


def _facts(draft: Draft) -> dict[str, Any]:
    pack = draft.pack
    return {
        "job": pack.job,
        "class": pack.resources,
        "cells": list(pack.cells),
        "needs": list(pack.needs),
        "after": list(pack.after),
        "predicted_seconds": pack.seconds + JOB_SECONDS,
    }


def foreseen(
    ready: Prepared, classes: Mapping[str, Any], code: int, cost: Mapping[str, Any], say: Voice
) -> None:
    """The facts of a dry run."""
    order = ready.order
    say.object(
        {
            "results": str(order.results),
            "executor": "slurm",
            "cells": [
                {"id": cell.id, "kind": cell.kind, "state": ready.found[cell.id][0], "label": cell.label}
                for cell in order.plan.cells
            ],
            "jobs": [_facts(draft) for draft in ready.drafts],
            "classes": classes,
            "predicted_seconds": total(ready.drafts),
            "predicted_from": ready.basis,
            **cost,
            "exit_code": code,
        }
    )
