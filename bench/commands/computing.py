"""Has the cells of a plan computed here; `bench.commands.dispatching` hands them to SLURM."""

import contextlib
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from bench.commands.order import Order
from bench.commands.words import States, Voice, counts, show_end
from bench.data import registry as datasets
from bench.errors import DataError, UsageError
from bench.estimate import device_kind, make_estimator
from bench.launch.control import RunOptions, Stop
from bench.launch.device import resolve_device
from bench.launch.leaking import refuse_leaking
from bench.launch.local import LocalRunner
from bench.launch.outcome import Summary
from bench.plan import Cell, pretraining, states
from bench.progress import PlainDisplay, RichDisplay, make_display
from bench.records import Once, State, check_results, open_results
from bench.selection import backbone_stride

if TYPE_CHECKING:
    from bench.data.arrays import Dataset
    from bench.devices.team import Team


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

            def load(name: str) -> "Dataset":
                if name not in data:
                    # Of a pretraining that was done, and whose weights are found gone.
                    data.update(_load({name: self._sides()[name]}, self.order, display.note))
                return data[name]

            runner = self._runner(display, load, device, device_name, team)
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
        images = Images(order.root, order.skip_corrupt, self._sides())
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
                    "sides": self._sides(),
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
        order, sides = self.order, self._sides()
        data = _load({name: sides[name] for name in _sides(self.todo)}, order, self.say)
        refuse_leaking(order.plan, {cell.id for cell in self.todo}, order.root, order.skip_corrupt)
        return data

    def _sides(self) -> dict[str, int]:
        """Of every data set that a cell may need: a pretraining whose weights are gone is made again."""
        ids = {cell.id for cell in self.todo}
        begun = [group.pretrain for group in self.order.plan.groups if any(c.id in ids for c in group.cells)]
        return _sides([*self.todo, *begun])

    def _open(self) -> None:
        open_results(self.order.results)
        self.order.record(self.order.how)

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
            "feature_bytes": order.feature_bytes,
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


def _load(sides: Mapping[str, int], order: Order, say: Callable[[str], object]) -> "dict[str, Dataset]":
    """Data sets by name, read."""
    loaded = {}
    for name, side in sides.items():
        waiting = partial(_waits, say, name)
        try:
            data = datasets.load(name, order.root, order.skip_corrupt, min_side=side, waiting=waiting)
        except MemoryError as error:
            raise DataError(f"{name} does not fit into memory: {error or 'none is left'}") from error
        if data.corrupt:
            say(f"{name}: {len(data.corrupt)} broken images are left out, the first is {data.corrupt[0]}")
        loaded[name] = data
    return loaded


def _waits(say: Callable[[str], object], name: str) -> None:
    say(f"{name}: another process prepares its images; waiting until it is done")


def _to_run(state: State, force: bool, retry_failed: bool) -> bool:
    return force or state in ("new", "interrupted", "running") or (state == "failed" and retry_failed)


def is_to_run(state: State, order: Order) -> bool:
    """Whether a cell in a state would be computed; what is running is not to be run again unless that is forced."""
    return (order.force or state != "running") and _to_run(state, order.force, order.retry_failed)
