"""`bench run --table`: which tables, on what, and what a dry run says of them."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import asked
from bench.asked import absolute_source
from bench.commands.computing import Order, look
from bench.commands.options import counted, table, typed
from bench.commands.words import States, Voice, cell_facts, counts
from bench.estimate import DeviceKind, Estimator, make_estimator
from bench.plan import Cell, Plan, Selection
from bench.progress import duration
from bench.records import Once
from bench.selection import split
from bench.settings import parse_settings
from bench.studies import Study, Table, load_study
from bench.studies.load import DEFAULT
from bench.study_plan import Restriction, RowPlan, TablePlan, choose_tables, merge, plan_tables

# What restricts a table, by the name of its option.
_FLAGS = {
    "method_names": "-m", "dataset_names": "-d", "seeds": "-s", "probes": "--probes", "pretrain_on": "--pretrain-on",
    "probe_seeds": "--probe-seeds", "evaluations": "--evaluate", "backbone": "--backbone", "preset": "--preset",
    "protocol": "--protocol", "pairs": "--set",
}  # fmt: skip
# Nodes of a driver that answer without torch whether there is a GPU: NVIDIA's and AMD's.
_GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


@dataclass(frozen=True)
class Request:
    """Tables as they were asked for.

    Attributes:
        study: they are of.
        tables: with their cells.
        plan: every cell once.
        flags: by which they are asked for again.
    """

    study: Study
    tables: tuple[TablePlan, ...]
    plan: Plan
    flags: tuple[str, ...]

    @property
    def left_out(self) -> list[str]:
        """Lines of what is not run."""
        return [line for one in self.tables for line in one.left_out]

    def record(self, results: Path, root: Path | None) -> Path:
        """Write down what is asked for."""
        selections = tuple(selection for one in self.tables for selection in one.selections)
        cells = {
            f"{self.study.name}/{one.table.name}": {cell.id for cell in one.cells} for one in self.tables
        }
        return asked.record(results, self.plan, selections, root, asked.Tables(cells, self.flags))


def chosen(given: Mapping[str, Any]) -> tuple[Study, tuple[Table, ...]]:
    """The study and those of its tables that were named.

    Raises:
        UsageError: there is no such study or table.
    """
    study = load_study(given["study"])
    return study, choose_tables(study, given["tables"])


def request(given: Mapping[str, Any], base: Selection, root: Path | None) -> Request:
    """The tables that a command line means.

    Args:
        given: the options of `bench run`; of those that are not typed, the tables have their own.
        base: the same as a selection.
        root: folder of the data sets.

    Raises:
        UsageError: there is no such study or table, or it cannot be run as asked.
    """
    study, tables = chosen(given)
    wanted = base.methods if typed("method_names") else None
    names = [row.method for one in tables for row in one.every_row if wanted is None or row.method in wanted]
    restriction = Restriction(
        replace(base, settings=parse_settings(given["pairs"], list(dict.fromkeys(names)))),
        methods=wanted,
        datasets=base.datasets if typed("dataset_names") else None,
        probes=given["probes"] if typed("probes") else None,
        backbone=given["backbone"] if typed("backbone") else None,
        pretrain_on=base.pretrain_on,
    )
    plans = plan_tables(tables, restriction, root)
    plan = merge(plans, base.seeds)
    return Request(study, plans, plan, _flags(given, study, [one.name for one in tables]))


def _flags(given: Mapping[str, Any], study: Study, tables: Sequence[str]) -> tuple[str, ...]:
    words = ["--table", ",".join(tables)]
    if given["study"] != DEFAULT:
        file = Path(given["study"]).expanduser()
        words += ["--study", str(file.absolute()) if file.exists() else study.name]
    for name, flag in _FLAGS.items():
        if typed(name):
            value = given[name]
            for text in value if isinstance(value, tuple) else (value,):
                if name == "dataset_names":
                    text = ",".join(absolute_source(part) for part in split([text]))
                words += [flag, str(text)]
    return tuple(words)


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


def show_tables(order: Order, asked_for: Request, say: Voice) -> None:
    """What is done, what is not and what it will cost, a line a row and column, for `--dry-run`."""
    found = look(order, Once())
    kind = _device_kind(order.device)
    todo = [cell for cell in asked_for.plan.cells if _is_to_run(order, found, cell)]
    runs = [run for _, run in found.values() if run is not None]
    estimator = make_estimator(order.results, todo, kind, located=asked_for.plan.located, known=runs)
    counted_in: dict[str, str] = {}
    facts = []
    for one in asked_for.tables:
        lines = [line for row in one.rows for line in _lines(one, row, order, found, estimator, counted_in)]
        say_table(one, lines, found, say)
        facts.append(_facts(one, lines, found))
    seconds = sum(line["predicted_seconds"] for fact in facts for line in fact["lines"])
    where = "on a GPU" if kind == "gpu" else "on this processor"
    say(counts(asked_for.plan, found) + f" in {order.results.absolute()}; nothing was written")
    if todo:
        say(
            f"predicted: {duration(seconds)} of work {where} for {counted(len(todo), 'cell')} ({estimator.basis})"
        )
    say.object(
        {
            "results": str(order.results),
            "study": asked_for.study.name,
            "tables": facts,
            "cells": [cell_facts(cell, found) for cell in asked_for.plan.cells],
            "to_run": len(todo),
            "predicted_seconds": seconds,
            "predicted_on": kind,
            "predicted_from": estimator.basis,
        }
    )


def _device_kind(name: str) -> DeviceKind:
    """Whether this machine would take a GPU, as far as that is known without torch."""
    return "gpu" if name == "cuda" or (name == "auto" and any(node.exists() for node in _GPUS)) else "cpu"


def _is_to_run(order: Order, found: States, cell: Cell) -> bool:
    state = found[cell.id][0]
    return order.force or state in ("new", "interrupted") or (state == "failed" and order.retry_failed)


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
        seconds = sum(estimator.seconds(cell) for cell in fresh if _is_to_run(order, found, cell))
        yield Line(one.table.name, row.row.title, dataset, what, tuple(cells.values()), earlier, seconds)


def _what(cell: Cell) -> str:
    if cell.kind == "pretrain":
        return "pretrain"
    if cell.kind == "evaluate":
        return cell.config["evaluation"]
    return "end to end" if cell.config["freeze"] == "none" else cell.config["freeze"]


def _states(line: Line, found: States) -> Counter[str]:
    return Counter(found[cell.id][0] for cell in line.cells)


def say_table(one: TablePlan, lines: Sequence[Line], found: States, say: Voice) -> None:
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
    for text in one.left_out:
        say(text)
    say("")


def _facts(one: TablePlan, lines: Sequence[Line], found: States) -> dict[str, Any]:
    return {
        "table": one.table.name,
        "title": one.table.title,
        "backbone": one.backbone,
        "left_out": list(one.left_out),
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
