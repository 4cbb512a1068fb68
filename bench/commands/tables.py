"""`bench run --table`: which tables a command line means, and what is written down of that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import asked
from bench.commands.options import typed
from bench.config import method_config
from bench.data.names import absolute_source
from bench.plan import Plan, Selection
from bench.selection import split
from bench.settings import parse_settings
from bench.studies import Study, Table, load_study
from bench.studies.load import DEFAULT
from bench.study_plan import Restriction, RowPlan, TablePlan, choose_tables, merge, plan_tables
from models.registry import spec

# What restricts a table, by the name of its option.
_FLAGS = {
    "method_names": "-m", "dataset_names": "-d", "seeds": "-s", "probes": "--probes", "pretrain_on": "--pretrain-on",
    "probe_seeds": "--probe-seeds", "evaluations": "--evaluate", "backbone": "--backbone", "preset": "--preset",
    "protocol": "--protocol", "pairs": "--set", "fid_weights": "--fid-weights",
    "fid_weights_sha256": "--fid-weights-sha256",
}  # fmt: skip


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
    def remarks(self) -> list[str]:
        """Lines of what is not run, or not as declared."""
        return [line for one in self.tables for line in (*one.left_out, *departures(one))]

    def record(self, results: Path, root: Path | None, how: Mapping[str, Any]) -> Path:
        """Write down what is asked for, and how; see `asked.record`."""
        selections = tuple(selection for one in self.tables for selection in one.selections)
        cells = {
            f"{self.study.name}/{one.table.name}": {cell.id for cell in one.cells} for one in self.tables
        }
        return asked.record(results, self.plan, selections, root, asked.Tables(cells, self.flags), how)


def departures(one: TablePlan) -> list[str]:
    """Lines of what is run so differently that a report will not show it as this table."""
    table, lines = one.table, []
    if one.backbone != table.backbone:
        # What no probe measures is shown of any backbone.
        lost = "no published numbers and no claims" if table.freezes else "no published numbers"
        lines.append(
            f"table {table.name}: its backbone is {table.backbone}, not {one.backbone}: "
            f"{lost} will stand beside these runs"
        )
        if table.freezes:
            return lines
    titles = [row.row.title for row in one.rows if _departs(row, one.selections[0].protocol)]
    if titles:
        more = f" and {len(titles) - 2} more" if len(titles) > 3 else ""
        names = ", ".join(titles[:2] if more else titles)
        lines.append(
            f"table {table.name}: not run as declared: {names}{more}: "
            "no published numbers and no claims will stand beside these runs"
        )
    return lines


def _departs(plan: RowPlan, protocol: str) -> bool:
    """Whether a row has other settings, or another origin, than it is declared with."""
    row = plan.row
    for config in (group.pretrain.config for group in plan.groups):
        origin = config["dataset"]["name"]
        if config["method_config"] != method_config(row.method, origin, protocol, row.settings):
            return True
        if row.pretrain_on not in (None, origin) and spec(row.method).trained:
            return True
    return False


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
    if given["drop_leaks"]:
        words.append("--drop-leaks")
    for name, flag in _FLAGS.items():
        if typed(name):
            value = given[name]
            for text in value if isinstance(value, tuple) else (value,):
                if name == "dataset_names":
                    text = ",".join(absolute_source(part) for part in split([text]))
                if isinstance(text, Path):
                    text = text.absolute()
                words += [flag, str(text)]
    return tuple(words)
