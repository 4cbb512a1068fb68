"""What a column says: which rows cannot be told from its best, how they stand to a baseline and to no training."""

import dataclasses
from collections.abc import Iterable, Sequence

from bench import stats
from bench.report import captions
from bench.report.captions import Behind
from bench.report.model import Against, Row
from bench.report.panel import cell_runs, scores_of
from bench.report.predictions import Predictions
from bench.report.sheets import Sheet
from bench.stats import Correct, Scores

ALPHA = 0.05


def column_scores(sheet: Sheet, row: int, column: int) -> Scores:
    """The numbers of a row in a column, by seeds."""
    runs, about = sheet.runs(sheet.rows[row], column), sheet.columns[column]
    if runs is None:
        return {}
    return scores_of(cell_runs(runs, about.freeze, about.unit), about.rule, about.unit)


def column_correct(sheet: Sheet, row: int, column: int, predictions: Predictions) -> Correct | None:
    """Which test images the probes of a row in a column got right."""
    runs, about = sheet.runs(sheet.rows[row], column), sheet.columns[column]
    if runs is None or not about.unit.probed:
        return None
    return predictions.correct(cell_runs(runs, about.freeze, about.unit), about.rule, about.unit)


def mark(sheet: Sheet, rows: Sequence[Row]) -> list[Row]:
    """The rows with each cell's standing among the methods that learn without labels, column by column."""
    cells = [list(row.cells) for row in rows]
    for j, column in enumerate(sheet.columns):
        better = column.unit.higher_is_better
        if better is None:
            continue
        scores = {
            str(i): {pair: value if better else -value for pair, value in column_scores(sheet, i, j).items()}
            for i, row in enumerate(rows)
            if row.group == "methods" and row.cells[j].estimate is not None
        }
        for i, verdict in stats.compare_to_best(scores, ALPHA).items():
            cell = cells[int(i)][j]
            cells[int(i)][j] = dataclasses.replace(cell, standing=verdict.standing, p=verdict.p)
    return [dataclasses.replace(row, cells=tuple(own)) for row, own in zip(rows, cells, strict=True)]


def against_baseline(sheet: Sheet, rows: Sequence[Row], baseline: int, predictions: Predictions) -> list[Row]:
    """The rows with each cell's difference from the baseline's, Holm over the table."""
    columns = range(len(sheet.columns))
    scores = {str(j): {str(i): column_scores(sheet, i, j) for i in range(len(rows))} for j in columns}
    correct = {
        str(j): {str(i): column_correct(sheet, i, j, predictions) for i in range(len(rows))} for j in columns
    }
    found = stats.against_baseline(scores, str(baseline), correct, ALPHA)
    return [
        dataclasses.replace(
            row,
            cells=tuple(
                dataclasses.replace(cell, against=_against(found[str(j)].get(str(i))))
                for j, cell in enumerate(row.cells)
            ),
        )
        for i, row in enumerate(rows)
    ]


def _against(difference: stats.BaselineDifference | None) -> Against | None:
    if difference is None:
        return None
    d = difference
    return Against(d.difference, d.half, d.p_adjusted, d.by_image, d.n, d.split, d.seeds_needed, d.level)


def beaten_by_random(sheet: Sheet, rows: Sequence[Row], predictions: Predictions) -> Iterable[str]:
    """The trained rows that the untrained backbone beats, a line for each column of accuracies.

    It is a claim about methods, so the interval allows for other seeds and for other test images (for seeds
    alone where a run left no predictions). Holm runs over all trained rows of the column; a row that is not
    behind needs no test and counts with p = 1.
    """
    control = next((i for i, row in enumerate(rows) if row.method == "random"), None)
    if control is None:
        return
    for j, column in enumerate(sheet.columns):
        floor = rows[control].cells[j].estimate
        if floor is None or column.metric != "top1":
            continue
        trained = [i for i, r in enumerate(rows) if r.group != "controls" and r.cells[j].estimate is not None]
        behind: list[Behind] = []
        for i in trained:
            own = rows[i].cells[j].estimate
            if own is None or own.mean >= floor.mean:
                continue
            pair = stats.Pair(
                column_scores(sheet, control, j),
                column_scores(sheet, i, j),
                column_correct(sheet, control, j, predictions),
                column_correct(sheet, i, j, predictions),
            )
            d = stats.measure([pair])
            if d is not None and d.half is not None and (p := d.p_value()) is not None:
                behind.append(Behind(rows[i].label, d.difference, d.half, p, d.by_image))
        adjusted = stats.holm([b.p for b in behind] + [1.0] * (len(trained) - len(behind)))
        worse = [b._replace(p=p) for b, p in zip(behind, adjusted, strict=False) if p < ALPHA]
        if worse := [b for b in worse if b.difference > 0]:
            where = (
                column.title
                if len({c.group for c in sheet.columns}) == 1
                else f"{column.group}, {column.title}"
            )
            yield captions.beaten(where, worse)
