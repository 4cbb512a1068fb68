"""Hands the cells of a plan to SLURM and says what came of it; with --dry-run, what would."""

import shutil
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.commands.computing import look
from bench.commands.order import Order
from bench.commands.predicting import cost_facts, way_of
from bench.commands.submission_words import Prepared, ended, foreseen, intent, table_of, total
from bench.commands.words import Voice, command_line, counts
from bench.errors import UsageError
from bench.estimate import JOB_SECONDS, DeviceKind, Estimator, make_estimator
from bench.forecast import recall
from bench.launch.slurm.jobs import Request, foretell
from bench.launch.slurm.packing import draft_packs
from bench.launch.slurm.profile import Profile
from bench.launch.slurm.work import States, choose, find_live
from bench.plan import Cell
from bench.price import Price
from bench.records import Once, open_results
from bench.scheduler import Unreachable, Word
from bench.time_left import duration

if TYPE_CHECKING:
    pass

T = TypeVar("T")
PAUSE = 5.0
# A job that is packed to its time limit would be requeued for the sake of its last cell.
FILL = 0.8


def _typed() -> list[str]:
    return ["bench", *(click.get_current_context().obj or [])]


def _request(order: Order) -> Request:
    """How the cells are run, for those who submit them."""
    return Request(
        order.results.absolute(),
        order.root,
        _typed(),
        order.skip_corrupt,
        order.device,
        order.threads,
        order.checkpoint_every,
        order.retry_failed,
        order.steal,
        order.exclude,
        order.weights,
        order.speed,
        order.precision,
        order.devices.each,
        order.devices.nodes,
    )


def device_kind(profile: Profile, kind: str, device: str) -> DeviceKind:
    """Whether a class of jobs computes on a GPU."""
    asked = profile.classes[kind]
    gpus = any(asked.get(key) for key in ("gpus_per_node", "slurm_gpus_per_task"))
    gpus = gpus or "gpu" in str(asked.get("slurm_gres", ""))
    return "gpu" if gpus and device != "cpu" else "cpu"


def _estimate(order: Order, profile: Profile, found: States, todo: Iterable[Cell]) -> dict[str, Estimator]:
    """An estimator for each kind of cell."""
    todo = list(todo)
    runs = [run for _, run in found.values() if run is not None]
    estimators: dict[DeviceKind, Estimator] = {}
    chosen = {}
    for cell_kind in ("pretrain", "probe", "evaluate"):
        # What needs a pretraining runs where that does unless it is split from it.
        kind = "probe" if cell_kind != "pretrain" and profile.options.split_probes else "pretrain"
        device = device_kind(profile, kind, order.device)
        if device not in estimators:
            located = order.plan.located
            estimators[device] = make_estimator(order.results, todo, device, located=located, known=runs)
            if order.measure:
                # Here is no device to measure on: what was measured on one like those of the jobs is known.
                recall(estimators[device], todo, way_of(order).place(device), anywhere=True)
        chosen[cell_kind] = estimators[device]
    return chosen


def prepare(order: Order, profile: Profile, word: Word | None, broken: Once) -> Prepared:
    """Look at everything and distribute the cells; writes nothing.

    Args:
        order: what was asked for.
        profile: what the cluster wants to be told.
        word: the scheduler's; None leaves it unasked, as if nothing were queued.
        broken: told of files that cannot be read.

    Raises:
        Unreachable: the controller is silent.
    """
    found = look(order, broken)
    open_ids = {id for id, (state, _) in found.items() if state != "done" or order.force}
    live = find_live(order.results, open_ids, word, broken) if word is not None and open_ids else {}
    work = choose(
        order.plan,
        found,
        live,
        force=order.force,
        retry_failed=order.retry_failed,
        steal=order.steal,
    )
    todo = [cell for cell in order.plan.cells if cell.id in work.todo]
    estimators = _estimate(order, profile, found, todo)
    limits = {}
    for kind in ("pretrain", "probe"):
        longest = FILL * 60 * profile.classes[kind]["timeout_min"] - JOB_SECONDS
        limits[kind] = min(60 * profile.options.pack_minutes, longest)
    drafts = draft_packs(
        order.plan.groups,
        work.todo,
        lambda cell: estimators[cell.kind].seconds(cell),
        limits,
        awaited=work.awaited,
        split_probes=profile.options.split_probes,
    )
    bases = dict.fromkeys(estimator.basis for estimator in estimators.values())
    return Prepared(order, profile, found, work, drafts, "; ".join(bases))


def _patiently(call: Callable[[], T], profile: Profile, say: Voice) -> T:
    """Call what asks SLURM, again while its controller is silent, for as long as the profile says.

    Raises:
        UsageError: SLURM is not installed here.
        Unreachable: the controller stayed silent.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise UsageError("no SLURM here: sbatch is not found; without --slurm the cells run in this process")
    deadline = time.monotonic() + profile.options.submit_wait_s
    told = False
    while True:
        try:
            return call()
        except Unreachable as error:
            if time.monotonic() >= deadline:
                raise
            if not told:
                say(f"{error}; trying again for {duration(profile.options.submit_wait_s)}")
            told = True
            time.sleep(min(PAUSE, max(0.1, deadline - time.monotonic())))


def _ask_slurm(order: Order, profile: Profile, broken: Once) -> Prepared:
    word = Word()
    word.ask()
    return prepare(order, profile, word, broken)


def dispatch(order: Order, profile: Profile, say: Voice) -> int:
    """Submit the cells and leave; gives the exit code."""
    from bench.launch.slurm.sbatch import SubmitError
    from bench.launch.slurm.submit import Submitter

    broken = Once()
    try:
        ready = _patiently(lambda: _ask_slurm(order, profile, broken), profile, say)
    except Unreachable as error:
        say(f"nothing was submitted: {error}; the next line tries again")
        say(f"next: {command_line()}")
        say.object({"results": str(order.results), "submitted": [], "why": str(error), "exit_code": 3})
        return 3
    if ready.drafts:
        open_results(order.results)
        # Of a job both are its dispatch's, which a cell that runs here does not have.
        order.record({name: value for name, value in order.how.items() if name not in ("device", "threads")})
    say(f"results: {order.results.absolute()}")
    say(f"{counts(order.plan, ready.found, ready.work.queued)}; {intent(ready.work)}")
    if not ready.drafts:
        return ended(ready, None, say)
    submitter = Submitter(_request(order), profile, ready.work, say)
    try:
        done = submitter.run(ready.drafts)
    except SubmitError as error:
        nodes = f", --exclude-node {','.join(order.exclude)}" if order.exclude else ""
        raise UsageError(f"SLURM refuses: {error} (by {profile}{nodes})") from None
    except KeyboardInterrupt:
        if submitter.done is not None:
            submitter.done.why = "interrupted"
            ended(ready, submitter.done, say)
        raise
    return ended(ready, done, say)


def foresee(order: Order, profile: Profile, say: Voice, price: Price | None = None) -> int:
    """What `dispatch` would submit, and what SLURM would say to it; writes nothing.

    Args:
        order: what was asked for.
        profile: what the cluster wants to be told.
        say: whom to.
        price: of a device-hour.

    Returns:
        The exit code: 2 where SLURM refuses a class of jobs.
    """
    broken, silent, code = Once(), "", 0
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        silent = "no SLURM here: sbatch is not found"
        ready = prepare(order, profile, None, broken)
    else:
        try:
            ready = _ask_slurm(order, profile, broken)
        except Unreachable as error:
            silent = str(error)
            ready = prepare(order, profile, None, broken)
    say(f"{counts(order.plan, ready.found, ready.work.queued)}; {intent(ready.work)}")
    if silent:
        say(f"what is queued already is not known: {silent}")
    classes: dict[str, Any] = {}
    for line in table_of(ready.drafts, profile):
        say(line)
    if ready.drafts:
        hours = total(ready.drafts) / 3600
        cost = f", {price.of(hours)}" if price is not None else ""
        said = f"{duration(3600 * hours)} of work in all ({ready.basis}), {hours:.3g} device-hours{cost}"
        say(f"  predicted: {said}; {profile}")
    for kind in dict.fromkeys(draft.pack.resources for draft in ready.drafts):
        number = sum(draft.pack.resources == kind for draft in ready.drafts)
        text, accepted = silent, None
        if not silent:
            answer = foretell(profile, kind, _request(order))
            text, accepted = answer.text, answer.accepted
            code = 2 if answer.fault == "refused" else code
        say(f"  sbatch --test-only, {kind}: {f'refused: {text}' if accepted is False else text}")
        classes[kind] = {"jobs": number, "accepted": accepted, "says": text, **profile.classes[kind]}
    say(f"nothing was submitted, nothing was written in {order.results.absolute()}")
    foreseen(ready, classes, code, cost_facts(total(ready.drafts) / 3600, price), say)
    return code
