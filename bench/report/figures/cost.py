"""Accuracy against what pretraining took."""

from collections.abc import Sequence

from bench.report.captions import device_name
from bench.report.figures.rows import TableRows
from bench.report.layout import in_unit
from bench.report.model import Figure, Point, Scatter
from bench.report.panel import RowRuns


def cost(behind: TableRows) -> Figure | None:
    """Top-1 accuracy against seconds of pretraining (logarithmic): a panel a column, a point a row."""
    table, panels, drawn = behind.table, [], set()
    for j, column in enumerate(table.columns):
        if column.metric != "top1":
            continue
        points = []
        for i, row in enumerate(table.rows):
            estimate, spent = row.cells[j].estimate, row.costs.get(column.dataset)
            if estimate is not None and spent is not None and spent.seconds > 0:
                half = None if estimate.half is None else in_unit(estimate.half, column.unit)
                mean = in_unit(estimate.mean, column.unit)
                points.append(Point(row.label, i, spent.seconds, mean, half))
                drawn.add(i)
        if points:
            title = f"{column.group}, {column.title}" if len(table.groups) > 1 else column.title
            panels.append(
                Scatter(title, "seconds of pretraining", f"{column.unit.title}, %", tuple(points), True)
            )
    if not panels:
        return None
    used = {column.dataset for column in table.columns if column.metric == "top1"}
    rows = [row for group in behind.datasets if group.dataset in used for row in group.rows.values()]
    free = [row.label for row in table.rows if not row.costs and any(cell.estimate for cell in row.cells)]
    caption = (
        f"{table.title}: top-1 accuracy (%) of the probes, mean and 95 % t interval over pretraining seeds, against"
        f" the seconds that a pretraining took, mean over seeds, on a logarithmic axis. {_devices(rows)}"
        " Up and to the left is better."
    )
    if free:
        caption += f" Without pretraining, hence without a point: {', '.join(free)}."
    keys = {i: row.label for i, row in enumerate(table.rows) if i in drawn}
    return Figure(
        f"{table.name}-cost", f"Accuracy against cost, {table.title}", caption, tuple(panels), keys=keys
    )


def _devices(rows: Sequence[RowRuns]) -> str:
    """What the times were taken on, and what that means for comparing them."""
    found: dict[str, set[str]] = {}
    for row in rows:
        for run in row.pretrains.values():
            if run.result is not None and run.result.get("steps"):
                found.setdefault(_machine(run.provenance), set()).add(row.label)
    if not found or set(found) == {""}:
        return "On which device is not recorded, so the times may not compare."
    if len(found) == 1:
        return f"All times were taken on {next(iter(found))}."
    each = (
        f"{name or 'an unrecorded device'} ({', '.join(sorted(labels))})"
        for name, labels in sorted(found.items())
    )
    return f"Times were taken on {'; '.join(each)}: times of different devices do not compare."


def _machine(provenance: dict) -> str:
    """A device with what a time on it depends on: its threads, and how many processes it had to serve at once."""
    name, threads = device_name(provenance.get("device")), provenance.get("threads")
    if not name or not isinstance(threads, int):
        return name
    workers = (provenance.get("jobs") or {}).get("workers") or 1
    beside = f", {workers} processes at once" if workers > 1 else ""
    return f"{name} with {threads} thread{'s' * (threads != 1)}{beside}"
