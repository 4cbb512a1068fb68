"""What runs inside a job: the cells of one pack, by the same runner as everywhere. No torch, no submitit at the top.

Signals. SIGUSR2 (preemption, or the time limit comes near): save, stop, requeue through submitit. SIGTERM: save and
go on, since scancel, scontrol requeue and a preemption without a user signal all begin with it, SIGKILL follows, and
only the scheduler knows whether the job comes back: one that ends by itself at SIGTERM counts as FAILED and does not.
"""

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError
from bench.files import read_json
from bench.launch.control import RunOptions, Stop
from bench.launch.device import resolve_device
from bench.launch.distributed import Place, place
from bench.launch.leaking import refuse_leaking
from bench.launch.local import LocalRunner
from bench.launch.outcome import Outcome, Summary
from bench.launch.slurm.start import SIGNALS
from bench.plan import Cell, Group, Plan, pretraining
from bench.progress import PlainDisplay
from bench.provenance import scheduler
from bench.records import open_results
from bench.selection import backbone_stride

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.devices.team import Team

NAMED = 5


class CellsFailed(BenchError):
    """Some cells of a pack failed; the job fails with it, so that sacct says FAILED."""


class CellsJob:
    """The cells of one pack, for submitit to call in the job. Pickled as nothing but a path.

    Args:
        pack_file: the pack, `<results>/slurm/<dispatch>/packs/NNNN.json`.
    """

    def __init__(self, pack_file: str) -> None:
        self.pack_file = pack_file

    def __call__(self) -> dict[str, int]:
        """Run the cells; how many ended in which state. Of several tasks the first does so, and the others follow it.

        Raises:
            CellsFailed: some failed, the others finished.
            bench.errors.Preempted: stopped before the end and not requeued.
            SystemExit: requeued, or a later start of this job runs already.
        """
        here = place() if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else None
        if here is not None and here.rank > 0:
            return _follow(here, read_json(Path(self.pack_file)))
        stop = Stop()
        requeue = _listen(stop)
        pack = read_json(Path(self.pack_file))
        _pin(pack.get("threads"))
        plan = read_plan(pack)
        with contextlib.ExitStack() as stack:
            display = stack.enter_context(PlainDisplay(plan.cells, sys.stdout))
            display.note(_heading(len(plan)))
            runner = _runner(Path(self.pack_file), pack, plan, stop, display)
            if here is not None:
                runner = replace(runner, team=stack.enter_context(_team(here, runner, pack, plan, display)))
            summary = runner.run(plan)
            _tell(summary, frozenset(pack["compute"]), display)
        if summary.stopped is not None:
            from bench.launch.slurm.requeue import come_back

            come_back(requeue, pack.get("max_restarts"))
        # Nothing is left to save. Python takes its handlers away before it exits, and then SIGUSR2 would end a job
        # whose cells are done with an error; what is ignored stays so.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise_failed(summary, frozenset(pack["compute"]), _cancelled(Path(self.pack_file)))
        return {
            state: len(summary.of(state)) for state in sorted({o.state for o in summary.outcomes.values()})
        }

    def checkpoint(self) -> Any:
        """What submitit pickles for the next start: this again, as all that counts is in the cells' folders."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)


def _follow(here: Place, pack: Mapping[str, Any]) -> dict[str, int]:
    """Be a task that trains what the first one calls for, and nothing besides."""
    _pin(pack.get("threads"))
    from bench.devices.follow import follow
    from models.registry import load_plugins

    load_plugins()
    follow(here)
    return {}


def _team(
    here: Place, runner: LocalRunner, pack: Mapping[str, Any], plan: Plan, display: PlainDisplay
) -> "Team":
    from bench.devices.team import Images, Team

    sides = Datasets(pack, plan, display.note).sides
    root = None if pack.get("root") is None else Path(pack["root"])
    images = Images(root, bool(pack.get("skip_corrupt")), sides)
    return Team(images, runner.device, here=here, threads=pack.get("threads"), note=display.note)


def _listen(stop: Stop) -> Any:
    """Take the signals over from submitit, then let those come that waited since `start.py`.

    Returns:
        submitit's handler of SIGUSR2, which requeues; called from within the signal it would interrupt anything.
    """

    def say(text: str) -> None:
        # Not print: a signal may come in the middle of one.
        os.write(2, f"{text}\n".encode())

    def leave(number: int, _: Any) -> None:
        say(f"{signal.Signals(number).name}: saving, then this job is requeued")
        stop.request("preempt")

    def save(number: int, _: Any) -> None:
        say(f"{signal.Signals(number).name}: saving at the next step, then going on until SLURM ends it")
        stop.save_now()

    before = signal.signal(signal.SIGUSR2, leave)
    signal.signal(signal.SIGTERM, save)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    return before


def _pin(threads: int | None) -> None:
    """Fix the number of threads before torch is loaded: bits differ between one and two."""
    given = str(threads) if threads else os.environ.get("SLURM_CPUS_PER_TASK")
    if threads and given:
        os.environ["OMP_NUM_THREADS"] = given
    elif given:
        os.environ.setdefault("OMP_NUM_THREADS", given)


def _cell(row: Mapping[str, Any]) -> Cell:
    return Cell(dict(row["config"]), str(row["source"]))


def read_plan(pack: Mapping[str, Any]) -> Plan:
    """The cells of a pack, in the order in which they are run."""
    return Plan(
        tuple(Group(_cell(g["pretrain"]), tuple(map(_cell, g["dependents"]))) for g in pack["groups"])
    )


class Datasets:
    """Data sets by the name that the user gave, read when a cell needs them, one at a time.

    Args:
        pack: root, skip_corrupt and which cells to compute of it are used.
        plan: its cells, whose backbones say how small an image may be.
        note: told of images that are left out.
    """

    def __init__(self, pack: Mapping[str, Any], plan: Plan, note: Any) -> None:
        self._plan, self._ids = plan, frozenset(pack["compute"])
        self._root = None if pack.get("root") is None else Path(pack["root"])
        self._skip_corrupt = bool(pack.get("skip_corrupt"))
        self._note = note
        self._held: tuple[str, Dataset] | None = None
        self.sides: dict[str, int] = {}
        for cell in plan.cells:
            side = backbone_stride(pretraining(cell.config)["backbone"])
            self.sides[cell.source] = max(side, self.sides.get(cell.source, 0))

    def __call__(self, name: str) -> "Dataset":
        """The data set.

        Raises:
            DataError: it is missing or broken, or a pool holds test images.
        """
        if self._held is None or self._held[0] != name:
            from bench.data import registry

            self._held = None
            data = registry.load(name, self._root, self._skip_corrupt, min_side=self.sides[name])
            refuse_leaking(self._plan, self._ids, self._root, self._skip_corrupt, name)
            if data.corrupt:
                self._note(f"{name}: {len(data.corrupt)} broken images are left out")
            self._held = name, data
        return self._held[1]


def _cancelled(pack_file: Path) -> Path:
    return pack_file.parent.parent / "cancelled"


def _runner(
    pack_file: Path, pack: Mapping[str, Any], plan: Plan, stop: Stop, display: PlainDisplay
) -> LocalRunner:
    from models.registry import load_plugins

    load_plugins()
    results, cancelled = Path(pack["results"]), _cancelled(pack_file)
    open_results(results)
    device, device_name = resolve_device(pack.get("device", "auto"))
    given = os.environ.get("SLURM_JOB_GPUS") or os.environ.get("SLURM_STEP_GPUS")
    if given and device == "cpu":
        display.note(
            f"warning: this job was given GPU {given}, but torch sees none: running on {device_name}"
        )
    options: dict[str, Any] = {"threads": pack.get("threads")}
    for key in ("checkpoint_every_steps", "cache_bytes", "weights", "speed", "precision"):
        if pack.get(key) is not None:
            options[key] = pack[key]
    return LocalRunner(
        results,
        Datasets(pack, plan, display.note),
        display,
        stop,
        device,
        device_name,
        RunOptions(**options),
        retry_failed=bool(pack.get("retry_failed")) and "forgive" not in pack,
        only=frozenset(pack["compute"]),
        forget=pack.get("forget") or {},
        forgive=pack.get("forgive") or {},
        left_out=lambda cell: "cancelled" if (cancelled / cell.id).exists() else None,
        steal=bool(pack.get("steal")),
    )


def _heading(num_cells: int) -> str:
    facts = scheduler() or {}
    job = facts.get("array") or facts.get("job") or "none"
    restarts = f", restart {facts['restarts']}" if facts.get("restarts") else ""
    threads = os.environ.get("OMP_NUM_THREADS", "as torch likes")
    node = facts.get("node") or socket.gethostname()
    return f"job {job}{restarts} on {node}: {num_cells} cells, threads {threads}"


def _tell(summary: Summary, mine: frozenset[str], display: PlainDisplay) -> None:
    counts = [f"{len(found)} {state}" for state in ("done", "kept", "failed", "skipped", "stopped")
              if (found := summary.of(state))]  # fmt: skip
    if elsewhere := [o for o in summary.of("elsewhere") if o.cell.id in mine]:
        counts.append(f"{len(elsewhere)} running elsewhere, left to who has them")
    display.note(f"cells: {', '.join(counts) or 'none reached'}")


def raise_failed(summary: Summary, mine: frozenset[str], cancelled: Path) -> None:
    """Fail the job if a cell that it had to compute failed or lacks its pretraining.

    Raises:
        CellsFailed: with the first few reasons.
    """

    def count(outcome: Outcome) -> bool:
        needs = outcome.cell.config.get("pretrain_id", outcome.cell.id)
        return outcome.cell.id in mine and not any((cancelled / i).exists() for i in (outcome.cell.id, needs))

    failed = [o for o in summary.of("failed") if o.cell.id in mine]
    skipped = [o for o in summary.of("skipped") if count(o)]
    if not failed and not skipped:
        return
    words = [f"{len(failed)} of {len(mine)} cells failed"] + ([f"{len(skipped)} skipped"] if skipped else [])
    named = [f"{o.cell.label}: {o.reason}" for o in (*failed, *skipped)]
    more = [f"and {len(named) - NAMED} more"] if len(named) > NAMED else []
    raise CellsFailed(f"{', '.join(words)}: {'; '.join([*named[:NAMED], *more])}")
