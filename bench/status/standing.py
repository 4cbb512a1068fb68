"""Where a cell stands: one word, and why. Pure: what was read is judged here, nothing is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench.asked import Asked
from bench.dispatches import Dispatch, Pack
from bench.plan import Cell
from bench.scheduler import Job
from bench.status.trace import Trace

State = Literal["done", "running", "retrying", "queued", "new", "failed", "lost", "skipped", "stopped"]
# In the order in which they are told.
STATES: tuple[State, ...] = (
    "done", "running", "retrying", "queued", "new", "failed", "lost", "skipped", "stopped",
)  # fmt: skip
# Nothing needs to be typed for these to go on.
UNDER_WAY: frozenset[State] = frozenset(("running", "retrying", "queued"))

# What an attempt says when somebody meant to stop it, by the name of the error's class.
ON_PURPOSE = ("Interrupted", "OutOfTime")


@dataclass(frozen=True)
class Handed:
    """What was handed to a scheduler for a cell, and what that says of it now.

    Attributes:
        dispatch: the newest that holds the cell.
        pack: of it, the one that computes the cell.
        job: as SLURM knows it; None when it does not, or when nobody could ask.
        silent: why nobody could ask; "" when somebody could.
        cancelled: the cell is marked to be left out.
        submitting: the process that hands the dispatch over is still at it.
    """

    dispatch: Dispatch
    pack: Pack
    job: Job | None
    silent: str = ""
    cancelled: bool = False
    submitting: bool = False

    @property
    def name(self) -> str:
        """What a person calls the job."""
        return f"job {self.job.array_id if self.job else self.pack.job or self.pack.name}"

    @property
    def submitted(self) -> bool:
        """Whether sbatch has, or may have, been given the job."""
        return bool(self.job or self.pack.job or (self.silent and self.pack.name))


@dataclass(frozen=True)
class Standing:
    """Where a cell stands.

    Attributes:
        cell: with its configuration.
        state: see `STATES`.
        reason: why, in one line; "" where the word says it all.
        sure: False where the state hangs on a scheduler or a machine that cannot be asked from here; then it is
            what was so when the files were written.
        dir: its folder, which may not be there.
        trace: what is in that folder.
        asked: how it was asked for; None for a cell of a time before that was kept.
        handed: its job, if it has or had one.
        held: somebody who lives, or may live, has claimed it.
        forced: it is done, and its submission was told to make it again and has not yet.
    """

    cell: Cell
    state: State
    reason: str
    sure: bool
    dir: Path
    trace: Trace
    asked: Asked | None
    handed: Handed | None
    held: bool = False
    forced: bool = False

    @property
    def id(self) -> str:
        """Of the cell."""
        return self.cell.id

    @property
    def job(self) -> Job | None:
        """The live job that it is in."""
        job = self.handed.job if self.handed else None
        return job if job is not None and job.live else None

    @property
    def again(self) -> bool:
        """Whether it is done and a live job makes it again."""
        return self.forced and self.job is not None and self.handed is not None and not self.handed.cancelled

    @property
    def node(self) -> str:
        """Where it runs; "" where it does not."""
        if self.state != "running":
            return ""
        owner = self.trace.owner
        if self.job is not None and self.job.node and owner is not None and owner.job:
            return self.job.node
        return owner.host if owner is not None else ""


def judge(trace: Trace, alive: bool | None, handed: Handed | None) -> tuple[State, str, bool]:
    """State, reason and whether both are sure, of a cell by itself.

    Args:
        trace: what its folder says.
        alive: whether the owner of its claim lives; None when nobody here can know, False without a claim.
        handed: what SLURM says.
    """
    if trace.done:
        return "done", "", True
    if alive is not False:
        return ("running", "", True) if alive else ("running", _unknown_owner(trace, handed), False)
    status = trace.status or {}
    error = str(status.get("error") or "")
    if handed is not None:
        if handed.cancelled:
            return "stopped", _cancelled(handed), True
        if (by_job := _by_job(trace, handed)) is not None:
            return by_job
    if status.get("state") == "failed":
        return "failed", error, True
    if trace.attempt is None and trace.owner is None and handed is None:
        return "new", "", True
    if status.get("state") == "interrupted" and status.get("error_kind", ON_PURPOSE[0]) in ON_PURPOSE:
        return "stopped", error, True
    if handed is not None and not handed.submitted:
        return "new", "not submitted yet", True
    return _ended(trace, handed, error)


def _cancelled(handed: Handed) -> str:
    live = handed.silent or (handed.job is not None and handed.job.live)
    return f"cancelled; {handed.name} leaves it out" if live else f"cancelled in {handed.name}"


def _unknown_owner(trace: Trace, handed: Handed | None) -> str:
    if trace.claim_broken:
        return "its claim cannot be read, so nobody knows whether it runs"
    if trace.owner is not None and trace.owner.job and handed is not None and handed.silent:
        return handed.silent
    return "whether it runs cannot be seen from here"


def _by_job(trace: Trace, handed: Handed) -> tuple[State, str, bool] | None:
    """What a job that lives, or may live, makes of a cell that nobody holds."""
    status, job = trace.status or {}, handed.job
    begun = trace.attempt is not None
    if not handed.submitted and handed.submitting:
        return "queued", "being submitted", True
    if handed.silent:
        if not handed.submitted or status.get("state") == "failed":
            return None
        return "queued", f"{handed.name}: {handed.silent}", False
    if job is None or not job.live:
        return None
    if status.get("state") == "failed" and _made_by(trace, job):
        return None
    if begun and status.get("state") != "failed" and job.restarts:
        how = f"{handed.name} was requeued"
        return "retrying", f"{how} and waits ({job.reason})" if job.waiting and job.reason else how, True
    if job.waiting:
        return "queued", job.reason or "waiting", True
    # How many cells come before it is told by `bench.status.cells`, which knows the others.
    return "queued", f"{handed.name} runs", True


def _made_by(trace: Trace, job: Job) -> bool:
    """Whether the newest attempt is of a job; a failure of an earlier one is what the job is to mend."""
    return bool({trace.scheduler.get("job"), trace.scheduler.get("array")} & {job.id, job.array_id})


def _ended(trace: Trace, handed: Handed | None, error: str) -> tuple[State, str, bool]:
    """Begun or submitted, and nobody works on it."""
    where = f"{trace.owner} has ended" if trace.owner is not None else ""
    if handed is None:
        return "lost", error or where or "the process that ran it has ended", True
    job = handed.job
    if job is None:
        return "lost", f"SLURM knows nothing of {handed.name} any more", True
    if job.state == "CANCELLED":
        return "stopped", f"{handed.name}: {job.verdict}", True
    if job.state == "COMPLETED":
        return "lost", error or f"{handed.name} is COMPLETED without it", True
    return (
        "lost",
        f"{handed.name}: {job.verdict}" + (f", {job.reason}" if job.state == "UNKNOWN" else ""),
        True,
    )


def skipped(pretrain: State, state: State) -> bool:
    """Whether a cell cannot run before its pretraining is mended, from what each is by itself."""
    return pretrain == "failed" and state not in ("done", "running", "failed")


def before(pack: Sequence[State]) -> list[int]:
    """Of each cell of a pack, how many of those before it are still to be run."""
    counts, waiting = [], 0
    for state in pack:
        counts.append(waiting)
        waiting += state in ("running", "queued", "retrying")
    return counts
