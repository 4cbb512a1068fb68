"""Tables of a study become cells: a selection for the rows that are run alike, and one plan with every cell once.

No torch; writes nothing.
"""

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import UsageError, choice_error
from bench.evaluations.registry import EVALUATIONS
from bench.plan import Cell, Group, Plan, Selection, make_plan
from bench.selection import freeze_points, select
from bench.settings import parse_settings
from bench.sources import Sources
from bench.studies import Row, Study, Table
from models import registry as methods


@dataclass(frozen=True)
class Restriction:
    """What was typed beside the names of tables.

    Attributes:
        base: seeds, preset, protocol, settings and whatever else all rows share. Its other fields are the tables'.
        methods: run no other rows than those of these; None runs every row.
        datasets: on these; None is the table's own.
        probes: freeze points, as typed; None is all of the table's.
        backbone: instead of the table's; None is the table's.
        pretrain_on: in rows that are pretrained on another data set, instead of that; None is that.
    """

    base: Selection
    methods: tuple[str, ...] | None = None
    datasets: tuple[str, ...] | None = None
    probes: tuple[str, ...] | None = None
    backbone: str | None = None
    pretrain_on: str | None = None


@dataclass(frozen=True)
class RowPlan:
    """The cells of one row of a table.

    Attributes:
        row: as declared.
        groups: its pretrainings with what needs them, seed by seed.
    """

    row: Row
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class TablePlan:
    """The cells of a table.

    Attributes:
        table: on the data sets that were asked for.
        backbone: that is run.
        selections: by which the cells were made.
        rows: those that are run, in the table's order, the controls last.
        left_out: a line for everything of the table that is not run although it was not restricted away.
        located: see `bench.plan.Plan`.
    """

    table: Table
    backbone: str
    selections: tuple[Selection, ...]
    rows: tuple[RowPlan, ...]
    left_out: tuple[str, ...]
    located: Mapping[str, Any]

    @property
    def cells(self) -> Iterator[Cell]:
        """Every cell; one that two rows share is there twice."""
        for row in self.rows:
            for group in row.groups:
                yield from Plan((group,)).cells


def choose_tables(study: Study, texts: Iterable[str]) -> tuple[Table, ...]:
    """The tables that a person means: names with commas, ranges, `all`, globs, `!x`.

    Raises:
        UsageError: there is no such table, or nothing is run for it.
    """
    names = [table.name for table in study.tables]
    parts = [part for text in texts for word in text.split(",") for part in _range(word.strip(), names)]
    layers = [table.name for table in study.architectures]
    printed = f" ({number_range(layers)} are printed by `bench list architectures`)" if layers else ""
    for part in parts:
        word = part.removeprefix("!")
        if word in layers:
            raise UsageError(
                f"table {word} describes networks, and nothing is run for it: `bench list architectures` prints it;"
                f" --table takes {number_range(names)}"
            )
        if word != "all" and word not in names and not set("*?[") & set(word):
            raise UsageError(f"unknown table {word!r}: {study.name} has {number_range(names)}{printed}")
    chosen = select("table", parts, names)
    return tuple(study.table(name) for name in chosen)


def _range(word: str, names: list[str]) -> list[str]:
    match = re.fullmatch(r"(\d{1,3})-(\d{1,3})", word)
    if word in names or match is None or int(match[1]) > int(match[2]):
        return [word] if word else []
    return [str(number) for number in range(int(match[1]), int(match[2]) + 1)]


def number_range(names: Sequence[str]) -> str:
    """Names as a reader takes them in: "1-7" where they are numbers in a row, else with commas."""
    if len(names) > 2 and all(name.isdigit() for name in names):
        first, last = int(names[0]), int(names[-1])
        if list(names) == [str(number) for number in range(first, last + 1)]:
            return f"{first}-{last}"
    return ", ".join(names)


def plan_tables(
    tables: Iterable[Table], restriction: Restriction, root: Path | None = None
) -> tuple[TablePlan, ...]:
    """The cells of some tables, table by table.

    Args:
        tables: of one study.
        restriction: what else was typed.
        root: folder of the data sets.

    Raises:
        UsageError: nothing is left of them, a data set is missing, a setting contradicts a row. Nothing was written.
    """
    shelf = Sources(root, restriction.base.skip_corrupt, restriction.base.drop_leaks)
    plans = tuple(_plan(table, restriction, shelf) for table in tables)
    if not any(plan.rows for plan in plans):
        reasons = [line for plan in plans for line in plan.left_out]
        raise UsageError(reasons[0] if reasons else "these tables have no rows to run")
    return plans


def merge(plans: Iterable[TablePlan], seeds: Sequence[int]) -> Plan:
    """One plan of all tables: every cell once, seed by seed, so that what is there early compares all rows.

    Args:
        plans: of tables.
        seeds: of pretraining, in the order in which they are run.
    """
    plans = tuple(plans)
    found: dict[str, tuple[Cell, dict[str, Cell]]] = {}
    for seed in seeds:
        for group in (group for plan in plans for row in plan.rows for group in row.groups):
            if group.pretrain.config["seed"] == seed:
                _, cells = found.setdefault(group.pretrain.id, (group.pretrain, {}))
                for cell in group.dependents:
                    cells.setdefault(cell.id, cell)
    located = {name: what for plan in plans for name, what in plan.located.items()}
    return Plan(tuple(Group(first, tuple(cells.values())) for first, cells in found.values()), located)


def _plan(table: Table, restriction: Restriction, shelf: Sources) -> TablePlan:
    backbone = restriction.backbone or table.backbone
    rows = [
        row for row in table.every_row if restriction.methods is None or row.method in restriction.methods
    ]
    if not rows:
        known = ", ".join(dict.fromkeys(row.method for row in table.every_row))
        return _nothing(table, backbone, f"table {table.name} has no row of these methods; it has {known}")
    freezes = _freezes(table, restriction, backbone)
    if table.freezes and not freezes and restriction.probes:
        points = ", ".join(table.freezes)
        return _nothing(
            table, backbone, f"table {table.name} has no column of these freeze points; it has {points}"
        )
    names = restriction.datasets or _own_datasets(table, shelf)
    left_out = _not_computed(table, restriction.base.evaluations)
    alike: dict[str, tuple[Selection, list[Row]]] = {}
    for row in rows:
        settings = _settings(table, row, restriction.base.settings)
        origin = row.pretrain_on and (restriction.pretrain_on or row.pretrain_on)
        if origin and (why := _missing(origin, shelf)):
            left_out.append(
                f"table {table.name}: {row.title} is left out: {why}; --pretrain-on NAME pretrains it elsewhere"
            )
            continue
        selection = dataclasses.replace(
            restriction.base,
            methods=(),
            datasets=tuple(names),
            probes=tuple(freezes),
            pretrain_on=origin or None,
            backbone=backbone,
            settings=settings,
        )
        alike.setdefault(repr((origin, sorted(settings.items()))), (selection, []))[1].append(row)
    made: dict[str, RowPlan] = {}
    selections: list[Selection] = []
    located: dict[str, Any] = {}
    for selection, mine in alike.values():
        selections.append(
            dataclasses.replace(selection, methods=tuple(dict.fromkeys(row.method for row in mine)))
        )
        plan = make_plan(selections[-1], shelf=shelf)
        located.update(plan.located)
        for row in mine:
            made[row.title] = RowPlan(row, tuple(g for g in plan.groups if g.pretrain.method == row.method))
    ordered = tuple(made[row.title] for row in rows if row.title in made)
    return TablePlan(table.on(names), backbone, tuple(selections), ordered, tuple(left_out), located)


def _nothing(table: Table, backbone: str, why: str) -> TablePlan:
    return TablePlan(table, backbone, (), (), (why,), {})


def _freezes(table: Table, restriction: Restriction, backbone: str) -> list[str]:
    points = freeze_points(backbone)
    if strange := [freeze for freeze in table.freezes if freeze not in points]:
        raise UsageError(
            f"table {table.name} is about {strange[0]}, where {backbone} cannot be frozen; it has {', '.join(points)}"
        )
    chosen = points if restriction.probes is None else select("freeze point", restriction.probes, points)
    return [freeze for freeze in table.freezes if freeze in chosen]


def _not_computed(table: Table, chosen: Sequence[str]) -> list[str]:
    """A line for the columns of evaluations that are not done unless somebody asks for them."""
    asked = [
        metric
        for metric in table.metrics
        if not metric.probed and metric.source not in chosen
        if metric.source not in EVALUATIONS or EVALUATIONS[metric.source].weights
    ]
    if not asked:
        return []
    titles = ", ".join(metric.title for metric in asked)
    return [f"table {table.name}: {titles} is not computed unless it is asked for: `bench list evaluations`"]


def _missing(name: str, shelf: Sources) -> str:
    """Why a data set cannot be read here, in a few words; "" where it can."""
    try:
        shelf.locate(name)
    except UsageError as error:
        return str(error).partition(";")[0]
    return ""


def _own_datasets(table: Table, shelf: Sources) -> tuple[str, ...]:
    """The data sets of the paper, all of which must be here: a table that lacks some is asked for as such."""
    missing = {name: why for name in table.datasets if (why := _missing(name, shelf))}
    if not missing:
        return table.datasets
    here = ",".join(name for name in table.datasets if name not in missing)
    hint = (
        f"-d {here} leaves it out" if here else "-d NAME runs the table on another data set, such as digits"
    )
    raise UsageError(f"table {table.name}: {next(iter(missing.values()))}; {hint}")


def _settings(table: Table, row: Row, typed: Mapping[str, Any]) -> dict[str, Any]:
    """What was typed, and what the row is about.

    Raises:
        UsageError: the row's method or settings do not exist, or what was typed contradicts them.
    """
    where = f"table {table.name}, row {row.title!r}"
    if row.method not in methods.METHODS:
        raise UsageError(f"{where}: {choice_error('method', row.method, methods.METHODS)}")
    for key, value in row.settings.items():
        try:
            parsed = parse_settings([f"{key}={value}"], [row.method])[key]
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from None
        if parsed != value:
            raise UsageError(f"{where}: {key} is {value!r}; it must be {parsed!r}")
        if key in typed and typed[key] != value:
            raise UsageError(f"--set {key}={typed[key]} contradicts {where}, which is about {key}={value}")
    return {**typed, **row.settings}
