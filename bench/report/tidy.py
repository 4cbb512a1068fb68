"""A report as CSV: one line for each data set, setting, method and freeze point, accuracies in percent."""

import csv
import io

from bench.report.collect import END_TO_END
from bench.report.model import Cell, Report, Row, Table

FIELDS: tuple[str, ...] = (
    "table", "dataset", "protocol", "rule", "backbone", "pretrained_on", "schedule", "method", "variant",
    "label", "group", "freeze", "state", "n", "top1", "half_width", "sd", "standing", "p_against_best",
    "best_test_minus_last", "paper", "difference", "pretrain_seconds", "images_per_second", "seeds", "runs",
)  # fmt: skip


def _number(value: float | None, scale: float = 100.0) -> str:
    return "" if value is None else f"{scale * value:.4f}"


def _line(table: Table, row: Row, freeze: str, cell: Cell) -> dict[str, str]:
    facts = dict(table.facts)
    e = cell.estimate
    return {
        "table": table.name,
        "dataset": table.dataset,
        "protocol": table.protocol,
        "rule": table.rule,
        "backbone": facts["Backbone"],
        "pretrained_on": row.pretrained_on,
        "schedule": row.schedule,
        "method": row.method,
        "variant": row.variant,
        "label": row.label,
        "group": row.group,
        "freeze": freeze,
        "state": cell.state,
        "n": str(e.n if e else 0),
        "top1": _number(e.mean if e else None),
        "half_width": _number(e.half if e else None),
        "sd": _number(e.sd if e else None),
        "standing": cell.standing or "",
        "p_against_best": "" if cell.p is None else f"{cell.p:.6g}",
        "best_test_minus_last": _number(cell.optimism.mean if cell.optimism else None),
        "paper": _number(cell.published),
        "difference": _number(cell.difference),
        "pretrain_seconds": _number(row.cost.seconds if row.cost else None, 1.0),
        "images_per_second": _number(row.cost.images_per_second if row.cost else None, 1.0),
        "seeds": " ".join(f"{a}/{b}" for a, b in cell.seeds),
        "runs": " ".join(cell.runs),
    }


def render(report: Report) -> str:
    """The whole report; seeds are pretraining seed/probe seed."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for table in report.tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                writer.writerow(_line(table, row, END_TO_END if cell.end_to_end else column.freeze, cell))
                if cell.end_to_end:
                    break
    return out.getvalue()
