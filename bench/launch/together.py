"""Has pretrainings that differ in their seed alone computed at once, each in its own attempt under its own claim."""

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bench.claims import Claim
from bench.errors import Apart, RecordError
from bench.launch.cell import CellRunner, Work
from bench.launch.control import Progress, RunOptions
from bench.launch.outcome import Outcome
from bench.plan import Cell, Plan
from bench.records import Attempt, Run
from bench.speed import stacked
from models import registry

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.launch.local import LocalRunner

# Of `auto`: a stack grows with every seed, and so does what is lost where it does not fit into memory.
MOST = 8
LAST = {"failed": 1, "stopped": 2}


@dataclass
class _Seed:
    """One cell of a group: its claim, what was there of it, its attempt."""

    cell: Cell
    claim: Claim
    work: Work
    run: Run | None
    options: RunOptions
    attempt: Attempt | None = None
    outcome: Outcome | None = None


class SeedsTogether:
    """Trains a pretraining's siblings with it.

    Args:
        runner: claims cells and knows what has become of them.
        cells: begins and ends attempts.
        plan: all cells.
    """

    def __init__(self, runner: "LocalRunner", cells: CellRunner, plan: Plan) -> None:
        self._runner, self._cells, self._plan = runner, cells, plan
        self._faster: dict[str, tuple[bool, str]] = {}
        self._looked_at: set[str] = set()

    def train(self, cell: Cell) -> list[Outcome]:
        """Train those pretrainings together that differ from one in their seed alone and are not done.

        Returns:
            What became of them, the stopped ones last; none where it is to be trained alone.
        """
        if cell.id in self._looked_at or self._runner.stop.check() is not None:
            return []
        group = self._siblings(cell)
        self._looked_at |= {one.id for one in group}
        if len(group) < 2:
            return []
        together, why = self._worthwhile(group)
        if not together:
            self._say(group, f"one after another: {why}")
            self._apart(group, why)
            return []
        with ExitStack() as held:
            seeds = self._claim(group, held)
            if len(seeds) < 2:
                self._apart(group, "no other seed was free to be trained with it")
                return []
            chosen = [seed.cell for seed in seeds]
            self._apart(
                [one for one in group if one not in chosen], "it was not free, or was begun otherwise"
            )
            self._say(chosen, f"together: {why}")
            for one in chosen:
                self._cells.together[one.id] = _facts(chosen, why)
            self._compute(seeds)
        # Whoever notes a failure or a stop may end there.
        ended = [seed.outcome for seed in seeds if seed.outcome is not None]
        return sorted(ended, key=lambda outcome: LAST.get(outcome.state, 0))

    def _siblings(self, cell: Cell) -> list[Cell]:
        """The cell and those like it that are still to be computed, in the plan's order."""
        if not registry.spec(cell.method).trained or not cell.config["train"]["epochs"]:
            return []
        alike = {**cell.config, "seed": None}
        found = [g.pretrain for g in self._plan.groups if {**g.pretrain.config, "seed": None} == alike]
        wish = self._runner.options.seeds_together
        most = MOST if wish == "auto" else wish
        left = [one for one in found if one.id not in self._looked_at and self._to_compute(one)]
        return left[:most] if cell in left else []

    def _to_compute(self, cell: Cell) -> bool:
        """Whether a cell is still to be computed, and by this process."""
        runner = self._runner
        if (runner.only is not None and cell.id not in runner.only) or runner.left_out(cell) is not None:
            return False
        try:
            return runner.known(cell) is None
        except (OSError, RecordError):
            # It is said when its own turn comes.
            return False

    def _worthwhile(self, group: list[Cell]) -> tuple[bool, str]:
        """Whether they are to be trained together, and why."""
        if self._runner.options.seeds_together != "auto":
            return True, "as asked"
        if self._runner.device == "cpu":
            return False, "on a processor one seed after another is faster (docs/performance.md)"
        return self._measured(group)

    def _say(self, group: list[Cell], how: str) -> None:
        names = ", ".join(str(one.config["seed"]) for one in group)
        self._runner.display.note(f"{group[0].label}: seeds {names} {how}")

    def _apart(self, group: list[Cell], why: str) -> None:
        """Have the records of cells say that each was trained alone, and why."""
        for one in group:
            self._cells.together[one.id] = _facts([one], why)

    def _measured(self, group: list[Cell]) -> tuple[bool, str]:
        alike = {**group[0].config, "seed": None, "train": {**group[0].config["train"], "epochs": None}}
        key = repr((alike, len(group)))
        if key not in self._faster:
            runner = self._runner
            try:
                options, _ = self._cells.in_force(group[0], None, 0)
                data = runner.load(group[0].source)
                speed = runner.trainer.together_speed(
                    [one.config for one in group], data, device=runner.device, options=options
                )
                self._faster[key] = speed.times_faster > 1, str(speed)
            except Exception as error:
                # Whatever is wrong with the cell is said where it is computed.
                self._faster[key] = False, f"could not be measured: {type(error).__name__}: {error}"
        return self._faster[key]

    def _compute(self, seeds: list[_Seed]) -> None:
        runner, cells, begun = self._runner, self._cells, time.monotonic()
        options = replace(seeds[0].options, switches=stacked(seeds[0].options.switches))
        group, data = [seed.cell for seed in seeds], None
        for seed in reversed(seeds):
            # What is shown of the group is shown of the first.
            runner.started(seed.cell)
        for seed in seeds:
            why = cells.together[seed.cell.id]["why"]
            cells.together[seed.cell.id] = _facts(group, why)
            try:
                seed.attempt, data = cells.begin(seed.work, seed.run, options)
            except Exception as error:
                self._end(seed, seeds, error, begun)
        ready = [seed for seed in seeds if seed.attempt is not None]
        attempts = [seed.attempt for seed in ready if seed.attempt is not None]
        alone: list[tuple[_Seed, Apart]] = []
        try:
            endings = runner.trainer.pretrain_together(
                [seed.cell.config for seed in ready],
                data,  # pyright: ignore[reportArgumentType]
                attempts,
                device=runner.device,
                stop=runner.stop,
                progress=[self._progress(seed, ready) for seed in ready],
                options=options,
            )
            for number, ending in endings if ready else ():
                if isinstance(ending, Apart):
                    alone.append((ready[number], ending))
                else:
                    self._end(ready[number], seeds, ending, begun)
        except Exception as error:
            for seed in ready:
                if seed.outcome is None and all(seed is not one for one, _ in alone):
                    self._end(seed, seeds, error, begun)
        for seed, why in alone:
            self._train_alone(seed, data, why)

    def _train_alone(self, seed: _Seed, data: "Dataset | None", why: Apart) -> None:
        begun, attempt = time.monotonic(), seed.attempt
        assert attempt is not None
        assert data is not None
        try:
            attempt.note(f"{seed.cell.label}: trained alone: {why}")
            attempt.add_provenance(
                together=_facts([seed.cell], str(why)), speed=seed.options.switches.as_json()
            )
            ending: dict[str, Any] | Exception = self._cells.call(seed.cell, data, attempt, seed.options)
        except Exception as error:
            ending = error
        self._end(seed, [seed], ending, begun)

    def _progress(self, seed: _Seed, group: list[_Seed]) -> Progress:
        def tell(step: int, total: int, rate: float, values: dict[str, float]) -> None:
            assert seed.attempt is not None
            seed.attempt.progress(step, total, rate, values)
            if seed is next(one for one in group if one.outcome is None):
                self._runner.display.step(step, total, rate, values)

        return tell

    def _end(self, seed: _Seed, group: list[_Seed], ending: dict[str, Any] | Exception, begun: float) -> None:
        """Publish or mark what became of a seed; the others go on."""
        runner, cells, attempt = self._runner, self._cells, seed.attempt
        try:
            if isinstance(ending, dict) and attempt is not None:
                outcome = cells.done(seed.work, attempt, ending, begun)
            else:
                assert isinstance(ending, Exception)
                outcome = cells.ended(seed.work, attempt, ending, begun)
        except Exception as error:
            outcome = cells.ended(seed.work, attempt, error, begun)
        outcome = replace(outcome, seconds=outcome.seconds / len(group))
        seed.outcome = runner.taken_over(outcome, seed.claim)
        runner.release(seed.cell, seed.claim)
        if seed.outcome.state in ("failed", "elsewhere") and any(one.outcome is None for one in group):
            runner.display.note(f"{seed.cell.label}: {seed.outcome.reason}; the other seeds go on")
        if seed.outcome.state == "failed" and runner.fail_fast:
            runner.stop.request()

    def _claim(self, group: list[Cell], held: ExitStack) -> list[_Seed]:
        """Claim those that are free; of them the most that are computed alike stay claimed."""
        claimed: list[tuple[_Seed, object]] = []
        for cell in group:
            try:
                found = held.enter_context(self._runner.claimed(cell))
                if isinstance(found, Outcome):
                    continue
                run, claim = found
                work = self._runner.work(cell, claim)
                options, _ = self._cells.in_force(cell, run, work.forget)
            except (OSError, RecordError):
                # It is said when its own turn comes.
                continue
            alike = options.threads, stacked(options.switches)
            claimed.append((_Seed(cell, claim, work, run, options), alike))
        if not claimed:
            return []
        most = Counter(alike for _, alike in claimed).most_common(1)[0][0]
        for seed, alike in claimed:
            if alike != most:
                # Begun otherwise, it goes on by itself, here or elsewhere.
                self._runner.release(seed.cell, seed.claim)
        return [seed for seed, alike in claimed if alike == most]


def _facts(group: list[Cell], why: str) -> dict[str, Any]:
    """What a record says of the seeds that a cell is trained with."""
    return {"seeds": [cell.config["seed"] for cell in group], "why": why}
