"""Two reports side by side: before and after a change, or two labs. B less A, cell by cell."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench import stats
from bench.report.model import Cell, Column, Report, Source
from bench.stats import Scores
from bench.stats.marking import holm_of_tested

ALPHA = 0.05

# In the order in which a reader wants to know of them; what is identical is only counted.
STATES = {
    "differs": f"beyond what chance explains, p < {ALPHA}",
    "only in A": "",
    "only in B": "",
    "cannot be told": "too few seeds, or none of them varies",
    "not told apart": "which does not make them equal",
    "other runs, same numbers": "other ids, and the same numbers to the last bit",
    "identical": "the same runs and numbers, to the last bit",
}


@dataclass(frozen=True)
class Key:
    """What two cells must have in common to be the same question."""

    dataset: str
    protocol: str
    rule: str
    backbone: str
    schedule: str
    changed: str
    label: str
    freeze: str
    metric: str


@dataclass(frozen=True)
class Compared:
    """One cell in both reports.

    Attributes:
        key: what it is of.
        a: mean in A, in the unit of the records; None where A lacks it.
        b: mean in B.
        n: pretraining seeds in A and in B.
        difference: b - a.
        half: half width of its interval; None where there is none.
        p: Holm over the comparison; None where it cannot be told.
        paired: over the seeds that both have; else Welch's interval of two samples.
        same: numbers of the same seeds, to the last bit.
        same_runs: by their ids, which say how a run is made.
    """

    key: Key
    a: float | None
    b: float | None
    n: tuple[int, int]
    difference: float | None = None
    half: float | None = None
    p: float | None = None
    paired: bool = False
    same: bool = False
    same_runs: bool = False

    @property
    def state(self) -> str:
        """One of `STATES`."""
        if self.a is None or self.b is None:
            return "only in B" if self.a is None else "only in A"
        if self.same:
            return "identical" if self.same_runs else "other runs, same numbers"
        if self.p is None:
            return "cannot be told"
        return "differs" if self.p < ALPHA else "not told apart"


@dataclass(frozen=True)
class Comparison:
    """Two reports, cell by cell.

    Attributes:
        names: of A and of B.
        sources: of A and of B.
        cells: in the order of A, then what only B has.
        done: runs of A and of B that are done, and runs of any state.
        problems: of A and of B: files that could not be read.
    """

    names: tuple[str, str]
    sources: tuple[tuple[Source, ...], tuple[Source, ...]]
    cells: tuple[Compared, ...]
    done: tuple[tuple[int, int], tuple[int, int]]
    problems: tuple[tuple[str, ...], tuple[str, ...]]


def cells_of(report: Report) -> dict[Key, tuple[Column, Cell]]:
    """Every cell with a number; one that several tables show is there once."""
    found: dict[Key, tuple[Column, Cell]] = {}
    for table in report.tables:
        facts = dict(table.facts)
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                if cell.estimate is None:
                    continue
                key = Key(
                    column.dataset,
                    table.protocol,
                    column.rule,
                    facts["Backbone"],
                    facts.get("Schedule") or facts.get(f"Schedule, {column.group}", ""),
                    facts.get("Settings changed", ""),
                    # The same method has a name of its own in an ablation's table.
                    row.method + (f" [{row.variant}]" if row.variant else "")
                    if not table.number or table.number == "1"
                    else f"{row.label} (Table {table.number})",
                    "none" if cell.end_to_end else column.freeze or "",
                    column.metric,
                )
                found.setdefault(key, (column, cell))
    return found


def compare(a: Report, b: Report, names: tuple[str, str] = ("A", "B")) -> Comparison:
    """Hold two reports against each other, cell by cell.

    Where seeds are shared the difference is paired by them, else it is that of two samples (Welch). Holm's
    correction runs over all cells that can be tested and are not identical.
    """
    left, right = cells_of(a), cells_of(b)
    found = [_compared(key, left.get(key), right.get(key)) for key in dict.fromkeys([*left, *right])]
    adjusted = holm_of_tested([None if one.same else one.p for one in found])
    cells = tuple(replace(one, p=p) for one, p in zip(found, adjusted, strict=True))
    done = (a.done, a.total), (b.done, b.total)
    return Comparison(names, (a.sources, b.sources), cells, done, (a.problems, b.problems))


def _scores(cell: Cell) -> Scores:
    return dict(zip(cell.seeds, cell.values, strict=True))


def _compared(key: Key, a: tuple[Column, Cell] | None, b: tuple[Column, Cell] | None) -> Compared:
    cells = [None if one is None else one[1] for one in (a, b)]
    means = [None if c is None or c.estimate is None else c.estimate.mean for c in cells]
    n = tuple(0 if c is None or c.estimate is None else c.estimate.n for c in cells)
    one = Compared(key, means[0], means[1], (n[0], n[1]))
    left, right = cells
    if left is None or right is None:
        return one
    one = replace(
        one,
        same=left.seeds == right.seeds and left.values == right.values,
        same_runs=bool(left.runs) and sorted(left.runs) == sorted(right.runs),
    )
    pair = stats.measure([stats.Pair(_scores(right), _scores(left))])
    if pair is not None:
        p = pair.p_value()
        return replace(one, difference=pair.difference, half=pair.half, p=p, paired=True)
    return replace(one, **_welch(_scores(left), _scores(right)))


def _welch(a: Scores, b: Scores) -> Mapping[str, float | None]:
    """Difference of two samples of seeds with Welch's interval; no interval where a sample has one seed."""
    x, y = (list(stats.by_pretrain_seed(scores).values()) for scores in (a, b))
    means = [math.fsum(values) / len(values) for values in (x, y)]
    difference = means[1] - means[0]
    if min(len(x), len(y)) < 2 or all(stats.t_interval(own).agree for own in (x, y)):
        return {"difference": difference}
    from scipy.stats import ttest_ind

    test: Any = ttest_ind(y, x, equal_var=False)
    if not math.isfinite(test.pvalue):
        return {"difference": difference}
    low, high = test.confidence_interval(1 - ALPHA)
    return {"difference": difference, "half": float(high - low) / 2, "p": float(test.pvalue)}
