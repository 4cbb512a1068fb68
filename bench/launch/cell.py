"""Computes one cell that this process has claimed, and marks in its folder what became of it."""

import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.checkpoint import checkpoint_files
from bench.compilable import why_missing
from bench.errors import (
    BenchError,
    Interrupted,
    OutOfTime,
    Preempted,
    RankFailed,
    RankLost,
    RecordError,
    Superseded,
    WeightsError,
)
from bench.files import read_json
from bench.launch.control import RunOptions, Stop
from bench.launch.device import default_threads
from bench.launch.outcome import BrokenWeights, Display, Outcome, Trainer, one_line
from bench.plan import Cell
from bench.plugins import used
from bench.probe_speed import choose_probe, kept_probe
from bench.provenance import collect
from bench.records import Attempt, Run, load_run, run_dir
from bench.run_folder import PROVENANCE, RESULT, attempt_dirs, set_broken_result_aside
from bench.speed import Speed, choose, in_c, kept, uncompiled, without_c

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.devices.team import Team


@dataclass(frozen=True)
class Work:
    """One cell to compute.

    Attributes:
        cell: the cell.
        load: data set by the name that the user gave.
        forget: attempts up to this number count for nothing.
        held: whether the cell is still this process's.
    """

    cell: Cell
    load: Callable[[str], "Dataset"]
    forget: int
    held: Callable[[], bool]


class CellRunner:
    """Computes cells one at a time; see `bench.launch.local.LocalRunner` for the arguments."""

    def __init__(
        self,
        results: Path,
        display: Display,
        stop: Stop,
        trainer: Trainer,
        device: str,
        device_name: str,
        options: RunOptions,
        on_broken: Callable[[str], None],
        team: "Team | None" = None,
    ) -> None:
        self.results, self.display, self.stop, self.trainer = results, display, stop, trainer
        self.device, self.device_name, self.options = device, device_name, options
        self._broken, self._team = on_broken, team
        self.stopped_by: BenchError = Interrupted("interrupted")
        # Cell id -> what its record says of the seeds it was, or was not, trained with.
        self.together: dict[str, Mapping[str, Any]] = {}

    def run(self, work: Work, run: Run | None) -> Outcome:
        """Compute a cell.

        Args:
            work: what to do.
            run: what is there of it.

        Returns:
            Done, failed, stopped (why is in `stopped_by`), or elsewhere when it was taken over meanwhile.

        Raises:
            BrokenWeights: the pretraining that the cell needs must be made again first.
        """
        begun = time.monotonic()
        attempt: Attempt | None = None
        try:
            options, missing = self.in_force(work.cell, run, work.forget)
            attempt, data = self.begin(work, run, options)
            if missing:
                attempt.note(f"convolutions stay plain: {missing}")
            return self.done(work, attempt, self.call(work.cell, data, attempt, options), begun)
        except BrokenWeights as error:
            if attempt is not None:
                attempt.interrupt(str(error), type(error).__name__)
            raise
        except Exception as error:
            return self.ended(work, attempt, error, begun)

    def done(self, work: Work, attempt: Attempt, result: dict[str, Any], begun: float) -> Outcome:
        """Publish a result.

        Raises:
            Superseded: the cell is somebody else's.
        """
        if not attempt.finished:
            result = attempt.finish(result)
        return Outcome(work.cell, "done", "", time.monotonic() - begun, attempt.log_path, result)

    def ended(self, work: Work, attempt: Attempt | None, error: Exception, begun: float) -> Outcome:
        """Mark an attempt by the error that ended it; None has not begun."""
        cell, seconds = work.cell, time.monotonic() - begun
        if isinstance(error, (Interrupted, OutOfTime, Preempted, Superseded)):
            if attempt is not None:
                attempt.interrupt(str(error), type(error).__name__)
            if isinstance(error, Superseded):
                return Outcome(cell, "elsewhere", str(error), seconds)
            self.stopped_by = error
            return Outcome(cell, "stopped", str(error), seconds)
        if isinstance(error, RankLost) and attempt is not None:
            attempt.interrupt(str(error), type(error).__name__)
            again = f"{error}; the same line goes on from what was saved"
            return Outcome(cell, "failed", again, seconds, attempt.log_path)
        text = one_line(error)
        # Data that cannot be read is a failure of the cell too, which must be on record where nobody watches.
        attempt = attempt or self._record(work)
        if attempt is not None:
            trace = "" if isinstance(error, BenchError) else "".join(traceback.format_exception(error))
            trace = error.trace if isinstance(error, RankFailed) else trace
            attempt.fail(text, type(error).__name__, trace)
        return Outcome(cell, "failed", text, seconds, attempt.log_path if attempt is not None else None)

    def _record(self, work: Work) -> Attempt | None:
        """An attempt that has come to nothing before it began."""
        try:
            return Attempt(self.results, work.cell.config, forget=work.forget, provenance=collect())
        except (OSError, RecordError):
            # Then this is why the cell failed, and it is told.
            return None

    def begin(self, work: Work, run: Run | None, options: RunOptions) -> "tuple[Attempt, Dataset]":
        """A new attempt at a cell, and its data set."""
        cell = work.cell
        if run is not None and run.result is None and (aside := set_broken_result_aside(run.dir)):
            self.display.note(f"{cell.label}: a broken result.json was set aside as {aside.name}")
        data = work.load(cell.source)
        together = self.together.get(cell.id)
        attempt = Attempt(
            self.results,
            work.cell.config,
            forget=work.forget,
            fence=work.held,
            provenance=collect(
                device=self.device_name or self.device,
                threads=options.threads,
                **_switches(work.cell, options),
                data={"name": data.name, "fingerprint": data.fingerprint, "leaks": data.leaks},
                **({"jobs": dict(options.jobs)} if options.jobs else {}),
                **({"together": dict(together)} if together else {}),
                **({"plugins": packages} if (packages := used(work.cell.config)) else {}),
                **({} if (team := self.team(cell)) is None else {"devices": team.facts()}),
            ),
            on_row=self.display.row,
            on_note=self.display.note,
        )
        return attempt, data

    def call(self, cell: Cell, data: "Dataset", attempt: Attempt, options: RunOptions) -> dict[str, Any]:
        """Compute; gives the body of the result."""

        def progress(step: int, total: int, rate: float, values: dict[str, float]) -> None:
            attempt.progress(step, total, rate, values)
            self.display.step(step, total, rate, values)

        common: dict[str, Any] = {
            "device": self.device,
            "stop": self.stop,
            "progress": progress,
            "options": options,
        }
        if (team := self.team(cell)) is not None:
            with team.working(cell.config, cell.source, data.fingerprint, options, self.stop) as share:
                common["share"] = share
                return self.trainer.pretrain(cell.config, data, attempt, **common)
        if cell.kind == "pretrain":
            return self.trainer.pretrain(cell.config, data, attempt, **common)
        weights, pretrained = self._pretrained(cell)
        try:
            if cell.kind == "evaluate":
                return self.trainer.evaluate(cell.config, data, weights, pretrained, attempt, **common)
            return self.trainer.probe(cell.config, data, weights, attempt, **common)
        except WeightsError as error:
            folder = run_dir(self.results, cell.config["pretrain_id"])
            raise BrokenWeights(str(error), folder, weights) from None

    def team(self, cell: Cell) -> "Team | None":
        """Those who compute a cell together; None is this process alone, as it is of all but pretrainings."""
        trains = cell.kind == "pretrain" and cell.config["train"]["epochs"]
        return self._team if trains else None

    def _pretrained(self, cell: Cell) -> tuple[Path, dict[str, Any]]:
        """Weights and result of the pretraining that a cell needs."""
        run = load_run(self.results, cell.config["pretrain_id"], self._broken)
        if run is None or run.result is None:
            raise RecordError(f"pretraining {cell.config['pretrain_id']} has no result any more")
        if run.weights is None:
            raise BrokenWeights(f"the weights of pretraining {run.id} are gone", run.dir, None)
        return run.weights, run.result

    def in_force(self, cell: Cell, run: Run | None, forget: int) -> tuple[RunOptions, str]:
        """Threads and switches of a cell: one that goes on keeps those it began with, else its bits would change.

        Returns:
            They, and why a switch that was wished for cannot be had on this machine, or "".
        """
        wished = self.options
        # Torch is asked before a cell that goes on has had its own number set.
        usual = wished.threads or default_threads()
        begun = self._begun(run, forget) or {}
        if (team := self.team(cell)) is not None:
            # Each process its part, whatever those had who began it.
            wished = team.in_force(wished, usual)
        elif begun.get("devices"):
            begun = {**begun, "threads": None}
        threads = wished.threads or begun.get("threads") or usual
        if cell.kind == "probe":
            probing = choose_probe(self.device, wished.speed, wished.precision)
            if begun and wished.speed == "auto":
                probing = kept_probe(begun.get("speed"), self.device, wished.precision)
            missing = why_missing() if in_c(probing) else ""
            probing = without_c(probing) if missing else probing
            return replace(wished, threads=threads, probing=probing), missing
        if cell.kind != "pretrain":
            return replace(wished, threads=threads), ""
        switches: Speed = choose(self.device, wished.speed, wished.precision)
        if begun and wished.speed == "auto":
            switches = kept(begun.get("speed"), self.device, wished.precision)
        # What is recorded is what is in force, so that a cell goes on as it began where a compiler is found later.
        missing = why_missing() if in_c(switches) else ""
        switches = without_c(switches) if missing else switches
        if team is not None:
            switches = uncompiled(switches)
        return replace(wished, threads=threads, switches=switches), missing

    def _begun(self, run: Run | None, forget: int) -> dict[str, Any] | None:
        """The provenance of the newest attempt that counts and says on how many threads it ran.

        None where no attempt that counts left a checkpoint or a result: what begins anew has nothing to be equal to.
        """
        folders = attempt_dirs(run.dir) if run is not None else ()
        folders = [folder for folder in folders if int(folder.name) > forget]
        if not any(checkpoint_files(folder) or (folder / RESULT).exists() for folder in folders):
            return None
        for folder in folders:
            try:
                earlier = read_json(folder / PROVENANCE)
            except FileNotFoundError:
                # Killed as soon as it was begun.
                continue
            except RecordError as error:
                self._broken(str(error))
                continue
            if isinstance(earlier.get("threads"), int) and earlier["threads"] > 0:
                return earlier
        return None


def _switches(cell: Cell, options: RunOptions) -> dict[str, Any]:
    """What a provenance says of how fast a cell was computed; nothing where there is no choice."""
    if cell.kind == "evaluate":
        return {}
    speed = options.switches if cell.kind == "pretrain" else options.probing
    return {"speed": speed.as_json()}
