"""What a cell shows when it is opened, as JSON that a page holds once and draws when it is asked."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.report.findings import p_text, unit_text
from bench.report.layout import MINUS, number, signed
from bench.report.model import Cell, Column, Confusion, Report, RunDetail, Table
from bench.report.words import seed_text, seeds_named

STANDINGS = {
    "best": "best of its column",
    "tied": "cannot be told from the best",
    "below": "below the best",
    "unknown": "cannot be ranked: too few paired seeds, or differences without spread",
}


@dataclass(frozen=True)
class Opened:
    """JSON for a page.

    Attributes:
        cells: table name -> {"row:column": cell}.
        runs: {run id: run}.
        confusions: {"table:row:column": confusion}.
        left_out: what did not fit, in a sentence; "" where all did.
    """

    cells: Mapping[str, str] = field(default_factory=dict)
    runs: str = "{}"
    confusions: str = "{}"
    left_out: str = ""


def as_json(value: Any) -> str:
    """Compact JSON that ends no script element and opens no comment in one."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def open_cells(report: Report, room: int) -> Opened:
    """All that fits into `room` bytes: cells and runs first, then curves, then pictures of confusions.

    Args:
        report: the report.
        room: bytes; what cells and runs take, they take.
    """
    cells = {table.name: as_json(_cells(table)) for table in report.tables}
    shown = {id_ for table in report.tables for row in table.rows for cell in row.cells for id_ in cell.runs}
    details = {id_: run for id_, run in report.details.items() if id_ in shown}
    mistakes = {":".join(map(str, place)): _mistakes(found) for place, found in report.confusions.items()}
    bare = {id_: _run(run) for id_, run in details.items()}
    runs, confusions = as_json(bare), as_json(mistakes)
    room -= sum(map(len, cells.values())) + len(runs) + len(confusions)
    curves = pictures = 0
    for id_, run in details.items():
        if run.curve is not None:
            curve = _curve(run)
            room -= 8 * len(curve["y"])
            if room < 0:
                curves += 1
            else:
                bare[id_]["curve"] = curve
    for place, found in report.confusions.items():
        if found.png is not None:
            room -= len(found.png) * 4 // 3
            if room < 0:
                pictures += 1
            else:
                mistakes[":".join(map(str, place))]["png"] = base64.b64encode(found.png).decode()
    return Opened(cells, as_json(bare), as_json(mistakes), _left_out(curves, pictures))


def _left_out(curves: int, pictures: int) -> str:
    parts = []
    if curves:
        parts.append(f"{curves:,} runs' curves")
    if pictures:
        parts.append(f"the confusion matrices of {pictures:,} cells (their commonest mistakes are listed)")
    return f"Left out of this page for its size: {' and '.join(parts)}." if parts else ""


def _cells(table: Table) -> dict[str, Any]:
    gaps: dict[tuple[str, str], list[str]] = {}
    for gap in table.gaps:
        detail = f" ({gap.detail})" if gap.detail else ""
        gaps.setdefault((gap.row, gap.column), []).append(f"{seeds_named(gap.seeds)}: {gap.state}{detail}")
    found = {}
    for i, row in enumerate(table.rows):
        for j, cell in enumerate(row.cells):
            if cell.estimate is not None:
                known = _cell(table, cell, table.columns[j])
                missing = gaps.get((row.label, table.columns[j].title), []) + gaps.get((row.label, ""), [])
                if missing and cell.state == "partial":
                    known["gaps"] = missing
                found[f"{i}:{j}"] = known
    return found


def _cell(table: Table, cell: Cell, column: Column) -> dict[str, Any]:
    metric, e = column.unit, cell.estimate
    assert e is not None
    unit = f" {metric.unit}" if metric.unit else ""
    half = "" if e.half is None else f" ± {number(e.half, metric)}"
    known: dict[str, Any] = {
        "at": column.title if len(table.groups) < 2 else f"{column.group}, {column.title}",
        "value": number(e.mean, metric) + half + unit,
        "facts": _facts(table, cell, column),
        "seeds": [
            [seeds_named(seed_text([pair], cell.seeds)), number(value, metric), id_]
            for pair, value, id_ in zip(cell.seeds, cell.values, cell.runs, strict=False)
        ],
    }
    if e.half is not None:
        known["interval"] = [_plain(number(e.low, metric)), _plain(number(e.high, metric))]
    if cell.published is not None and not column.incomparable:
        known["paper"] = _plain(number(cell.published, metric))
    return known


def _plain(text: str) -> float:
    return float(text.replace(MINUS, "-"))


def _facts(table: Table, cell: Cell, column: Column) -> list[list[str]]:
    metric, e = column.unit, cell.estimate
    assert e is not None
    facts = []
    if e.half is not None:
        facts.append(
            ["95 % interval", f"{number(e.low, metric)} to {number(e.high, metric)}, n = {e.n} seeds"]
        )
    else:
        facts.append(["Interval", f"n = {e.n}: one seed has none"])
    if cell.wilson is not None:
        low, high = (number(value, metric) for value in cell.wilson)
        facts.append(["Wilson's interval", f"{low} to {high}, for other test images alone"])
    if cell.standing in STANDINGS:
        p = f" ({p_text(cell.p)})" if cell.p is not None else ""
        facts.append(["Standing", STANDINGS[cell.standing] + p])
    if cell.against is not None:
        a = cell.against
        half = "" if a.half is None else f" ± {number(a.half, metric)}"
        sure = [p_text(a.p)] if a.p is not None else []
        sure.append("other seeds and test images" if a.by_image else "other seeds alone")
        facts.append(
            [f"Against {table.baseline}", f"{signed(a.difference, metric)}{half} ({', '.join(sure)})"]
        )
    if cell.published is not None:
        delta = "" if cell.difference is None or column.incomparable else signed(cell.difference, metric)
        facts.append(
            ["Paper", number(cell.published, metric) + (f"; ours minus it {delta}" if delta else "")]
        )
        if column.incomparable:
            facts.append(["Not comparable", column.incomparable])
    if cell.optimism is not None:
        facts.append(
            [
                "Chosen on the test set",
                f"{signed(cell.optimism.mean, metric)}{unit_text(metric)} over the last epoch",
            ]
        )
    if cell.end_to_end:
        facts.append(["End to end", "nothing is frozen: the same value in every column of the data set"])
    return facts


def _run(run: RunDetail) -> dict[str, Any]:
    return {"label": run.label, "values": run.values, "facts": run.facts}


def _curve(run: RunDetail) -> dict[str, Any]:
    line = run.curve
    assert line is not None
    xs = [int(x) if x == int(x) else x for x in line.xs]
    consecutive = xs == list(range(xs[0], xs[0] + len(xs))) if xs and isinstance(xs[0], int) else False
    return {"label": line.label, "x": xs[0] if consecutive else xs, "y": [float(f"{y:.4g}") for y in line.ys]}


def _mistakes(confusion: Confusion) -> dict[str, Any]:
    return {"classes": confusion.classes, "pairs": confusion.pairs}
