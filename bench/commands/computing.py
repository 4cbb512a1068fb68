"""Has the cells of a plan computed here, in this process; `bench.commands.dispatching` hands them to SLURM."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from bench.commands.words import States, Voice, counts, show_end
from bench.data import registry as datasets
from bench.errors import DataError
from bench.launch.control import RunOptions, Stop
from bench.launch.device import resolve_device
from bench.launch.local import LocalRunner
from bench.plan import Cell, Plan, pretraining, states
from bench.progress import make_display
from bench.records import Once, State, check_results, open_results
from bench.selection import backbone_stride

if TYPE_CHECKING:
    from bench.data.arrays import Dataset


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


def look(order: Order, broken: Once) -> States:
    """Which cells are done, running, failed, ...; refuses a results folder of another version."""
    check_results(order.results)
    return states(order.plan, order.results, broken)


def compute(order: Order, say: Voice) -> int:
    """Compute the cells one after another; gives the exit code."""
    results, broken = order.results, Once()
    found = look(order, broken)
    todo = [cell for cell in order.plan.cells if _to_run(found[cell.id][0], order.force, order.retry_failed)]
    if todo:
        # A folder where all is done may be read-only.
        open_results(results, create=False)
    say(f"results: {results.absolute()}")
    stop = Stop(order.budget, lambda name: say(f"{name}: saving, then stopping; once more ends at once"))
    say(counts(order.plan, found) + (f"; running {len(todo)}" if todo else ""))
    device, device_name = resolve_device(order.device) if todo else ("cpu", "")
    data = _load(todo, order.root, order.skip_corrupt, say)
    if todo:
        open_results(results)
        order.record()
    # What failed earlier is not run and yet told of.
    told = [cell for cell in order.plan.cells if order.force or found[cell.id][0] != "done"]
    begun = time.monotonic()
    with stop, make_display(told, say.stream) as display:
        broken.say = display.note
        runner = LocalRunner(
            results,
            data.__getitem__,
            display,
            stop,
            device,
            device_name,
            RunOptions(
                checkpoint_every_steps=order.checkpoint_every,
                threads=order.threads,
                weights=order.weights,
                speed=order.speed,
                precision=order.precision,
            ),
            fail_fast=order.fail_fast,
            force=order.force,
            retry_failed=order.retry_failed,
            on_broken=broken,
            steal=order.steal,
        )
        summary = runner.run(order.plan)
    show_end(summary, results, time.monotonic() - begun, order.force, say)
    return summary.exit_code


def _load(todo: Iterable[Cell], root: Path | None, skip_corrupt: bool, say: Voice) -> "dict[str, Dataset]":
    """Every data set that is needed, read before any work starts: what is wrong with one is said now."""
    # A cell whose data set is not loaded is one that is not computed.
    sides: dict[str, int] = {}
    for cell in todo:
        backbone = pretraining(cell.config)["backbone"]
        sides[cell.source] = max(sides.get(cell.source, 0), backbone_stride(backbone))
    loaded = {}
    for name, side in sides.items():
        try:
            data = datasets.load(name, root, skip_corrupt, min_side=side)
        except MemoryError as error:
            raise DataError(f"{name} does not fit into memory: {error or 'none is left'}") from error
        if data.corrupt:
            say(f"{name}: {len(data.corrupt)} broken images are left out, the first is {data.corrupt[0]}")
        loaded[name] = data
    return loaded


def _to_run(state: State, force: bool, retry_failed: bool) -> bool:
    return force or state in ("new", "interrupted", "running") or (state == "failed" and retry_failed)
