"""What `bench run --dry-run` says of time, memory and money."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from bench.commands.computing import is_to_run, look
from bench.commands.options import counted, table, typed
from bench.commands.order import Order
from bench.commands.words import States, Voice, cell_facts, counts
from bench.config import schedule
from bench.errors import UsageError
from bench.estimate import DeviceKind, Estimator, Prediction, make_estimator
from bench.forecast import (
    Measured,
    Way,
    device_kind_here,
    estimator_here,
    measure,
    recall,
    whole,
)
from bench.plan import Cell, Plan
from bench.price import Price, parse_price
from bench.records import Once
from bench.selection import parse_duration
from bench.time_left import duration

F = TypeVar("F", bound=Callable[..., Any])
MEASURE = "10s"
# Of more cells there is a line a kind; `--json` has them all.
MANY = 100


class _Price(click.ParamType):
    name = "price"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Price:
        if isinstance(value, Price):
            return value
        try:
            return parse_price(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class _Seconds(click.ParamType):
    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            return 0.0 if value.strip() in ("0", "0s") else parse_duration(value)
        except UsageError as error:
            self.fail(str(error), param, ctx)


def prediction_options(function: F) -> F:
    """--measure, --no-measure and --price, of a dry run."""
    for option in (
        click.option(
            "--price",
            type=_Price(),
            metavar="PRICE",
            help="With --dry-run: of a device-hour, as 2.5 or 2.5EUR.",
        ),
        click.option("--no-measure", is_flag=True, help="With --dry-run: a rough guess where no cell tells."),
        click.option(
            "--measure",
            type=_Seconds(),
            default=MEASURE,
            show_default=True,
            envvar="BENCH_MEASURE",
            show_envvar=True,
            metavar="TIME",
            help="With --dry-run: for trying cells that nothing tells of.",
        ),
    ):
        function = option(function)
    return function


def measuring(given: Mapping[str, Any]) -> float:
    """Seconds for miniatures, by `prediction_options`; 0 is neither new ones nor those of before.

    Raises:
        UsageError: the options mean nothing here or contradict one another.
    """
    for name, flag in (("measure", "--measure"), ("no_measure", "--no-measure"), ("price", "--price")):
        if typed(name) and not given["dry_run"]:
            raise UsageError(f"{flag} is for --dry-run: a run shows what its cells take")
    if typed("measure") and given["no_measure"]:
        raise UsageError("--measure and --no-measure contradict each other: leave one out")
    return 0.0 if given["no_measure"] else given["measure"]


def way_of(order: Order) -> Way:
    """How an order's cells would be computed."""
    return Way(order.device, order.threads, order.speed, order.precision, order.weights, order.jobs)


def to_run(order: Order, plan: Plan, found: States) -> list[Cell]:
    """The cells that an order would have computed."""
    return [cell for cell in plan.cells if is_to_run(found[cell.id][0], order)]


def predict(
    order: Order, plan: Plan, found: States, say: Voice, kind: DeviceKind | None = None
) -> tuple[Estimator, Measured]:
    """An estimator of the cells to run, and what was measured for it.

    Args:
        order: how they would be computed.
        plan: of them.
        found: their states.
        say: told before anything is measured.
        kind: of devices that are not this machine's: nothing is measured, but what was measured on one is known.
    """
    todo, way = to_run(order, plan, found), way_of(order)
    runs = [run for _, run in found.values() if run is not None]
    if kind is not None:
        estimator = make_estimator(order.results, todo, kind, located=plan.located, known=runs)
        if order.measure:
            recall(estimator, todo, way.place(kind), anywhere=True)
        return estimator, Measured()
    estimator = estimator_here(order.results, plan, todo, way, runs, device_kind_here(order.device))
    if not order.measure or not todo:
        return estimator, Measured()
    return estimator, measure(estimator, todo, way, order.measure, say)


def show_plan(order: Order, price: Price | None, say: Voice) -> int:
    """The cells of a plan, what each will take, and what all will; gives the exit code."""
    plan, found = order.plan, look(order, Once())
    estimator, measured = predict(order, plan, found, say)
    todo = to_run(order, plan, found)
    predicted = {cell.id: estimator.predict(cell) for cell in todo}
    say(_by_kind(plan, found, predicted) if len(plan) > MANY else _by_cell(plan, found, predicted))
    say(f"{counts(plan, found)} in {order.results.absolute()}; nothing was written")
    facts = totals(order, plan, todo, estimator, measured, price, say)
    cells = [{**cell_facts(cell, found), **prediction_facts(cell, predicted)} for cell in plan.cells]
    say.object({"results": str(order.results), **facts, "cells": cells})
    return 0


def _by_cell(plan: Plan, found: States, predicted: Mapping[str, Prediction]) -> str:
    rows = []
    for cell in plan.cells:
        one = predicted.get(cell.id)
        more = ["", "", ""] if one is None else [duration(one.seconds), in_bytes(one.memory), one.source]
        rows.append([cell.id, found[cell.id][0], cell.label, schedule(cell.config), *more])
    return table(["id", "state", "cell", "epochs", "predicted", "memory", "from"], rows)


def _by_kind(plan: Plan, found: States, predicted: Mapping[str, Prediction]) -> str:
    """A line for all cells that differ in their seeds alone, as far as a person sees."""
    kinds: dict[tuple[str, ...], list[Cell]] = {}
    for cell in plan.cells:
        what = cell.config.get("freeze") or cell.config.get("evaluation") or "pretrain"
        kinds.setdefault((cell.method, cell.source, what, schedule(cell.config)), []).append(cell)
    rows = []
    for kind, cells in kinds.items():
        states = Counter(found[cell.id][0] for cell in cells)
        some = [predicted[cell.id] for cell in cells if cell.id in predicted]
        times = ["", ""]
        if some:
            all_ = sum(one.seconds for one in some)
            times = [duration(all_ / len(some)), duration(all_)]
        memory = max((one.memory for one in some if one.memory), default=None)
        sources = "; ".join(dict.fromkeys(one.source for one in some))
        said = ", ".join(f"{number} {state}" for state, number in states.items())
        rows.append([*kind, said, *times, in_bytes(memory), sources])
    return table(["method", "data set", "what", "epochs", "cells", "each", "all", "memory", "from"], rows)


def prediction_facts(cell: Cell, predicted: Mapping[str, Prediction]) -> dict[str, Any]:
    """What is predicted of a cell, for a program; nulls of one that is not to be run."""
    one = predicted.get(cell.id)
    return {
        "predicted_seconds": one and one.seconds,
        "predicted_memory_bytes": one and one.memory,
        "predicted_from": one and one.source,
    }


def in_bytes(size: int | None) -> str:
    """A size as a person says it."""
    if size is None:
        return ""
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


def totals(
    order: Order,
    plan: Plan,
    todo: list[Cell],
    estimator: Estimator,
    measured: Measured,
    price: Price | None,
    say: Voice,
) -> dict[str, Any]:
    """Say what all cells will take; the same for a program."""
    for line in _about(measured, order):
        say(line)
    sums = whole(plan, todo, way_of(order), estimator)
    if todo:
        where = "on a GPU" if estimator.kind == "gpu" else "on this processor"
        what = f"{counted(len(todo), 'cell')} ({estimator.basis})"
        words = [f"predicted: {duration(sums.work)} of work {where} for {what}"]
        if sums.workers > 1:
            words.append(
                f"{duration(sums.wall)} by {sums.workers} processes, if they do not slow one another"
            )
        words.append(f"{sums.device_hours:.3g} device-hours")
        if price is not None:
            words.append(price.of(sums.device_hours))
        if sums.memory:
            words.append(f"{in_bytes(sums.memory)} of memory at most" + (" each" if sums.workers > 1 else ""))
        say("; ".join(words))
    facts: dict[str, Any] = {
        "to_run": len(todo),
        "predicted_seconds": sums.work,
        "predicted_wall_seconds": sums.wall,
        "predicted_memory_bytes": sums.memory,
        "workers": sums.workers,
        "predicted_on": estimator.kind,
        "predicted_from": estimator.basis,
    }
    return facts | cost_facts(sums.device_hours, price)


def cost_facts(device_hours: float, price: Price | None) -> dict[str, Any]:
    """Device-hours and what they cost, for a program."""
    cost = None if price is None else {"amount": price.amount * device_hours, "unit": price.unit}
    return {"device_hours": device_hours, "cost": cost}


def _about(measured: Measured, order: Order) -> list[str]:
    if (answer := measured.answer) is None:
        return []
    left = measured.wanted - measured.now
    lines = [
        f"measured {measured.now} of {counted(measured.wanted, 'kind')} of cells in {duration(answer.seconds)}"
    ]
    if answer.why:
        lines.append(f"measuring ended early: {answer.why}")
    lines += [f"not measured: {why}" for why in dict.fromkeys(answer.failed.values())]
    if left and not answer.why and len(answer.failed) < left:
        lines[0] += f"; the same line again, or --measure {4 * order.measure:.0f}s, measures more"
    return lines
