"""A report as CSV: one line for each table, row and column, in the printed unit.

The shares are of the variance of the difference from the baseline; where each pretraining has one probe, that of the
pretraining seed is of both seeds and that of the probe seed is empty.
"""

import csv
import io

from bench.report.layout import in_unit
from bench.report.model import Cell, Column, Report, Row, Table
from bench.report.variance import seeds_text

FIELDS: tuple[str, ...] = (
    "table", "number", "dataset", "protocol", "rule", "backbone", "pretrained_on", "schedule", "method", "variant",
    "label", "group", "freeze", "metric", "state", "n", "value", "half_width", "sd", "standing", "p_against_best",
    "baseline", "against_baseline", "against_half_width", "p_against_baseline", "pretrain_seed_share",
    "probe_seed_share", "test_image_share", "rest_share", "seeds_needed", "best_test_minus_last", "paper",
    "difference", "pretrain_seconds", "images_per_second", "seeds", "values", "runs",
)  # fmt: skip


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _line(table: Table, row: Row, column: Column, cell: Cell) -> dict[str, str]:
    facts = dict(table.facts)
    e, cost, against = cell.estimate, row.costs.get(column.dataset), cell.against
    split = against.split if against else None

    def scaled(value: float | None) -> str:
        return _plain(None if value is None else in_unit(value, column.unit))

    return {
        "table": table.name,
        "number": table.number,
        "dataset": column.dataset,
        "protocol": table.protocol,
        "rule": column.rule,
        "backbone": facts["Backbone"],
        "pretrained_on": row.pretrained_on,
        "schedule": facts.get("Schedule") or facts.get(f"Schedule, {column.group}", ""),
        "method": row.method,
        "variant": row.variant,
        "label": row.label,
        "group": row.group,
        "freeze": "none" if cell.end_to_end else column.freeze or "",
        "metric": column.metric,
        "state": cell.state,
        "n": str(e.n if e else 0),
        "value": scaled(e.mean if e else None),
        "half_width": scaled(e.half if e else None),
        "sd": scaled(e.sd if e else None),
        "standing": cell.standing or "",
        "p_against_best": "" if cell.p is None else f"{cell.p:.6g}",
        "baseline": table.baseline if against else "",
        "against_baseline": scaled(against.difference if against else None),
        "against_half_width": scaled(against.half if against else None),
        "p_against_baseline": "" if against is None or against.p is None else f"{against.p:.6g}",
        "pretrain_seed_share": _plain(split.pretrain_seed if split else None),
        "probe_seed_share": _plain(split.probe_seed if split else None),
        "test_image_share": _plain(split.test_images if split else None),
        "rest_share": _plain(split.rest if split else None),
        "seeds_needed": seeds_text(against).replace("no number", "none").replace(",", "") if against else "",
        "best_test_minus_last": scaled(cell.optimism.mean if cell.optimism else None),
        "paper": scaled(cell.published),
        "difference": "" if column.incomparable else scaled(cell.difference),
        "pretrain_seconds": _plain(cost.seconds if cost else None),
        "images_per_second": _plain(cost.images_per_second if cost else None),
        "seeds": " ".join(f"{a}/{b}" for a, b in cell.seeds),
        "values": " ".join(f"{in_unit(value, column.unit):.6g}" for value in cell.values),
        "runs": " ".join(cell.runs),
    }


def render(report: Report) -> str:
    """The whole report; seeds are pretraining seed/probe seed, values in their order."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in report.tables:
        for row in table.rows:
            seen: set[str] = set()
            for column, cell in zip(table.columns, row.cells, strict=True):
                # An end-to-end row has one number a data set and metric.
                key = f"{column.dataset} {column.metric}"
                if not cell.end_to_end or key not in seen:
                    writer.writerow(_line(table, row, column, cell))
                seen.add(key)
    return out.getvalue()
