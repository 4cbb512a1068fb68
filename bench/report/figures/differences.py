"""Differences as forest plots: those that claims are about, and each row's from a baseline."""

from collections.abc import Iterable
from dataclasses import replace

from bench.report.figures.rows import TableRows
from bench.report.layout import in_unit
from bench.report.model import Cell, Column, Comparison, Figure, Forest, ForestLine
from bench.report.said import verdict_title
from bench.stats import by_pretrain_seed
from bench.studies.metrics import METRICS, Metric

READING = (
    "Each line is a mean difference with its 95 % interval, each dot one pretraining seed's own difference,"
    " a hollow mark the paper's."
)


def claims(behind: TableRows) -> Figure | None:
    """The differences behind each claim of a table: a panel a claim and unit, lines grouped by column."""
    table, panels = behind.table, []
    judged = [claim for claim in behind.claims if claim.table == table.name]
    for claim in judged:
        by_unit: dict[str, list[Comparison]] = {}
        for comparison in claim.comparisons:
            if comparison.difference is not None:
                by_unit.setdefault(METRICS[comparison.metric].name, []).append(comparison)
        for metric, comparisons in by_unit.items():
            lines = [_compared(comparison) for comparison in _by_column(comparisons)]
            mean = claim.overall
            if mean is not None and mean.metric == metric and mean.difference is not None:
                lines.append(replace(_compared(mean), label="all of the above", group="Mean"))
            title = f"{claim.text} ({verdict_title(claim).lower()})"
            panels.append(Forest(title, _axis(METRICS[metric]), tuple(lines)))
    if not panels:
        return None
    caption = (
        f"{table.title}: the differences that the paper's claims are about, a - b for “a − b”. {READING}"
    )
    if any(c.by_image for claim in judged for c in claim.comparisons):
        caption += " Intervals of accuracies count the test images as a sample beside the seeds."
    return Figure(
        f"{table.name}-claims", f"Differences behind the claims, {table.title}", caption, tuple(panels)
    )


def _by_column(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """In the order given, those of one column next to one another."""
    grouped: dict[str, list[Comparison]] = {}
    for comparison in comparisons:
        grouped.setdefault(comparison.column, []).append(comparison)
    return [comparison for group in grouped.values() for comparison in group]


def _compared(comparison: Comparison) -> ForestLine:
    metric = METRICS[comparison.metric]
    assert comparison.difference is not None
    return ForestLine(
        label=f"{comparison.a} − {comparison.b}",
        group=comparison.column,
        centre=in_unit(comparison.difference, metric),
        half=_in_unit(comparison.half, metric),
        dots=tuple(in_unit(value, metric) for _, value in sorted(comparison.by_seed.items())),
        published=_in_unit(comparison.published, metric),
    )


def baseline(behind: TableRows) -> Figure | None:
    """Each row's difference from the baseline's: a panel a unit, lines grouped by column."""
    table = behind.table
    if not table.baseline:
        return None
    base = next((row for row in table.rows if row.label == table.baseline), None)
    panels = []
    for metric in dict.fromkeys(column.metric for column in table.columns):
        lines = []
        for j, column in enumerate(table.columns):
            if column.metric == metric:
                mine = None if base is None else base.cells[j]
                for row in table.rows:
                    if line := _against(row.label, row.cells[j], mine, column):
                        lines.append(line)
        if lines:
            unit = METRICS[metric]
            panels.append(
                Forest(f"{unit.title}, difference from {table.baseline}", _axis(unit), tuple(lines))
            )
    if not panels:
        return None
    caption = (
        f"{table.title}: each row's difference from {table.baseline}, paired by seed. {READING} Intervals are not"
        " widened for their number; the table's p are (Holm)."
    )
    if any(cell.against is not None and cell.against.by_image for row in table.rows for cell in row.cells):
        caption += " Intervals of accuracies count the test images as a sample beside the seeds."
    return Figure(
        f"{table.name}-baseline", f"Differences from {table.baseline}, {table.title}", caption, tuple(panels)
    )


def _against(label: str, cell: Cell, base: Cell | None, column: Column) -> ForestLine | None:
    if cell.against is None:
        return None
    metric = column.unit
    dots, published = (), None
    if base is not None:
        theirs = dict(zip(base.seeds, base.values, strict=False))
        ours = dict(zip(cell.seeds, cell.values, strict=False))
        shared = {pair: ours[pair] - theirs[pair] for pair in ours if pair in theirs}
        dots = tuple(in_unit(value, metric) for _, value in sorted(by_pretrain_seed(shared).items()))
        if cell.published is not None and base.published is not None and not column.incomparable:
            published = in_unit(cell.published - base.published, metric)
    return ForestLine(
        label=label,
        group=f"{column.group}, {column.title}",
        centre=in_unit(cell.against.difference, metric),
        half=_in_unit(cell.against.half, metric),
        dots=dots,
        published=published,
    )


def _in_unit(value: float | None, metric: Metric) -> float | None:
    return None if value is None else in_unit(value, metric)


def _axis(metric: Metric) -> str:
    """The axis of a difference: points of a percentage, else the metric's own unit."""
    if metric.percent:
        return f"difference in {metric.title.lower()}, points"
    unit = f", {metric.unit}" if metric.unit else ""
    return f"difference in {metric.title}{unit}"
