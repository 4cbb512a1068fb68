"""A sheet of runs made into a table: its cells with their intervals, and what stands beside them."""

import dataclasses
from collections.abc import Iterable, Mapping

from bench import stats
from bench.records import Run
from bench.report import captions
from bench.report.baseline import baseline_row
from bench.report.gaps import gaps
from bench.report.judge import against_baseline, beaten_by_random, mark
from bench.report.model import Cell, CellState, Column, Cost, Row, Table
from bench.report.overlaps import MARK, is_marked
from bench.report.panel import END_TO_END, cell_runs, scores_of
from bench.report.predictions import Predictions
from bench.report.sheets import Sheet, SheetRow
from bench.stats import SeedPair


def tabulate(sheet: Sheet, name: str, predictions: Predictions, baseline: str | None = None) -> Table:
    """The table of a sheet.

    Args:
        sheet: rows, columns and the runs behind them.
        name: unique in the report.
        predictions: which test images each probe got right.
        baseline: name of a method, or label of a row, that all others are compared with.
    """
    pairs = expected_pairs(sheet)
    rows = [_row(sheet, row, pairs) for row in sheet.rows]
    rows = mark(sheet, rows)
    base = baseline_row(sheet, baseline)
    if base is not None:
        rows = against_baseline(sheet, rows, base, predictions)
    counts = [c.estimate.n for row in rows for c in row.cells if c.estimate is not None]
    usual = max(sorted(set(counts), reverse=True), key=counts.count, default=0)
    warnings = tuple(beaten_by_random(sheet, rows, predictions))
    return Table(
        name=name,
        number=sheet.table.name if sheet.table else "",
        title=captions.title(sheet),
        facts=captions.facts(sheet, pairs),
        caption=captions.caption(sheet, usual),
        legend=captions.legend(rows, sheet.columns),
        protocol=sheet.panels[0].protocol,
        seeds=tuple(sorted({seed for seed, _ in pairs})),
        usual_n=usual,
        baseline="" if base is None else row_label(sheet, sheet.rows[base]),
        columns=sheet.columns,
        rows=tuple(rows),
        warnings=warnings,
        notes=captions.notes(sheet, rows, bool(warnings)),
        gaps=tuple(gaps(sheet, rows, pairs)),
    )


def expected_pairs(sheet: Sheet) -> list[SeedPair]:
    """The pairs of seeds that any run of a sheet has, which is what every cell should have."""
    found: set[SeedPair] = set()
    for row in sheet.rows:
        for runs in row.runs.values():
            found |= {pair for _, pair in runs.probes}
    if found:
        return sorted(found)
    seeds = {seed for row in sheet.rows for runs in row.runs.values() for _, seed in runs.evaluations}
    return sorted((seed, seed) for seed in seeds)


def _cell(column: Column, runs: Mapping[SeedPair, Run], pairs: list[SeedPair]) -> Cell:
    metric = column.unit
    scores = scores_of(runs, column.rule, metric)
    if not scores:
        return Cell("missing")
    estimate = stats.estimate(scores)
    optimism = wilson = None
    if metric.probed:
        last, best = (scores_of(runs, rule, metric) for rule in ("last", "best-test"))
        gains = {pair: best[pair] - last[pair] for pair in scores if pair in last and pair in best}
        optimism = stats.estimate(gains) if gains else None
        if len(set(scores.values())) == 1 and (len(scores) == 1 or estimate.agree):
            pair = min(scores)
            total = int((runs[pair].result or {}).get("n_test") or 0)
            wilson = stats.wilson(round(scores[pair] * total), total) if total else None
    wanted = pairs if metric.probed else [(seed, seed) for seed in dict.fromkeys(seed for seed, _ in pairs)]
    state: CellState = "done" if set(wanted) <= scores.keys() else "partial"
    return Cell(
        state,
        estimate=estimate,
        values=tuple(scores[pair] for pair in sorted(scores)),
        wilson=wilson,
        optimism=optimism,
        seeds=tuple(sorted(scores)),
        runs=tuple(runs[pair].id for pair in sorted(scores)),
    )


def row_label(sheet: Sheet, row: SheetRow) -> str:
    """A row's name, marked where its features may have learned from what is tested."""
    marked = any(is_marked(runs.pretrain, sheet.panels[i].dataset) for i, runs in row.runs.items())
    return row.label + MARK if marked else row.label


def _row(sheet: Sheet, row: SheetRow, pairs: list[SeedPair]) -> Row:
    cells = []
    for j, column in enumerate(sheet.columns):
        behind = sheet.runs(row, j)
        runs = cell_runs(behind, column.freeze, column.unit) if behind is not None else {}
        cell = _cell(column, runs, pairs)
        printed = row.published.get(j)
        ends = behind is not None and bool(behind.probes) and column.unit.probed
        changes = {
            "published": None if printed is None else printed / (100 if column.unit.percent else 1),
            "end_to_end": ends and all(point == END_TO_END for point, _ in behind.probes)
            if behind
            else False,
            "why": captions.why_missing(column) if cell.estimate is None else "",
        }
        cells.append(dataclasses.replace(cell, **changes))  # pyright: ignore[reportArgumentType]
    return Row(
        label=row_label(sheet, row),
        method=row.method,
        variant=row.variant,
        group=row.group,
        pretrained_on=row.pretrained_on,
        cells=tuple(cells),
        costs={
            sheet.panels[i].name: cost
            for i, runs in sorted(row.runs.items())
            if (cost := _cost(runs.pretrains.values())) is not None
        },
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(v) for v in values if isinstance(v, int | float)]
    return sum(known) / len(known) if known else None


def _cost(pretrains: Iterable[Run]) -> Cost | None:
    results = [run.result for run in pretrains if run.result is not None and run.result.get("steps")]
    seconds = _mean(result.get("seconds") for result in results)
    if seconds is None:
        return None
    return Cost(seconds, _mean(result.get("images_per_second") for result in results))
