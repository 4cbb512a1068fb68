"""What a cell shows when it is opened, as JSON that a page holds once and draws when it is asked."""

import base64
import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.report.drawing import consecutive, finite
from bench.report.findings import p_text
from bench.report.layout import AGREE, MINUS, half_width, number, signed
from bench.report.model import Cell, Column, Confusion, Report, RunDetail, Table
from bench.report.variance import cell_facts, difference_text, unit_text
from bench.report.words import seed_text, seeds_named
from bench.stats import SeedPair

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
        runs: {run id: [values, facts]}.
        curves: {run id: [label, x, y]}.
        confusions: {"table:row:column": [classes, pairs]}.
        pictures: {"table:row:column": PNG in base 64}.
        left_out: what did not fit, in a sentence; "" where all did.
    """

    cells: Mapping[str, str] = field(default_factory=dict)
    runs: str = "{}"
    curves: str = "{}"
    confusions: str = "{}"
    pictures: str = "{}"
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
    runs = as_json({id_: [run.values, run.facts] for id_, run in details.items()})
    confusions = as_json(
        {":".join(map(str, place)): [c.classes, c.pairs] for place, c in report.confusions.items()}
    )
    room -= sum(len(text.encode()) for text in (*cells.values(), runs, confusions))
    curves, room, no_curves = _fitting(((id_, _curve(run)) for id_, run in details.items()), room)
    pictures, _, no_pictures = _fitting(
        ((":".join(map(str, place)), _picture(found)) for place, found in report.confusions.items()), room
    )
    return Opened(cells, runs, curves, confusions, pictures, _left_out(no_curves, no_pictures))


def _fitting(entries: Iterable[tuple[str, str]], room: int) -> tuple[str, int, int]:
    """A JSON object of as many values (JSON already, "" for none) as fit, the room left, how many did not fit."""
    parts, dropped = [], 0
    for name, value in entries:
        entry = f"{as_json(name)}:{value}"
        if value and room > (size := len(entry.encode())):
            parts.append(entry)
            room -= size + 1
        elif value:
            room, dropped = 0, dropped + 1
    return f"{{{','.join(parts)}}}", room, dropped


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
    half = f" ± {half_width(e.half, metric)}" if e.half is not None else f" ({AGREE})" if e.agree else ""
    known: dict[str, Any] = {
        "at": column.title if len(table.groups) < 2 else f"{column.group}, {column.title}",
        "value": number(e.mean, metric) + (unit + half if e.agree else half + unit),
        "facts": _facts(table, cell, column),
        "seeds": [
            [seed, number(value, metric), id_]
            for seed, value, id_ in zip(_seeds(cell.seeds), cell.values, cell.runs, strict=False)
        ],
    }
    if e.half is not None:
        known["interval"] = [_plain(number(e.low, metric)), _plain(number(e.high, metric))]
    if cell.published is not None and not column.incomparable:
        known["paper"] = _plain(number(cell.published, metric))
    return known


@functools.lru_cache(maxsize=1024)
def _seeds(pairs: tuple[SeedPair, ...]) -> tuple[str, ...]:
    return tuple(seeds_named(seed_text([pair], pairs)) for pair in pairs)


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
    elif e.agree:
        facts.append(
            ["Interval", f"none: all {e.n} seeds gave this number, so nothing is known of their spread"]
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
        text = difference_text(a.difference, a.half, a.n, metric)
        sure = [p_text(a.p)] if a.p is not None else []
        sure.append("other seeds and test images" if a.by_image else "other seeds alone")
        facts.append([f"Against {table.baseline}", f"{text} ({', '.join(sure)})"])
        facts += cell_facts(a, table.baseline)
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


def _curve(run: RunDetail) -> str:
    """[label, x or the first of consecutive whole x, y] as JSON; a page holds ten thousand of them."""
    line = run.curve
    if line is None:
        return ""
    xs, ys = finite(line)
    if not xs:
        return ""
    x = f"{xs[0]:.0f}" if consecutive(xs) else f"[{','.join(['%.6g'] * len(xs)) % xs}]"
    return f"[{as_json(line.label)},{x},[{','.join(['%.4g'] * len(ys)) % ys}]]"


def _picture(confusion: Confusion) -> str:
    return "" if confusion.png is None else f'"{base64.b64encode(confusion.png).decode()}"'
