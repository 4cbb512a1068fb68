"""Panels sorted into the tables that a study declares.

Panels may share a table where they differ in nothing but the data set: one protocol, one backbone, the same
settings, the same preset or the same epochs. So no column, and no claim, ever mixes two of these.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.report.matching import alike, declared_runs
from bench.report.model import Column, RowGroup
from bench.report.panel import (
    END_TO_END,
    Panel,
    RowRuns,
    cell_runs,
    default_rule,
    freeze_title,
    spec,
)
from bench.report.words import count
from bench.studies import Column as StudyColumn
from bench.studies import Row as StudyRow
from bench.studies import Study
from bench.studies import Table as StudyTable

# The evaluation that needs weights which nobody but the user can give.
WEIGHTED = "fid"


@dataclass
class SheetRow:
    """A row of a table before its numbers.

    Attributes:
        label: as printed.
        title: in the study's declaration; "" for a row that it lacks.
        method: name in the registry.
        group: what it is compared with.
        variant: what differs from the method's defaults.
        pretrained_on: data set, where it is not each column's own.
        runs: by number of the panel.
        published: the paper's numbers by number of the column, in the printed unit.
    """

    label: str
    title: str
    method: str
    group: RowGroup
    variant: str = ""
    pretrained_on: str = ""
    runs: dict[int, RowRuns] = field(default_factory=dict)
    published: dict[int, float] = field(default_factory=dict)


@dataclass
class Sheet:
    """A table before its numbers.

    Attributes:
        table: the study's declaration; None for runs that no table of the study has.
        panels: one a data set.
        columns: of the table.
        places: for each column the number of its panel.
        rows: in the order of printing.
        what: what it shows, where it is no table of a study and not of accuracies.
    """

    table: StudyTable | None
    panels: tuple[Panel, ...]
    columns: tuple[Column, ...]
    places: tuple[int, ...]
    rows: list[SheetRow]
    what: str = ""

    def runs(self, row: SheetRow, column: int) -> RowRuns | None:
        """What stands behind a row in a column."""
        return row.runs.get(self.places[column])


def _setting(panel: Panel) -> tuple[Any, ...]:
    return panel.protocol, panel.backbone, panel.changed, panel.schedule, panel.home


def groups_of(panels: Sequence[Panel]) -> list[list[Panel]]:
    """Panels that may share a table, the group with most runs first."""
    found: dict[tuple[Any, ...], list[Panel]] = {}
    for panel in panels:
        key = _setting(panel)
        while any(other.name == panel.name for other in found.get(key, ())):
            # The same data set again (another image size, say): a table of its own.
            key = (*key, "again")
        found.setdefault(key, []).append(panel)
    return sorted(found.values(), key=lambda group: -sum(len(panel.all_runs()) for panel in group))


def _label(row: StudyRow, runs: RowRuns) -> str:
    """A declared row's title; what was pretrained elsewhere says for how long."""
    if row.pretrain_on is None:
        return row.title
    return f"{row.title}, {count(runs.pretrain['train']['epochs'], 'epoch')}"


def _columns(table: StudyTable, panels: Sequence[Panel], rule: str | None) -> list[tuple[Column, int]]:
    """Every column of a table over some panels, with the number of its panel."""
    columns = []
    for place, panel in enumerate(panels):
        for column in table.on([panel.name]).columns:
            title = column_title(table, column)
            own = rule or default_rule(panel) if column.unit.probed else ""
            base = table.on([str(panel.dataset["name"])]).columns
            twin = next(one for one in base if one.kind == column.kind)
            why = twin.incomparable
            if "fraction" in panel.dataset and not why:
                why = "the paper trains on all of the images"
            made = Column(panel.name, column.freeze, column.metric, title, panel.title, own, why)
            columns.append((made, place))
    return columns


def _has_runs(runs: RowRuns, column: Column) -> bool:
    """Whether a row has runs of its own there; an end-to-end row's would stand in any column."""
    if column.unit.probed:
        return any(point == column.freeze for point, _ in runs.probes)
    return bool(cell_runs(runs, column.freeze, column.unit))


def column_title(table: StudyTable, column: StudyColumn) -> str:
    """What tells a column from its neighbours of the same data set."""
    if column.title:
        return column.title
    parts = []
    if column.freeze is not None and (len(table.freezes) > 1 or len(table.metrics) == 1):
        parts.append(freeze_title(column.freeze))
    if len(table.metrics) > 1 or column.freeze is None:
        parts.append(column.unit.title)
    return ", ".join(parts)


def _study_sheet(table: StudyTable, group: Sequence[Panel], rule: str | None) -> Sheet | None:
    """A declared table over a group of panels; None where it would show nothing of its own."""
    rows: list[SheetRow] = []
    for row in table.every_row:
        runs = {i: found for i, panel in enumerate(group) if (found := declared_runs(row, panel)) is not None}
        if runs:
            first = next(iter(runs.values()))
            # Pretrained elsewhere: for as long, and in the same way, on every data set.
            runs = {i: found for i, found in runs.items() if row.pretrain_on is None or alike(first, found)}
            origin = row.pretrain_on or ""
            rows.append(SheetRow(_label(row, first), row.title, row.method, first.group, "", origin, runs))
    kept = sorted({i for row in rows for i in row.runs})
    if not kept:
        return None
    panels = [group[i] for i in kept]
    for row in rows:
        row.runs = {kept.index(i): found for i, found in row.runs.items()}
    every = _columns(table, panels, rule)
    # A column in which nothing was ever begun would be all gaps: it is told in a note.
    begun = [(c, i) for c, i in every if any(i in r.runs and _has_runs(r.runs[i], c) for r in rows)]
    if any(not column.unit.probed for column, _ in begun):
        # What needs the user's own weights is asked for wherever its neighbours are, and says why it is not there.
        there = {place for _, place in begun}
        begun = [(c, i) for c, i in every if (c, i) in begun or (c.unit.source == WEIGHTED and i in there)]
    if not begun and not any(runs.probes for row in rows for runs in row.runs.values()):
        if not any(runs.pretrains for row in rows for runs in row.runs.values() if not runs.evaluations):
            return None
    elif not begun:
        ends = {i: replace(c, freeze=END_TO_END, title=freeze_title(END_TO_END)) for c, i in every}
        begun = [(column, i) for i, column in ends.items()]
    columns, places = zip(*(begun or every), strict=True)
    sheet = Sheet(table, tuple(panels), columns, places, rows)
    for row in rows:
        for j, column in enumerate(sheet.columns):
            panel = panels[places[j]]
            base = table.on([str(panel.dataset["name"])])
            kind = (column.freeze, column.metric)
            printed = next((one for one in base.columns if one.kind == kind), None)
            number = None if printed is None else base.number(base.row(row.title), printed)
            if number is not None and panel.backbone == table.backbone and panel.home:
                row.published[j] = number
    return sheet


def _worth_showing(sheet: Sheet, table: StudyTable, first: bool) -> bool:
    """Whether it compares what it is there to compare.

    A table of another backbone is shown only for what no probe measures (reconstruction), and says so.
    """
    if sheet.panels[0].backbone != table.backbone and any(column.freeze for column in table.columns):
        return False
    titles = {row.title for row in table.rows}
    declared = [row for row in sheet.rows if row.title in titles]
    return bool(declared) if first else len(declared) > 1 and _has_numbers(sheet)


def _has_numbers(sheet: Sheet) -> bool:
    """Whether any run could stand in one of its columns, done or not."""
    return any(
        _has_runs(runs, column)
        for row in sheet.rows
        for j, column in enumerate(sheet.columns)
        if (runs := sheet.runs(row, j)) is not None
    )


def _adopt(sheet: Sheet, study: Study) -> None:
    """Add to a study's first table the methods at their defaults that no table of it declares: a new one, say."""
    declared = {row.method for table in study.tables for row in table.every_row}
    shown = {id(runs) for row in sheet.rows for runs in row.runs.values()}
    added: dict[tuple[str, str], SheetRow] = {}
    for i, panel in enumerate(sheet.panels):
        for runs in panel.rows.values():
            if id(runs) in shown or runs.variant or (runs.method in declared and not _foreign(runs, panel)):
                continue
            own = spec(runs.method).trained and runs.pretrain["dataset"] != panel.dataset
            row = added.setdefault(
                (runs.method, runs.label),
                SheetRow(
                    runs.label,
                    "",
                    runs.method,
                    runs.group,
                    "",
                    str(runs.pretrain["dataset"]["name"]) if own else "",
                ),
            )
            row.runs[i] = runs
    order = ("methods", "labelled", "controls")
    sheet.rows += added.values()
    sheet.rows.sort(key=lambda row: order.index(row.group))


def _foreign(runs: RowRuns, panel: Panel) -> bool:
    """Whether it was pretrained on another data set than the panel's other rows."""
    return spec(runs.method).trained and runs.pretrain["dataset"] != panel.pretrain["dataset"]


def study_sheets(panels: Sequence[Panel], study: Study | None, rule: str | None) -> list[Sheet]:
    """The tables of a study that runs are there for, by number.

    Args:
        panels: as `bench.report.collect.panels` sorted them.
        study: whose tables are wanted; None for none.
        rule: how to select the epoch; None is each protocol's own.
    """
    found: list[Sheet] = []
    groups = groups_of(panels)
    for number, table in enumerate(study.tables if study else ()):
        for group in groups:
            sheet = _study_sheet(table, group, rule)
            if sheet is None or study is None or not _worth_showing(sheet, table, number == 0):
                continue
            if number == 0:
                _adopt(sheet, study)
            found.append(sheet)
    return found
