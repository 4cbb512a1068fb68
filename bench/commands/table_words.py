"""What `bench run --table --dry-run` says: a line a row and column, what is done of it and what it will cost."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from bench.commands.computing import is_to_run, look
from bench.commands.options import table
from bench.commands.order import Order
from bench.commands.predicting import predict, prediction_facts, to_run, totals
from bench.commands.tables import Request, departures
from bench.commands.words import States, Voice, cell_facts, counts
from bench.estimate import DeviceKind, Estimator
from bench.forecast import Measured
from bench.plan import Cell, Plan
from bench.price import Price
from bench.records import Once
from bench.study_plan import RowPlan, TablePlan
from bench.time_left import duration


@dataclass(frozen=True)
class Line:
    """The cells of one row in one column, or its pretrainings.

    Attributes:
        table: its number.
        row: its title.
        dataset: as the user named it.
        what: "pretrain", the freeze point, or the evaluation.
        cells: one a seed.
        earlier: number of the table in which they were counted already; "" where they are counted here.
        seconds: that those of them which are to be run will take.
    """

    table: str
    row: str
    dataset: str
    what: str
    cells: tuple[Cell, ...]
    earlier: str
    seconds: float


def show_tables(
    order: Order, asked_for: Request, say: Voice, kind: DeviceKind | None = None
) -> tuple[dict[str, Any], Estimator, Measured]:
    """Say the lines of all tables.

    Args:
        order: how the cells would be computed.
        asked_for: the tables.
        say: whom to.
        kind: the device, where it is not this machine's.

    Returns:
        The same for a program: study, tables and what they will cost; what predicts it, and what was measured for it.
    """
    found = look(order, Once())
    estimator, measured = predict(order, asked_for.plan, found, say, kind)
    counted_in: dict[str, str] = {}
    tables = []
    for one in asked_for.tables:
        lines = [line for row in one.rows for line in _lines(one, row, order, found, estimator, counted_in)]
        _say_table(one, lines, found, say)
        tables.append(_facts(one, lines, found))
    facts = {
        "study": asked_for.study.name,
        "tables": tables,
        "to_run": len(to_run(order, asked_for.plan, found)),
        "predicted_seconds": sum(line["predicted_seconds"] for one in tables for line in one["lines"]),
        "predicted_on": estimator.kind,
        "predicted_from": estimator.basis,
    }
    return facts, estimator, measured


def show_table_plan(order: Order, asked_for: Request, price: Price | None, say: Voice) -> int:
    """A dry run of what would be computed here; gives the exit code."""
    plan, found = asked_for.plan, look(order, Once())
    facts, estimator, measured = show_tables(order, asked_for, say)
    say(counts(plan, found) + f" in {order.results.absolute()}; nothing was written")
    todo = to_run(order, plan, found)
    facts |= totals(order, plan, todo, estimator, measured, price, say)
    predicted = {cell.id: estimator.predict(cell) for cell in todo}
    cells = [{**cell_facts(cell, found), **prediction_facts(cell, predicted)} for cell in plan.cells]
    say.object({"results": str(order.results), **facts, "cells": cells})
    return 0


def _lines(
    one: TablePlan,
    row: RowPlan,
    order: Order,
    found: States,
    estimator: Estimator,
    counted_in: dict[str, str],
) -> Iterator[Line]:
    """The lines of a row; `counted_in` is filled with the cells that they count."""
    columns: dict[tuple[str, str], dict[str, Cell]] = {}
    for group in row.groups:
        for cell in Plan((group,)).cells:
            columns.setdefault((cell.source, _what(cell)), {})[cell.id] = cell
    for (dataset, what), cells in columns.items():
        fresh = [cell for id, cell in cells.items() if id not in counted_in]
        earlier = "" if fresh else counted_in[next(iter(cells))]
        counted_in.update({cell.id: one.table.name for cell in fresh})
        seconds = sum(estimator.seconds(cell) for cell in fresh if is_to_run(found[cell.id][0], order))
        yield Line(one.table.name, row.row.title, dataset, what, tuple(cells.values()), earlier, seconds)


def _what(cell: Cell) -> str:
    if cell.kind == "pretrain":
        return "pretrain"
    if cell.kind == "evaluate":
        return cell.config["evaluation"]
    return "end to end" if cell.config["freeze"] == "none" else cell.config["freeze"]


def _states(line: Line, found: States) -> Counter[str]:
    return Counter(found[cell.id][0] for cell in line.cells)


def _say_table(one: TablePlan, lines: Sequence[Line], found: States, say: Voice) -> None:
    """A table's lines for a person."""
    say(f"Table {one.table.name}: {one.table.title} ({one.backbone})")
    rows = []
    for line in lines:
        states = ", ".join(f"{number} {state}" for state, number in _states(line, found).items())
        cost = duration(line.seconds) if line.seconds else ""
        if line.earlier:
            cost = "(as above)" if line.earlier == line.table else f"(in table {line.earlier})"
        rows.append([line.row, line.dataset, line.what, states, cost])
    if rows:
        say(table(["row", "data set", "column", "cells", "predicted"], rows))
    for text in (*one.left_out, *departures(one)):
        say(text)
    say("")


def _facts(one: TablePlan, lines: Sequence[Line], found: States) -> dict[str, Any]:
    return {
        "table": one.table.name,
        "title": one.table.title,
        "backbone": one.backbone,
        "left_out": list(one.left_out),
        "departures": departures(one),
        "lines": [
            {
                "row": line.row,
                "dataset": line.dataset,
                "column": line.what,
                "cells": [cell.id for cell in line.cells],
                "states": dict(_states(line, found)),
                "counted_in": line.earlier or line.table,
                "predicted_seconds": line.seconds,
            }
            for line in lines
        ],
    }
