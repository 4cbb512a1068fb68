"""Has the cells of a plan computed here; `bench.commands.dispatching` hands them to SLURM."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.commands.devices import ONE, Devices
from bench.commands.words import States, Voice, counts, show_end
from bench.data import registry as datasets
from bench.errors import DataError, UsageError
from bench.estimate import device_kind, make_estimator
from bench.launch.control import RunOptions, Stop
from bench.launch.device import resolve_device
from bench.launch.leaking import refuse_leaking
from bench.launch.local import LocalRunner
from bench.launch.outcome import Summary
from bench.launch.workers.share import Jobs
from bench.plan import Cell, Plan, pretraining, states
from bench.progress import PlainDisplay, RichDisplay, make_display
from bench.records import Once, State, check_results, open_results
from bench.selection import backbone_stride

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.devices.team import Team


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class Order:
    """What is to be computed, and how.

    Attributes:
        plan: the cells.
        results: the results folder.
        root: folder of the data sets.
        skip_corrupt: leave out images that cannot be decoded.
        device: "auto", "cpu" or "cuda".
        threads: of a cell; None leaves it to the device or the profile.
        checkpoint_every: steps between two checkpoints; None leaves it to the clock.
        budget: seconds after which to save and stop.
        force: compute what is done again.
        retry_failed: compute what failed again.
        fail_fast: end at the first failure.
        steal: take cells whose owner cannot be known.
        exclude: nodes that get none of the jobs.
        weights: evaluation -> path of the file of weights that it needs.
        speed: "auto" or "plain", see `bench.speed.choose`.
        precision: "auto", "fp32" or "bf16".
        record: writes down what is asked for; called when the results folder is known to be usable.
        jobs: how many processes share the cells; None is this one alone.
        measure: seconds that a dry run may try cells for; 0 leaves aside what was measured before, too.
        seeds_together: see `RunOptions`.
        data_bytes: likewise.
        devices: on how many a pretraining is computed.
    """

    plan: Plan
    results: Path
    root: Path | None = None
    skip_corrupt: bool = False
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: int | None = None
    budget: float | None = None
    force: bool = False
    retry_failed: bool = False
    fail_fast: bool = False
    steal: bool = False
    exclude: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    speed: str = "auto"
    precision: str = "auto"
    record: Callable[[], object] = _nothing
    jobs: Jobs | None = None
    measure: float = 0.0
    seeds_together: int | Literal["auto"] = 1
    data_bytes: int | None = None
    devices: Devices = ONE


def look(order: Order, broken: Once) -> States:
    """Which cells are done, running, failed, ...; refuses a results folder of another version."""
    check_results(order.results)
    return states(order.plan, order.results, broken)


def compute(order: Order, say: Voice) -> int:
    """Compute the cells; gives the exit code."""
    results, broken = order.results, Once()
    found = look(order, broken)
    todo = [cell for cell in order.plan.cells if _to_run(found[cell.id][0], order.force, order.retry_failed)]
    if todo:
        # A folder where all is done may be read-only.
        open_results(results, create=False)
    say(f"results: {results.absolute()}")
    stop = Stop(order.budget, lambda name: say(f"{name}: saving, then stopping; once more ends at once"))
    say(counts(order.plan, found) + (f"; running {len(todo)}" if todo else ""))
    # What failed earlier is not run and yet told of.
    told = [cell for cell in order.plan.cells if order.force or found[cell.id][0] != "done"]
    place = _Place(order, todo, told, stop, broken, say)
    begun, summary = place.compute_shared() if todo and order.jobs is not None else place.compute()
    show_end(summary, results, time.monotonic() - begun, order.force, say)
    return summary.exit_code


@dataclass
class _Place:
    """Where cells are computed: in this process, or in several."""

    order: Order
    todo: list[Cell]
    told: list[Cell]
    stop: Stop
    broken: Once
    say: Voice

    def compute(self) -> tuple[float, Summary]:
        """One after another; when that began, and what became of them."""
        device, device_name = resolve_device(self.order.device) if self.todo else ("cpu", "")
        data = self._load()
        if self.todo:
            self._open()
        begun = time.monotonic()
        with contextlib.ExitStack() as stack:
            team = self._team(device)
            if team is not None:
                stack.enter_context(team)
                self.stop.before_end = team.kill
            stack.enter_context(self.stop)
            display = stack.enter_context(make_display(self.told, self.say.stream))
            self.broken.say = display.note
            if team is not None:
                team.note = display.note
            runner = self._runner(display, data.__getitem__, device, device_name, team)
            return begun, runner.run(self.order.plan)

    def _team(self, device: str) -> "Team | None":
        """Those who compute a pretraining with this process; None where there is no need of them.

        Raises:
            UsageError: there are fewer GPUs than were asked for.
        """
        wanted, order = self.order.devices, self.order
        if wanted.number == 1 or (wanted.place is None and not self.todo):
            return None
        from bench.devices.team import Images, Team

        if wanted.place is None and device == "cuda":
            import torch

            if (count := torch.cuda.device_count()) < wanted.each:
                gpus = f"{count} GPU" + "s" * (count != 1)
                raise UsageError(
                    f"--devices {wanted.each}: torch sees {gpus} here; --device cpu has processes share the processor"
                )
        images = Images(order.root, order.skip_corrupt, _sides(self.todo))
        threads = None if order.threads is None else max(1, order.threads // wanted.each)
        return Team(images, device, here=wanted.place, size=wanted.number, threads=threads)

    def compute_shared(self) -> tuple[float, Summary]:
        """By a crew of workers; see `compute`."""
        from bench.launch.workers.crew import Crew
        from bench.launch.workers.runner import SharedRunner

        order = self.order
        assert order.jobs is not None
        with Crew(order.jobs, len(self.todo), order.threads, self.say) as crew:
            # Read here too, so that what is wrong is said now and each worker finds it prepared.
            self._load()
            machine = crew.look(order.device)
            self._open()
            self.say(str(crew))
            kind = device_kind("cuda" if machine.gpus else "cpu")
            estimator = make_estimator(order.results, self.todo, kind, located=order.plan.located)
            begun = time.monotonic()
            with self.stop, make_display(self.told, self.say.stream) as display:
                self.broken.say = crew.note = display.note
                self.stop.before_end = crew.kill
                local = self._runner(display, {}.__getitem__)
                local.look_back(order.plan)
                setup = {
                    "results": str(order.results),
                    "root": None if order.root is None else str(order.root),
                    "skip_corrupt": order.skip_corrupt,
                    "sides": _sides(self.todo),
                    "options": self._options(),
                    "forget": dict(local.forget),
                    "forgive": dict(local.forgive),
                    "steal": order.steal,
                }
                crew.begin(setup)
                shared = SharedRunner(crew, local, display, self.stop, estimator.seconds, order.fail_fast)
                return begun, shared.run(order.plan)

    def _load(self) -> "dict[str, Dataset]":
        """Every data set that is needed, read before any work starts: what is wrong with one is said now."""
        order = self.order
        data = _load(self.todo, order.root, order.skip_corrupt, self.say)
        refuse_leaking(order.plan, {cell.id for cell in self.todo}, order.root, order.skip_corrupt)
        return data

    def _open(self) -> None:
        open_results(self.order.results)
        self.order.record()

    def _options(self) -> dict[str, Any]:
        """`RunOptions` of every cell, as JSON has them."""
        order = self.order
        return {
            "checkpoint_every_steps": order.checkpoint_every,
            "threads": order.threads,
            "weights": dict(order.weights),
            "speed": order.speed,
            "precision": order.precision,
            "seeds_together": order.seeds_together,
            "data_bytes": order.data_bytes,
        }

    def _runner(
        self,
        display: PlainDisplay | RichDisplay,
        load: "Callable[[str], Dataset]",
        device: str = "cpu",
        device_name: str = "",
        team: "Team | None" = None,
    ) -> LocalRunner:
        order = self.order
        return LocalRunner(
            order.results,
            load,
            display,
            self.stop,
            device,
            device_name,
            RunOptions(**self._options()),
            fail_fast=order.fail_fast,
            force=order.force,
            retry_failed=order.retry_failed,
            on_broken=self.broken,
            steal=order.steal,
            team=team,
        )


def _sides(cells: Iterable[Cell]) -> dict[str, int]:
    """Data set -> the fewest pixels a side that the backbones of its cells can take."""
    sides: dict[str, int] = {}
    for cell in cells:
        backbone = pretraining(cell.config)["backbone"]
        sides[cell.source] = max(sides.get(cell.source, 0), backbone_stride(backbone))
    return sides


def _load(todo: Iterable[Cell], root: Path | None, skip_corrupt: bool, say: Voice) -> "dict[str, Dataset]":
    """Every data set of some cells."""
    # A cell whose data set is not loaded is one that is not computed.
    loaded = {}
    for name, side in _sides(todo).items():
        try:
            data = datasets.load(name, root, skip_corrupt, min_side=side, waiting=partial(_waits, say, name))
        except MemoryError as error:
            raise DataError(f"{name} does not fit into memory: {error or 'none is left'}") from error
        if data.corrupt:
            say(f"{name}: {len(data.corrupt)} broken images are left out, the first is {data.corrupt[0]}")
        loaded[name] = data
    return loaded


def _waits(say: Voice, name: str) -> None:
    say(f"{name}: another process prepares its images; waiting until it is done")


def _to_run(state: State, force: bool, retry_failed: bool) -> bool:
    return force or state in ("new", "interrupted", "running") or (state == "failed" and retry_failed)


def is_to_run(state: State, order: Order) -> bool:
    """Whether a cell in a state would be computed; what is running is not to be run again unless that is forced."""
    return (order.force or state != "running") and _to_run(state, order.force, order.retry_failed)
