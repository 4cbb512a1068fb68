"""A panel of runs made into a table: its columns, its cells and what stands beside them."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench import stats
from bench.protocols import PROTOCOLS
from bench.records import Run
from bench.report import captions
from bench.report.collect import END_TO_END, Panel, RowRuns, cell_runs, scores_of
from bench.report.gaps import gaps
from bench.report.judge import Entry, beaten_by_random, mark
from bench.report.model import Cell, CellState, Column, Cost, Row, Table
from bench.stats import SeedPair
from bench.studies import Table as PublishedTable


def default_rule(probe: Mapping[str, Any]) -> str:
    """The rule of a probe's protocol; a probe with a holdout knows only `val`."""
    if probe["probe"]["holdout"]:
        return "val"
    protocol = PROTOCOLS.get(probe["protocol"])
    return protocol.rule if protocol is not None and protocol.rule != "val" else "last"


def tabulate(panel: Panel, name: str, rule: str | None, published: PublishedTable | None) -> Table:
    """The table of a panel.

    Args:
        panel: runs of one data set under one setting.
        name: unique in the report.
        rule: how to select the epoch; None is the protocol's own rule.
        published: the paper's table to hold it against.
    """
    rule = rule or default_rule(panel.probe)
    columns = _columns(panel)
    pairs = sorted({pair for row in panel.rows.values() for _, pair in row.probes})
    entries = [Entry(_row(panel, row, columns, pairs, rule, published), row) for row in panel.rows.values()]
    rows = mark(entries, columns, rule)
    counts = [c.estimate.n for row in rows for c in row.cells if c.estimate is not None]
    usual = max(sorted(set(counts), reverse=True), key=counts.count, default=0)
    has_published = any(cell.published is not None for row in rows for cell in row.cells)
    warnings = tuple(beaten_by_random(entries, columns, rule))
    return Table(
        name=name,
        title=captions.title(panel),
        facts=captions.facts(panel, rule),
        caption=captions.caption(panel, rule, usual),
        legend=captions.legend(rows),
        dataset=str(panel.probe["dataset"]["name"]),
        rule=rule,
        protocol=panel.probe["protocol"],
        seeds=tuple(sorted({seed for seed, _ in pairs})),
        usual_n=usual,
        columns=columns,
        rows=tuple(rows),
        warnings=warnings,
        notes=captions.notes(panel, rows, rule, published if has_published else None, bool(warnings)),
        gaps=tuple(gaps(entries, columns, pairs, rule)),
    )


def _columns(panel: Panel) -> tuple[Column, ...]:
    points = {freeze for row in panel.rows.values() for freeze, _ in row.probes}
    if points - {END_TO_END}:
        points.discard(END_TO_END)
    ordered = sorted(points, key=lambda p: (captions.depth(p), p))
    return tuple(Column(point, captions.freeze_title(point)) for point in ordered)


def _cell(row: RowRuns, freeze: str, pairs: list[SeedPair], rule: str, published: float | None) -> Cell:
    runs = cell_runs(row, freeze)
    scores = scores_of(runs, rule)
    end_to_end = bool(runs) and all(point == END_TO_END for point, _ in row.probes)
    if not scores:
        return Cell("missing", published=published, end_to_end=end_to_end)
    last, best = scores_of(runs, "last"), scores_of(runs, "best-test")
    gains = {pair: best[pair] - last[pair] for pair in scores if pair in last and pair in best}
    state: CellState = "done" if set(pairs) <= scores.keys() else "partial"
    return Cell(
        state,
        estimate=stats.estimate(scores),
        optimism=stats.estimate(gains) if gains else None,
        published=published,
        end_to_end=end_to_end,
        seeds=tuple(sorted(scores)),
        runs=tuple(runs[pair].id for pair in sorted(scores)),
    )


def _row(
    panel: Panel,
    row: RowRuns,
    columns: tuple[Column, ...],
    pairs: list[SeedPair],
    rule: str,
    published: PublishedTable | None,
) -> Row:
    def paper(freeze: str) -> float | None:
        if published is None or row.variant:
            return None
        number = published.published(
            row.method,
            str(panel.probe["dataset"]["name"]),
            freeze,
            pretrain_on=str(row.pretrain["dataset"]["name"]),
            backbone=row.pretrain["backbone"],
        )
        return None if number is None else number / 100

    cells = tuple(_cell(row, c.freeze, pairs, rule, paper(c.freeze)) for c in columns)
    return Row(
        label=row.label,
        method=row.method,
        variant=row.variant,
        group=row.group,
        pretrained_on=str(row.pretrain["dataset"]["name"]),
        schedule=f"{row.pretrain['train']['epochs']}+{panel.probe['probe']['epochs']}",
        cells=cells,
        cost=_cost(row.pretrains.values()),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(v) for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _cost(pretrains: Iterable[Run]) -> Cost | None:
    results = [run.result for run in pretrains if run.result is not None and run.result.get("steps")]
    seconds = _mean(result.get("seconds") for result in results)
    if seconds is None:
        return None
    return Cost(seconds, _mean(result.get("images_per_second") for result in results))
