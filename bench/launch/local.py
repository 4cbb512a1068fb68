"""Runs the cells of a plan in this process, one after another."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench import claims
from bench.errors import Interrupted, OutOfTime, Preempted, RecordError
from bench.files import set_aside
from bench.launch.cell import CellRunner, Work
from bench.launch.control import RunOptions, Stop, stopped
from bench.launch.outcome import BrokenWeights, Display, Outcome, Summary, Trainer, one_line
from bench.launch.tidying import tidy_up
from bench.launch.together import SeedsTogether
from bench.launch.trainer import TorchTrainer
from bench.plan import Cell, Group, Plan
from bench.records import Once, Run, load_run, run_dir
from bench.run_folder import CONFIG, LOG, newest_attempt

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.devices.team import Team


def _nothing(_: Cell) -> str | None:
    return None


@dataclass
class LocalRunner:
    """Runs cells in order; a cell that fails takes only those that need it with it.

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
        only: ids of the cells that this process may compute; of others it takes what is there, and makes again
            a pretraining whose weights are broken, as no job would be given that. None is all.
        forget: cell id -> number of an attempt up to which none counts, as `force` has it. Given where a job that
            is requeued must know what it has done itself.
        forgive: cell id -> number of an attempt up to which a failure does not count, as `retry_failed` has it.
        left_out: asked before a cell is begun; a reason leaves it out.
        steal: take cells whose owner cannot be known.
        trainer: computes a cell.
        on_broken: called with a line for every file that cannot be read; None shows each once.
        team: those who compute each pretraining together with this process; None is this one alone.
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
    only: frozenset[str] | None = None
    forget: Mapping[str, int] = field(default_factory=dict)
    forgive: Mapping[str, int] = field(default_factory=dict)
    left_out: Callable[[Cell], str | None] = _nothing
    steal: bool = False
    trainer: Trainer = field(default_factory=lambda: TorchTrainer())
    on_broken: Callable[[str], None] | None = None
    team: "Team | None" = None

    def __post_init__(self) -> None:
        self._broken = self.on_broken or Once(self.display.note)
        place = (self.results, self.display, self.stop, self.trainer, self.device, self.device_name)
        self._runner = CellRunner(*place, self.options, self._broken, self.team)
        self._together: SeedsTogether | None = None

    def run(self, plan: Plan) -> Summary:
        """Run what is not done yet.

        A cell that another process works on is passed over and looked at again at the end.
        """
        self._summary = Summary(len(plan))
        self._numbers = {cell.id: number for number, cell in enumerate(plan.cells, 1)}
        self.look_back(plan)
        if self.options.seeds_together != 1:
            self._together = SeedsTogether(self, self._runner, plan)
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
                pending = [g for g in pending if waiting & {c.id for c in g.cells}]
        except (Interrupted, OutOfTime, Preempted) as error:
            self._summary.stopped = error
        except _FailFast:
            pass
        return self._summary

    def look_back(self, plan: Plan) -> None:
        """Note which attempts do not count any more, as `force` and `retry_failed` have it."""
        if self.force or self.retry_failed:
            newest = {cell.id: newest_attempt(run_dir(self.results, cell.id)) for cell in plan.cells}
            self.forget = newest if self.force else self.forget
            self.forgive = newest

    def _group(self, group: Group) -> None:
        if self._together is not None:
            for outcome in self._together.train(group.pretrain):
                self._note(outcome, self._summary.outcomes.get(outcome.cell.id))
        first = self._settle(group.pretrain, None)
        for cell in group.dependents:
            try:
                self._settle(cell, first)
            except BrokenWeights as error:
                first = self._remake(group.pretrain, error)
                self._settle(cell, first)

    def _settle(self, cell: Cell, needs: Outcome | None) -> Outcome:
        """Bring a cell as far as it goes now, and say so."""
        known = self._summary.outcomes.get(cell.id)
        if known is not None and known.state != "elsewhere":
            return known
        reason = self.stop.check()
        if reason is not None:
            raise stopped(reason)
        outcome = self.without(cell, needs) if needs is not None and not needs.ok else self._attempt(cell)
        return self._note(outcome, known)

    def _note(self, outcome: Outcome, known: Outcome | None) -> Outcome:
        cell = outcome.cell
        if known is None or known.state != outcome.state:
            self.display.cell_ended(outcome, self._numbers[cell.id], self._summary.total)
        self._summary.outcomes[cell.id] = outcome
        if outcome.state == "stopped":
            raise self._runner.stopped_by
        if outcome.state == "failed" and self.fail_fast:
            raise _FailFast
        return outcome

    def without(self, cell: Cell, needs: Outcome) -> Outcome:
        """What becomes of a cell whose pretraining has no result."""
        if (run := self._run_of(cell)) is not None and self._done(cell, run):
            return Outcome(cell, "kept", result=run.result)
        if needs.state == "elsewhere":
            return Outcome(cell, "elsewhere", "its pretraining runs elsewhere")
        word = "failed" if needs.state == "failed" else "is not there"
        return Outcome(cell, "skipped", f"its pretraining {word}: {needs.reason}")

    def _run_of(self, cell: Cell) -> Run | None:
        run = load_run(self.results, cell.id, self._broken)
        folder = run_dir(self.results, cell.id)
        if run is None and (folder / CONFIG).exists():
            # Broken; but what it said is known here, and what was computed stands.
            return Run(folder, cell.config, self._broken)
        return run

    def _done(self, cell: Cell, run: Run) -> bool:
        return run.result is not None and int(run.result["attempt"]) > self.forget.get(cell.id, 0)

    def _before(self, cell: Cell) -> tuple[Outcome | None, Run | None]:
        """What is already known of a cell; an outcome if that is enough."""
        run = self._run_of(cell)
        if run is None:
            return None, None
        if self._done(cell, run):
            return Outcome(cell, "kept", result=run.result), run
        if self._failed(cell, run):
            log = run.attempts[0] / LOG
            return Outcome(cell, "failed", f"{run.status.get('error')} (earlier)", log=log), run
        return None, run

    def _failed(self, cell: Cell, run: Run) -> bool:
        """Whether it has failed in an attempt that counts; a result that is forgotten changes nothing."""
        if run.status.get("state") != "failed" or run.owner is not None:
            return False
        return newest_attempt(run.dir) > max(self.forget.get(cell.id, 0), self.forgive.get(cell.id, 0))

    def known(self, cell: Cell) -> Outcome | None:
        """What became of a cell that needs no computing: kept, and tidied up, or failed earlier; else None."""
        known, run = self._before(cell)
        if known is not None and run is not None and known.state == "kept":
            tidy_up(cell, run, self.results, self.display.note, self._broken)
        return known

    def _attempt(self, cell: Cell) -> Outcome:
        try:
            return self.known(cell) or self._take(cell)
        except BrokenWeights:
            raise
        except (OSError, RecordError) as error:
            return Outcome(cell, "failed", one_line(error))

    def _take(self, cell: Cell) -> Outcome:
        with self.claimed(cell) as found:
            return found if isinstance(found, Outcome) else self._compute(cell, *found)

    @contextmanager
    def claimed(self, cell: Cell) -> Iterator[Outcome | tuple[Run | None, claims.Claim]]:
        """Within the block a cell is this process's: what is there of it, and the claim; or why it is not."""
        if self.only is not None and cell.id not in self.only:
            run = self._run_of(cell)
            if run is not None and run.owner is not None:
                yield Outcome(cell, "elsewhere", f"{run.owner} works on it")
            else:
                yield Outcome(cell, "skipped", "another job makes it and has not")
            return
        if (why := self.left_out(cell)) is not None:
            yield Outcome(cell, "skipped", why)
            return
        folder = run_dir(self.results, cell.id)
        folder.mkdir(parents=True, exist_ok=True)
        claim = claims.claim(folder, steal=self.steal)
        if isinstance(claim, claims.Owner):
            yield Outcome(cell, "elsewhere", f"{claim} works on it")
            return
        try:
            if claim.freed is not None:
                self.display.note(f"{cell.label}: taken over from {claim.freed}, {claim.why}")
            known, run = self._before(cell)
            yield known or (run, claim)
        finally:
            self.release(cell, claim)

    def _compute(self, cell: Cell, run: Run | None, claim: claims.Claim) -> Outcome:
        self.started(cell)
        return self.taken_over(self._runner.run(self.work(cell, claim), run), claim)

    def started(self, cell: Cell) -> None:
        """Say that a cell begins."""
        self.display.cell_started(cell, self._numbers[cell.id], self._summary.total)

    def work(self, cell: Cell, claim: claims.Claim) -> Work:
        """What there is to do for a cell."""
        return Work(cell, self.load, self.forget.get(cell.id, 0), claim.held)

    def taken_over(self, outcome: Outcome, claim: claims.Claim) -> Outcome:
        """An outcome; of a cell that was taken over meanwhile, what its heir has made of it."""
        if outcome.state != "elsewhere":
            return outcome
        cell = outcome.cell
        heir = claims.last(claim.folder)
        if heir is not None and claim.owner.former_life_of(heir):
            # All that is left to do here is the heir's.
            self.stop.request("preempt")
        if (found := self._run_of(cell)) is not None and self._done(cell, found):
            return Outcome(cell, "kept", outcome.reason, result=found.result)
        return outcome

    def release(self, cell: Cell, claim: claims.Claim) -> None:
        """Give a cell back."""
        try:
            claim.release()
        except (OSError, RecordError) as error:
            self.display.note(f"{cell.label}: the claim could not be given back: {one_line(error)}")

    def _remake(self, cell: Cell, error: BrokenWeights) -> Outcome:
        """Make a pretraining again whose weights are gone or broken; what is broken is set aside."""
        folder = run_dir(self.results, cell.id)
        try:
            claim = claims.claim(folder, steal=self.steal)
            if isinstance(claim, claims.Owner):
                return Outcome(cell, "elsewhere", f"{claim} works on it")
            try:
                found = self._run_of(cell)
                if found is not None and found.weights not in (None, error.weights):
                    # Who found it broken, too, was faster.
                    outcome = Outcome(cell, "kept", result=found.result)
                else:
                    names = [set_aside(path).name for path in error.files() if path.exists()]
                    self.display.note(
                        f"{error}; set aside as {', '.join(names)}, the pretraining is made again"
                    )
                    outcome = self._compute(cell, self._run_of(cell), claim)
            finally:
                self.release(cell, claim)
        except (OSError, RecordError) as problem:
            outcome = Outcome(cell, "failed", one_line(problem))
        return self._note(outcome, self._summary.outcomes.get(cell.id))


class _FailFast(Exception):
    """Ends a run at its first failure."""
