"""Learning curves: what pretraining minimises, and how the probes' accuracy grows."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.report.epochs import curve
from bench.report.figures.rows import DatasetRows
from bench.report.model import Chart, Figure, Line
from bench.report.panel import END_TO_END, RowRuns, depth, freeze_title
from bench.report.words import count

# Single runs drawn of a row in one chart: beyond, nobody tells one from another, and the page grows.
MOST_LINES = 12


def losses(rows: DatasetRows) -> Figure | None:
    """Pretraining loss by epoch: a chart a row (their scales do not compare), a line a seed."""
    charts, most = [], 0
    for number, row in rows.rows.items():
        lines = []
        for seed, run in sorted(row.pretrains.items())[:MOST_LINES]:
            if line := _line(run.metrics(), "loss", (row.label, f"seed {seed}", number)):
                lines.append(line)
        most = max(most, len(row.pretrains))
        if lines:
            charts.append(Chart(row.label, "epoch", "loss", tuple(lines)))
    if not charts:
        return None
    caption = (
        f"Pretraining on {rows.where}: the loss that a method minimises, mean over the images of an epoch; a chart a"
        " method, a line a seed. Methods sum different terms, so only lines of one chart compare."
    )
    return Figure(
        f"{rows.name}-losses",
        f"Pretraining loss, {rows.title}",
        caption + _left_out(most),
        tuple(charts),
        keys=rows.keys,
    )


def accuracies(rows: DatasetRows) -> Figure | None:
    """Test accuracy in percent by probe epoch: a chart a freeze point, a line a probe and one for their mean."""
    points = {point for row in rows.rows.values() for point, _ in row.probes}
    if points - {END_TO_END}:
        points.discard(END_TO_END)
    charts, most = [], 0
    for freeze in sorted(points, key=lambda point: (depth(point), point)):
        lines: list[Line] = []
        for number, row in rows.rows.items():
            found = _probe_lines(number, row, freeze)
            most = max(most, len(found))
            lines += found[:MOST_LINES]
            if mean := _mean(found):
                lines.append(mean)
        if lines:
            charts.append(Chart(freeze_title(freeze), "probe epoch", "test top-1, %", tuple(lines)))
    if not charts:
        return None
    caption = (
        f"Probing on {rows.where}: top-1 accuracy (%) on the test images after each epoch of the probe; a chart a"
        " freeze point, a thin line a probe, a thick one their mean. A method that nothing is frozen of is the same"
        " in every chart. The table's numbers are of one epoch of these, chosen by its rule."
    )
    return Figure(
        f"{rows.name}-accuracies",
        f"Probe accuracy by epoch, {rows.title}",
        caption + _left_out(most),
        tuple(charts),
        keys=rows.keys,
    )


def _left_out(most: int) -> str:
    if most <= MOST_LINES:
        return ""
    return f" Of {count(most, 'run')} of a row the first {MOST_LINES} are drawn; means are over all."


def _probe_lines(number: int, row: RowRuns, freeze: str) -> list[Line]:
    lines = []
    for (point, (seed, probe_seed)), run in sorted(row.probes.items()):
        if point in (freeze, END_TO_END) and run.result is not None:
            name = f"seed {seed}" if seed == probe_seed else f"seeds {seed}/{probe_seed}"
            epochs = run.result.get("epochs") or []
            if line := _line(epochs, "test_top1", (row.label, name, number), scale=100.0):
                lines.append(line)
    return lines


def _mean(lines: Sequence[Line]) -> Line | None:
    """Over lines that have the same epochs; others have no mean."""
    if len(lines) < 2 or len({line.xs for line in lines}) > 1:
        return None
    ys = tuple(math.fsum(values) / len(lines) for values in zip(*(line.ys for line in lines), strict=True))
    return Line(lines[0].label, f"mean of {len(lines)}", True, lines[0].colour, lines[0].xs, ys)


def _line(
    rows: Sequence[Mapping[str, Any]], key: str, names: tuple[str, str, int], scale: float = 1.0
) -> Line | None:
    """A curve by epoch; None where nothing was written down."""
    label, seed, colour = names
    found = curve(rows, key, scale)
    return Line(label, seed, False, colour, *found) if found else None
