"""Which cells of a plan need a job, and which have one already or wait for somebody else's."""

import contextlib
from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.claims import Owner
from bench.dispatches import Dispatch, Pack, load_dispatches
from bench.launch.slurm.packing import Awaited
from bench.plan import Cell, Plan
from bench.records import Run, State
from bench.run_folder import newest_attempt
from bench.scheduler import Job, Word

States = Mapping[str, tuple[State, Run | None]]


@dataclass(frozen=True)
class Live:
    """A pack whose job is queued or running.

    Attributes:
        dispatch: that it belongs to.
        pack: it.
        job: None while another process is still submitting it.
    """

    dispatch: Dispatch
    pack: Pack
    job: Job | None


@dataclass
class Work:
    """The cells of a plan by what is to be done about them.

    Attributes:
        todo: ids to compute, in jobs that are yet to be submitted.
        kept: done before.
        queued: in a live job already.
        elsewhere: another process works on them, or on what they need.
        failed: earlier, and not asked for again.
        skipped: their pretraining has failed and is not asked for again.
        awaited: pretrainings that a live job makes.
        forget: id -> attempt up to which none counts.
        forgive: id -> attempt up to which a failure does not count.
    """

    todo: set[str] = field(default_factory=set)
    kept: list[Cell] = field(default_factory=list)
    queued: list[Cell] = field(default_factory=list)
    elsewhere: list[Cell] = field(default_factory=list)
    failed: list[Cell] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    awaited: dict[str, Awaited] = field(default_factory=dict)
    forget: dict[str, int] = field(default_factory=dict)
    forgive: dict[str, int] = field(default_factory=dict)


def find_live(
    results: Path, cells: AbstractSet[str], word: Word, on_broken: Callable[[str], None]
) -> dict[str, Live]:
    """The live pack of each cell that has one, by cell id.

    Args:
        results: the results folder.
        cells: ids to look for.
        word: the scheduler's.
        on_broken: called with a line for every dispatch that cannot be read.

    Raises:
        bench.scheduler.Unreachable: the controller is silent.
    """
    packs = [
        (dispatch, pack)
        for dispatch in load_dispatches(results, on_broken)
        for pack in dispatch.packs
        if not cells.isdisjoint(pack.cells)
    ]
    if not packs:
        return {}
    word.ask(pack.job for _, pack in packs if pack.job is not None)
    found: dict[str, Live] = {}
    for dispatch, pack in packs:
        if pack.job is None and pack.name and not being_submitted(dispatch):
            pack.job = recovered(dispatch, pack, word)
            if pack.job is not None and _submitter_runs(dispatch) is False:
                # One who may be at it still, on another machine, knows more than was read here.
                with contextlib.suppress(OSError):
                    # Where the folder is read-only it is found by its name once more.
                    dispatch.write()
        job = None if pack.job is None else word.job(pack.job)
        if (job is not None and job.live) or (pack.job is None and being_submitted(dispatch)):
            for cell in pack.cells:
                if cell in cells and not dispatch.cancelled_path(cell).exists():
                    found[cell] = Live(dispatch, pack, job)
    return found


def being_submitted(dispatch: Dispatch) -> bool:
    """Whether the process that submits a dispatch is known to be at it still."""
    return _submitter_runs(dispatch) is True


def _submitter_runs(dispatch: Dispatch) -> bool | None:
    try:
        return dispatch.submitter is not None and Owner(**dispatch.submitter).alive()
    except TypeError:
        return False


def recovered(dispatch: Dispatch, pack: Pack, word: Word) -> str | None:
    """The job of a pack whose submission was not recorded: its process was killed after sbatch had answered.

    A job whose pickle submitit had not put into place yet can do nothing, and is none.
    """
    jobs = {job.array_id.partition("_")[0] for job in word.by_name(pack.name) if job.name == pack.name}
    for number in sorted(jobs):
        tasks = dispatch.array_packs(pack.name)
        job = number if len(tasks) == 1 else f"{number}_{tasks.index(pack)}"
        if (dispatch.submitit_dir / f"{job}_submitted.pkl").exists():
            return job
    return None


def mark_of(owner: Owner) -> dict[str, object]:
    """A process as `Dispatch.submitter` keeps it."""
    return asdict(owner)


def _settled(run: Run | None, live: Live) -> bool:
    """Whether a live job has dealt with a cell already: requeued or not, it does not come back to it."""
    if run is None or live.job is None:
        return False
    facts = run.provenance.get("scheduler") or {}
    return (facts.get("array") or facts.get("job")) == live.job.array_id


class _Chooser:
    def __init__(
        self, found: States, live: Mapping[str, Live], force: bool, retry: bool, steal: bool
    ) -> None:
        self.found, self.live = found, live
        self.force, self.retry, self.steal = force, retry, steal
        self.work = Work()

    def verdict(self, cell: Cell) -> str:
        """What is to be done about a cell by itself."""
        state, run = self.found[cell.id]
        live = self.live.get(cell.id)
        if state == "done" and not self.force:
            return "kept"
        if live is not None and not (state in ("failed", "done") and _settled(run, live)):
            return "queued"
        if state == "running" and run is not None and run.owner is not None:
            unknown = self.steal and run.owner.alive() is None
            return "todo" if unknown else "elsewhere"
        if state == "failed" and not (self.retry or self.force):
            return "failed"
        return "todo"

    def given_up(self, pretrain: Cell, cell: Cell) -> bool:
        """Whether the job that holds a cell has skipped it, as it has failed the pretraining."""
        mine, its = self.live[cell.id], self.live.get(pretrain.id)
        return self.found[pretrain.id][0] == "failed" and its is not None and its.pack is mine.pack

    def put(self, cell: Cell, verdict: str) -> None:
        """Note a verdict."""
        if verdict != "todo":
            getattr(self.work, verdict).append(cell)
            return
        run = self.found[cell.id][1]
        self.work.todo.add(cell.id)
        if run is not None and (self.force or self.retry):
            newest = newest_attempt(run.dir)
            self.work.forgive[cell.id] = newest
            if self.force:
                self.work.forget[cell.id] = newest


def choose(
    plan: Plan,
    found: States,
    live: Mapping[str, Live],
    *,
    force: bool = False,
    retry_failed: bool = False,
    steal: bool = False,
) -> Work:
    """Sort the cells of a plan.

    Args:
        plan: the cells.
        found: what `bench.plan.states` gave.
        live: what `find_live` gave.
        force: compute what is done again.
        retry_failed: compute what failed again.
        steal: compute what is held by a process that cannot be known to run.
    """
    chooser = _Chooser(found, live, force, retry_failed, steal)
    for group in plan.groups:
        pretrain = group.pretrain
        first = chooser.verdict(pretrain)
        chooser.put(pretrain, first)
        job = chooser.live[pretrain.id] if first == "queued" else None
        for cell in group.dependents:
            verdict = chooser.verdict(cell)
            if verdict == "queued" and first in ("todo", "failed") and chooser.given_up(pretrain, cell):
                verdict = "todo"
            if verdict == "todo" and first == "failed":
                verdict = "skipped"
            elif verdict == "todo" and (first == "elsewhere" or (job is not None and job.pack.job is None)):
                verdict = "elsewhere"
            chooser.put(cell, verdict)
        if job is not None and job.pack.job is not None:
            chooser.work.awaited[pretrain.id] = Awaited(job.pack.job, job.pack.cells == (pretrain.id,))
    return chooser.work
