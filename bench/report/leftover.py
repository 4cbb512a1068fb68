"""Tables of what no table of a study shows: other settings, other freeze points, what is measured beside a probe."""

from collections.abc import Collection, Sequence

from bench.report.model import Column
from bench.report.panel import END_TO_END, Panel, RowRuns, default_rule, depth, freeze_title, value_of
from bench.report.sheets import Sheet, SheetRow
from bench.studies.metrics import METRICS

Shown = Collection[tuple[int, str | None]]
"""Identity of a row's runs and what of them is shown: a freeze point, or a metric of an evaluation."""


def shown_in(sheets: Sequence[Sheet]) -> set[tuple[int, str | None]]:
    """What some tables show."""
    found: set[tuple[int, str | None]] = set()
    for sheet in sheets:
        for row in sheet.rows:
            for j, column in enumerate(sheet.columns):
                if (runs := sheet.runs(row, j)) is not None:
                    found |= {(id(runs), column.freeze if column.unit.probed else column.metric)}
                    # An end-to-end run stands in whatever column there is.
                    found |= {(id(runs), END_TO_END)}
    return found


def leftover_sheets(panels: Sequence[Panel], study: Sequence[Sheet], rule: str | None) -> list[Sheet]:
    """A table a panel of the accuracies that no table of the study shows, and one of all other metrics.

    Args:
        panels: all of them.
        study: the study's tables.
        rule: how to select the epoch; None is each protocol's own.
    """
    shown = shown_in(study)
    found = [_accuracies(panel, shown, rule) for panel in panels]
    found += [_measured(panel, shown) for panel in panels]
    return [sheet for sheet in found if sheet is not None]


def _row(runs: RowRuns, panel: Panel) -> SheetRow:
    own = runs.pretrain["dataset"] != panel.dataset and bool(runs.pretrain["train"]["epochs"])
    origin = str(runs.pretrain["dataset"]["name"]) if own else ""
    return SheetRow(runs.label, "", runs.method, runs.group, runs.variant, origin, {0: runs})


def _accuracies(panel: Panel, shown: Shown, rule: str | None) -> Sheet | None:
    """The freeze points of rows that stand nowhere else, beside the other rows of their methods."""
    points: set[str] = set()
    left: set[str] = set()
    for runs in panel.rows.values():
        new = {freeze for freeze, _ in runs.probes if (id(runs), freeze) not in shown}
        points |= new
        if new:
            left.add(runs.method)
    if not points:
        return None
    if points - {END_TO_END}:
        points.discard(END_TO_END)
    chosen = [
        runs
        for runs in panel.rows.values()
        if runs.method in left and any(freeze in points | {END_TO_END} for freeze, _ in runs.probes)
    ]
    own = rule or default_rule(panel)
    columns = tuple(
        Column(panel.name, point, "top1", freeze_title(point), panel.title, own)
        for point in sorted(points, key=lambda p: (depth(p), p))
    )
    rows = [_row(runs, panel) for runs in chosen]
    return Sheet(None, (panel,), columns, (0,) * len(columns), rows)


def _measured(panel: Panel, shown: Shown) -> Sheet | None:
    """Every metric of an evaluation that no table of the study has, for all rows that were evaluated."""
    rows = [runs for runs in panel.rows.values() if any(run.result for run in runs.evaluations.values())]
    metrics = []
    for metric in METRICS.values():
        have = [
            runs
            for runs in rows
            if not metric.probed
            and any(value_of(run, "", metric) is not None for run in runs.evaluations.values())
        ]
        if any((id(runs), metric.name) not in shown for runs in have):
            metrics.append(metric)
    if not metrics:
        return None
    columns = tuple(Column(panel.name, None, m.name, m.title, panel.title) for m in metrics)
    return Sheet(
        None,
        (panel,),
        columns,
        (0,) * len(columns),
        [_row(runs, panel) for runs in rows],
        "what is measured beside the probes",
    )
