"""Runs the cells of a plan in this process, one after another."""

import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import claims
from bench.errors import BenchError, Interrupted, OutOfTime, RecordError
from bench.files import set_aside
from bench.launch.control import RunOptions, Stop
from bench.launch.device import default_threads
from bench.launch.outcome import Display, Outcome, Summary, Trainer, one_line
from bench.plan import Cell, Group, Plan
from bench.provenance import collect
from bench.records import Attempt, Once, Run, load_run, run_dir

if TYPE_CHECKING:
    from bench.data.arrays import Dataset


class TorchTrainer:
    """The real thing; torch is loaded when the first cell starts."""

    def pretrain(self, *args: Any, **options: Any) -> dict[str, Any]:
        """See `bench.train.pretrain`."""
        from bench.train import pretrain

        return pretrain(*args, **options)

    def probe(self, *args: Any, **options: Any) -> dict[str, Any]:
        """See `bench.probe.probe`."""
        from bench.probe import probe

        return probe(*args, **options)


@dataclass
class LocalRunner:
    """Runs cells in order; a cell that fails takes only its own probes with it.

    Attributes:
        results: the results folder, already opened.
        load: data set by the name that the user gave.
        display: who watches.
        stop: asked before and during every cell.
        device: "cpu", "cuda", ...
        device_name: for the provenance.
        options: see `RunOptions`.
        fail_fast: end at the first failure.
        force: run cells that are done, from the start.
        retry_failed: run cells that failed earlier.
        trainer: computes a cell.
        on_broken: called with a line for every file that cannot be read; None shows each once.
    """

    results: Path
    load: Callable[[str], "Dataset"]
    display: Display
    stop: Stop
    device: str = "cpu"
    device_name: str = ""
    options: RunOptions = field(default_factory=RunOptions)
    fail_fast: bool = False
    force: bool = False
    retry_failed: bool = False
    trainer: Trainer = field(default_factory=lambda: TorchTrainer())
    on_broken: Callable[[str], None] | None = None

    def __post_init__(self) -> None:
        self._broken = self.on_broken or Once(self.display.note)

    def run(self, plan: Plan) -> Summary:
        """Run what is not done yet.

        A cell that another process works on is passed over and looked at again at the end.
        """
        self._summary = Summary(len(plan))
        self._numbers = {cell.id: number for number, cell in enumerate(plan.cells, 1)}
        pending = list(plan.groups)
        left: int | None = None
        try:
            while pending:
                for group in pending:
                    self._group(group)
                waiting = {outcome.cell.id for outcome in self._summary.of("elsewhere")}
                if len(waiting) == left:
                    break
                left = len(waiting)
                pending = [g for g in pending if waiting & {c.id for c in (g.pretrain, *g.probes)}]
        except (Interrupted, OutOfTime) as error:
            self._summary.stopped = error
        except _FailFast:
            pass
        return self._summary

    def _group(self, group: Group) -> None:
        first = self._settle(group.pretrain, None)
        for probe in group.probes:
            self._settle(probe, first)

    def _settle(self, cell: Cell, needs: Outcome | None) -> Outcome:
        """Bring a cell as far as it goes now, and say so."""
        known = self._summary.outcomes.get(cell.id)
        if known is not None and (known.state != "elsewhere"):
            return known
        reason = self.stop.check()
        if reason is not None:
            raise (
                Interrupted("interrupted") if reason == "interrupt" else OutOfTime("the time budget is spent")
            )
        number = self._numbers[cell.id]
        if needs is not None and not needs.ok:
            state = "elsewhere" if needs.state == "elsewhere" else "skipped"
            why = "runs elsewhere" if state == "elsewhere" else f"failed: {needs.reason}"
            outcome = Outcome(cell, state, f"its pretraining {why}")
        else:
            outcome = self._attempt(cell)
        if known is None or known.state != outcome.state:
            self.display.cell_ended(outcome, number, self._summary.total)
        self._summary.outcomes[cell.id] = outcome
        if outcome.state == "stopped":
            raise self._stopped
        if outcome.state == "failed" and self.fail_fast:
            raise _FailFast
        return outcome

    def _before(self, cell: Cell) -> tuple[Outcome | None, Run | None]:
        """What is already known of a cell; an outcome if that is enough."""
        run = load_run(self.results, cell.id, self._broken)
        if run is None:
            return None, None
        if run.result is not None and not self.force:
            return Outcome(cell, "kept", result=run.result), run
        if run.result is None and run.state == "failed" and not (self.retry_failed or self.force):
            log = run.attempt_dir / "log.txt" if run.attempt_dir else None
            return Outcome(cell, "failed", f"{run.status.get('error')} (earlier)", log=log), run
        return None, run

    def _attempt(self, cell: Cell) -> Outcome:
        known, _ = self._before(cell)
        if known is not None:
            return known
        folder = run_dir(self.results, cell.id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            claim = claims.claim(folder)
        except (OSError, RecordError) as error:
            return Outcome(cell, "failed", one_line(error))
        if isinstance(claim, claims.Owner):
            return Outcome(cell, "elsewhere", f"{claim} works on it")
        try:
            if claim.freed is not None:
                self.display.note(f"{cell.label}: taken over from {claim.freed}, which has ended")
            known, run = self._before(cell)
            return known or self._compute(cell, run)
        finally:
            try:
                claim.release()
            except (OSError, RecordError) as error:
                self.display.note(f"{cell.label}: the claim could not be given back: {one_line(error)}")

    def _compute(self, cell: Cell, run: Run | None) -> Outcome:
        begun = time.monotonic()
        attempt: Attempt | None = None
        number = self._numbers[cell.id]
        self.display.cell_started(cell, number, self._summary.total)
        try:
            if run is not None and run.result is None and (run.dir / "result.json").exists():
                aside = set_aside(run.dir / "result.json")
                self.display.note(f"{cell.label}: a broken result.json was set aside as {aside.name}")
            data = self.load(cell.source)
            options = replace(self.options, threads=self._threads(run))
            attempt = Attempt(
                self.results,
                cell.config,
                fresh=self.force,
                provenance=collect(
                    device=self.device_name or self.device,
                    threads=options.threads,
                    data={"name": data.name, "fingerprint": data.fingerprint},
                ),
                on_row=self.display.row,
                on_note=self.display.note,
            )
            result = self._call(cell, data, attempt, options)
            if not attempt.finished:
                result = attempt.finish(result)
            return Outcome(cell, "done", "", time.monotonic() - begun, attempt.log_path, result)
        except (Interrupted, OutOfTime) as error:
            self._stopped = error
            if attempt is not None:
                attempt.interrupt(str(error))
            return Outcome(cell, "stopped", str(error), time.monotonic() - begun)
        except Exception as error:
            text = one_line(error)
            if attempt is not None:
                trace = "" if isinstance(error, BenchError) else traceback.format_exc()
                attempt.fail(text, type(error).__name__, trace)
            log = attempt.log_path if attempt is not None else None
            return Outcome(cell, "failed", text, time.monotonic() - begun, log)

    def _call(self, cell: Cell, data: "Dataset", attempt: Attempt, options: RunOptions) -> dict[str, Any]:
        common: dict[str, Any] = {
            "device": self.device,
            "stop": self.stop,
            "progress": self.display.step,
            "options": options,
        }
        if cell.kind == "pretrain":
            return self.trainer.pretrain(cell.config, data, attempt, **common)
        weights = self._weights(cell)
        return self.trainer.probe(cell.config, data, weights, attempt, **common)

    def _weights(self, cell: Cell) -> Path:
        run = load_run(self.results, cell.config["pretrain_id"], self._broken)
        if run is None or run.weights is None:
            lost = cell.config["pretrain_id"]
            raise RecordError(f"the weights of pretraining {lost} are gone: --force makes them anew")
        return run.weights

    def _threads(self, run: Run | None) -> int:
        """Threads of a cell: a resumed one keeps those it began with, else its bits would change."""
        if self.options.threads is not None:
            return self.options.threads
        if run is not None and run.result is None and not self.force:
            earlier = run.provenance.get("threads")
            if isinstance(earlier, int) and earlier > 0:
                return earlier
        return default_threads()


class _FailFast(Exception):
    """Ends a run at its first failure."""
