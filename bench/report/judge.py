"""What a column says: which rows cannot be told from its best, and which the untrained backbone beats."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bench import stats
from bench.records import Run
from bench.report import captions
from bench.report.captions import Behind
from bench.report.collect import RowRuns, cell_runs, scores_of, top1
from bench.report.model import Column, Row
from bench.stats import SeedPair

ALPHA = 0.05


class Entry(NamedTuple):
    """A row and the runs that it is made of."""

    row: Row
    runs: RowRuns


def mark(entries: Sequence[Entry], columns: Sequence[Column], rule: str) -> list[Row]:
    """The rows with each cell's standing among the methods that learn without labels, column by column."""
    cells = [list(entry.row.cells) for entry in entries]
    for i, column in enumerate(columns):
        scores = {
            str(k): scores_of(cell_runs(entry.runs, column.freeze), rule)
            for k, entry in enumerate(entries)
            if entry.row.group == "methods" and entry.row.cells[i].estimate is not None
        }
        for k, verdict in stats.compare_to_best(scores, ALPHA).items():
            cell = cells[int(k)][i]
            cells[int(k)][i] = dataclasses.replace(cell, standing=verdict.standing, p=verdict.p)
    return [dataclasses.replace(e.row, cells=tuple(c)) for e, c in zip(entries, cells, strict=True)]


def beaten_by_random(entries: Sequence[Entry], columns: Sequence[Column], rule: str) -> Iterable[str]:
    """The trained rows that the untrained backbone beats, a line for each freeze point.

    It is a claim about methods, so the interval allows for other seeds and for other test images (for seeds
    alone where a run left no predictions). Holm runs over all trained rows of the column; a row that is not
    behind needs no test and counts with p = 1.
    """
    control = next((entry for entry in entries if entry.row.method == "random"), None)
    if control is None:
        return
    for i, column in enumerate(columns):
        floor = control.row.cells[i].estimate
        trained = [e for e in entries if e.row.group != "controls" and e.row.cells[i].estimate is not None]
        behind: list[Behind] = []
        cache: dict[str, np.ndarray | None] = {}
        for entry in trained:
            own = entry.row.cells[i].estimate
            if floor is None or own is None or own.mean >= floor.mean:
                continue
            verdict = _compare(control.runs, entry, column.freeze, rule, cache)
            if verdict is not None:
                behind.append(verdict)
        adjusted = stats.holm([b.p for b in behind] + [1.0] * (len(trained) - len(behind)))
        worse = [b._replace(p=p) for b, p in zip(behind, adjusted, strict=False) if p < ALPHA]
        if worse := [b for b in worse if b.difference > 0]:
            yield captions.beaten(column.title, worse)


def _compare(
    control: RowRuns, entry: Entry, freeze: str, rule: str, cache: dict[str, np.ndarray | None]
) -> Behind | None:
    mine, theirs = cell_runs(control, freeze), cell_runs(entry.runs, freeze)
    a, b = (_correct(runs, rule, cache) for runs in (mine, theirs))
    if a is not None and b is not None and _same_images(a, b):
        c = stats.claim(a, b)
        return None if c is None else Behind(entry.row.label, c.difference, c.half, c.p, True)
    d = stats.paired_difference(scores_of(mine, rule), scores_of(theirs, rule))
    if d is None or d.p is None or d.estimate.half is None:
        return None
    return Behind(entry.row.label, d.estimate.mean, d.estimate.half, d.p, False)


def _same_images(*groups: Mapping[SeedPair, np.ndarray]) -> bool:
    return len({array.shape for group in groups for array in group.values()}) == 1


def _correct(
    runs: Mapping[SeedPair, Run], rule: str, cache: dict[str, np.ndarray | None]
) -> dict[SeedPair, np.ndarray] | None:
    """Which test images each probe got right: bool [n_test]; None where any left no predictions."""
    found = {}
    name = "top5_" + rule.replace("-", "_")
    for pair, run in runs.items():
        if top1(run, rule) is None:
            continue
        if run.id not in cache:
            arrays = run.predictions() or {}
            known = name in arrays and "labels" in arrays
            cache[run.id] = arrays[name][:, 0] == arrays["labels"] if known else None
        correct = cache[run.id]
        if correct is None:
            return None
        found[pair] = correct
    return found
