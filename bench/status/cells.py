"""Every known cell and where it stands: the folders first, then one question to SLURM for all of them."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench import asked
from bench.asked import Asked
from bench.claims import Owner
from bench.data.fractions import typed_name
from bench.dispatches import CANCELLED, Dispatch, Pack, jobs_of, load_dispatches
from bench.plan import Cell, label
from bench.records import Once, check_results
from bench.run_folder import RESULT, run_dir
from bench.scheduler import Job, Unreachable, Word, cluster_name
from bench.status.standing import STATES, Handed, Standing, State, before, judge, skipped
from bench.status.trace import NOTHING, Trace, entries, look, read_config
from bench.status.unseen import doubted, to_remake, unread


@dataclass(frozen=True)
class Known:
    """A cell that was asked for or has a folder, before anybody looks into that.

    Attributes:
        cell: with its configuration.
        asked: how it was asked for; None where only its folder tells of it.
    """

    cell: Cell
    asked: Asked | None


@dataclass(frozen=True)
class Survey:
    """Where all cells stand.

    Attributes:
        results: the folder.
        cells: by id, in the order in which they were asked for.
        dispatches: all that were ever handed to a scheduler, the oldest first.
        silent: why SLURM could not be asked although something hangs on it; "" when it could.
        unread: why nobody can know what was handed to SLURM; "" when it was read. Cells are as last known then.
    """

    results: Path
    cells: dict[str, Standing]
    dispatches: list[Dispatch] = field(default_factory=list)
    silent: str = ""
    unread: str = ""

    def of(self, *states: State) -> list[Standing]:
        """Cells with one of the states."""
        return [cell for cell in self.cells.values() if cell.state in states]

    @property
    def counts(self) -> dict[State, int]:
        """How many cells there are of each state, in the order of `STATES`; states without any are left out."""
        number = Counter(cell.state for cell in self.cells.values())
        return {state: number[state] for state in STATES if number[state]}

    @property
    def done(self) -> bool:
        """Whether there is something, and nothing is missing."""
        return bool(self.cells) and all(cell.state == "done" for cell in self.cells.values())

    def only(self, ids: Iterable[str]) -> "Survey":
        """The same of some cells."""
        return replace(self, cells={id: self.cells[id] for id in ids})


def known_cells(results: Path, on_broken: Callable[[str], None] | None = None) -> dict[str, Known]:
    """Cells that were asked for, in that order, then those of which only a folder tells.

    Args:
        results: the results folder; one that is missing or empty knows of none.
        on_broken: called with a line for every file that cannot be read; None warns of each once.

    Raises:
        UsageError: another version's folder.
    """
    on_broken = on_broken or Once()
    check_results(results)
    found = {id: Known(one.cell, one) for id, one in asked.load(results, on_broken).items()}
    others = []
    for name in _run_names(results, on_broken):
        if name in found:
            continue
        config = read_config(run_dir(results, name), name, on_broken)
        if config is not None:
            cell = Cell(config, typed_name(config["dataset"]))
            cell.__dict__["id"] = name
            others.append(Known(cell, None))
    others.sort(key=lambda known: (known.cell.method, label(known.cell.config)))
    return found | {known.cell.id: known for known in others}


def survey(
    results: Path,
    known: dict[str, Known] | None = None,
    word: Word | None = None,
    on_broken: Callable[[str], None] | None = None,
    whole: bool = False,
) -> Survey:
    """Look at every cell. Nothing is written.

    Args:
        results: the results folder.
        known: what `known_cells` gave; None asks it.
        word: SLURM's; None is a new one. It is asked only when something hangs on it.
        on_broken: called with a line for every file that cannot be read; None warns of each once.
        whole: look who holds and who is to compute cells that are done, too.

    Raises:
        UsageError: another version's folder.
    """
    on_broken = Once() if on_broken is None else Once(on_broken)
    word = word or Word()
    known = known_cells(results, on_broken) if known is None else known
    there = set(_run_names(results, on_broken))
    traces = {
        id: look(run_dir(results, id), id, on_broken, whole) if id in there else NOTHING for id in known
    }
    dispatches = load_dispatches(results, on_broken)
    places = jobs_of(dispatches)
    forced = to_remake(results, (id for id in known if traces[id].done), places)
    open_jobs = {
        id: place
        for id, place in places.items()
        if id in known and (whole or id in forced or not traces[id].done)
    }
    owners = {id: trace.owner for id, trace in traces.items() if trace.owner is not None}
    # One question for all, before the first claim asks about itself alone.
    ids = [owner.job for owner in owners.values() if owner.job]
    ids += [pack.job for _, pack in open_jobs.values() if pack.job]
    silent = _ask(word, ids) if ids or open_jobs else ""
    handed = _handed(open_jobs, word, silent)
    cells: dict[str, Standing] = {}
    for id, one in known.items():
        trace, folder, job = traces[id], run_dir(results, id), handed.get(id)
        alive = _alive(trace, word)
        state, reason, sure = judge(trace, alive, job)
        if state == "lost" and (folder / RESULT).exists():
            # It has ended well since its folder was read, before SLURM was asked.
            trace = look(folder, id, on_broken, whole)
            alive = _alive(trace, word)
            state, reason, sure = judge(trace, alive, job)
        held = alive is not False
        cells[id] = Standing(one.cell, state, reason, sure, folder, trace, one.asked, job, held, id in forced)
    _tell_queue(cells, dispatches)
    _tell_skipped(cells)
    hidden = unread(results)
    return Survey(results, doubted(cells) if hidden else cells, dispatches, silent, hidden)


def _alive(trace: Trace, word: Word) -> bool | None:
    if trace.claim_broken:
        return None
    return trace.owner is not None and trace.owner.alive(word)


def _run_names(results: Path, on_broken: Callable[[str], None]) -> list[str]:
    try:
        return sorted(name for name in entries(results / "runs") if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        on_broken(f"{results / 'runs'} cannot be read: {error.strerror or error}")
        return []


def _ask(word: Word, ids: list[str]) -> str:
    """Why SLURM is silent; "" when it answers."""
    try:
        word.ask(ids)
    except Unreachable as error:
        return str(error)
    return ""


def _handed(places: dict[str, tuple[Dispatch, Pack]], word: Word, silent: str) -> dict[str, Handed]:
    here = "" if silent or not places else cluster_name()
    marks = {dispatch.id: dispatch for dispatch, _ in places.values()}
    cancelled = {id: set(_marks(dispatch)) for id, dispatch in marks.items()}
    submitting = {id: _being_submitted(dispatch) for id, dispatch in marks.items()}
    tasks = {} if silent else _by_name(word, {pack.name for _, pack in places.values() if not pack.job})
    jobs: dict[tuple[str, int], tuple[Job | None, str]] = {}
    found = {}
    for id, (dispatch, pack) in places.items():
        key = dispatch.id, pack.number
        if key not in jobs:
            why = silent
            if not silent and dispatch.cluster != here:
                why = f"the job is on cluster {dispatch.cluster}, this is {here}"
            jobs[key] = None if why else find_job(dispatch, pack, word, tasks), why
        job, why = jobs[key]
        marked = id in cancelled[dispatch.id]
        found[id] = Handed(dispatch, pack, job, why, marked, submitting[dispatch.id])
    return found


def _being_submitted(dispatch: Dispatch) -> bool:
    try:
        return dispatch.submitter is not None and Owner(**dispatch.submitter).alive() is True
    except TypeError:
        # Of another version of bench: not here and now.
        return False


def find_job(
    dispatch: Dispatch, pack: Pack, word: Word, tasks: dict[str, dict[int, Job]] | None = None
) -> Job | None:
    """The job of a pack as SLURM knows it; by its name where its id could not be written down.

    Args:
        dispatch: that holds the pack.
        pack: the pack.
        word: SLURM's.
        tasks: what `_by_name` gave; None asks for this pack alone.

    Raises:
        Unreachable: the controller is silent.
    """
    if pack.job is not None:
        return word.job(pack.job)
    if not pack.name:
        return None
    tasks = _by_name(word, {pack.name}) if tasks is None else tasks
    job = tasks.get(pack.name, {}).get(dispatch.array_packs(pack.name).index(pack))
    # One whose work submitit has not put into its place can do nothing.
    there = job is not None and (dispatch.submitit_dir / f"{job.array_id}_submitted.pkl").exists()
    return job if there else None


def _by_name(word: Word, names: set[str]) -> dict[str, dict[int, Job]]:
    """Jobs by their name and their index in the array of that name."""
    found: dict[str, dict[int, Job]] = {}
    for name in names - {""}:
        for job in word.by_name(name):
            if job.name == name:
                task = job.array_id.partition("_")[2]
                found.setdefault(name, {})[int(task) if task.isdigit() else 0] = job
    return found


def _marks(dispatch: Dispatch) -> Iterator[str]:
    try:
        yield from entries(dispatch.dir / CANCELLED)
    except OSError:
        # None was cancelled.
        return


def _tell_queue(cells: dict[str, Standing], dispatches: list[Dispatch]) -> None:
    """Say of cells that wait inside a running job how many come before them."""
    for dispatch in dispatches:
        for pack in dispatch.packs:
            mine = [
                cell
                for id in pack.cells
                if (cell := cells.get(id)) and cell.handed and cell.handed.pack is pack
            ]
            for cell, count in zip(mine, before([cell.state for cell in mine]), strict=True):
                job = cell.job
                if cell.state == "queued" and job is not None and not job.waiting:
                    many = f"{count} cells" if count != 1 else "1 cell"
                    why = f"{cell.reason}, {many} before it" if count else cell.reason
                    cells[cell.id] = replace(cell, reason=why)


def _tell_skipped(cells: dict[str, Standing]) -> None:
    for id, cell in cells.items():
        if cell.cell.kind == "pretrain":
            continue
        parent = cells.get(cell.cell.config["pretrain_id"])
        if parent is not None and skipped(parent.state, cell.state):
            reason = f"its pretraining {parent.id} failed: {parent.reason}"
            cells[id] = replace(cell, state="skipped", reason=reason, sure=True)
        elif parent is not None and parent.state == "stopped" and _left_alone(cell):
            reason = f"its pretraining {parent.id} was stopped: {parent.reason}"
            cells[id] = replace(cell, state="stopped", reason=reason)


def _left_alone(cell: Standing) -> bool:
    """Whether the cell's job came to its end and had no pretraining for it."""
    job = cell.handed.job if cell.handed else None
    return (
        cell.state == "lost" and cell.trace.attempt is None and job is not None and job.state == "COMPLETED"
    )


__all__ = ["Known", "Survey", "Trace", "find_job", "known_cells", "survey"]
