"""Two reports side by side: before and after a change, or two labs. B less A, cell by cell."""

import csv
import io
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from bench import stats
from bench.report.layout import GAP, in_unit, number
from bench.report.markdown import escape
from bench.report.model import Cell, Column, Report, Source
from bench.report.variance import difference_text
from bench.report.words import count
from bench.stats import Scores
from bench.stats.marking import holm_of_tested
from bench.studies.metrics import METRICS

ALPHA = 0.05


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
        same: to the last bit: the same runs and the same numbers.
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

    @property
    def state(self) -> str:
        """In words: "only in A", "only in B", "identical", "differs" (beyond what chance explains), "alike"."""
        if self.a is None or self.b is None:
            return "only in B" if self.a is None else "only in A"
        if self.same:
            return "identical"
        return "differs" if self.p is not None and self.p < ALPHA else "alike"


@dataclass(frozen=True)
class Comparison:
    """Two reports, cell by cell.

    Attributes:
        names: of A and of B.
        sources: of A and of B.
        cells: in the order of A, then what only B has.
    """

    names: tuple[str, str]
    sources: tuple[tuple[Source, ...], tuple[Source, ...]]
    cells: tuple[Compared, ...]


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
    return Comparison(names, (a.sources, b.sources), cells)


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
    same = left.runs == right.runs and left.values == right.values
    pair = stats.measure([stats.Pair(_scores(right), _scores(left))])
    if pair is not None:
        p = pair.p_value()
        return replace(one, difference=pair.difference, half=pair.half, p=p, paired=True, same=same)
    return replace(one, same=same, **_welch(_scores(left), _scores(right)))


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


def tally(comparison: Comparison) -> str:
    """How many cells are in which state."""
    counted = Counter(one.state for one in comparison.cells)
    order = ("identical", "alike", "differs", "only in A", "only in B")
    return ", ".join(f"{counted[state]} {state}" for state in order if counted[state]) or "no cells"


def texts(one: Compared) -> tuple[str, ...]:
    """One cell as printed: what, A, B, the difference, its state."""
    metric = METRICS[one.key.metric]
    what = " ".join(part for part in (one.key.label, one.key.dataset, one.key.freeze) if part)
    values = [GAP if value is None else number(value, metric) for value in (one.a, one.b)]
    difference = difference_text(one.difference, one.half, 1, metric)
    p = "" if one.p is None else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    return (what, metric.title, *values, difference, f"{one.n[0]}, {one.n[1]}", p, one.state)


HEAD = ("cell", "metric", "A", "B", "B − A", "n", "p", "")


def _interesting(comparison: Comparison) -> Iterable[Compared]:
    """What differs first, then what only one of them has, then the rest; what is identical is only counted."""
    order = {"differs": 0, "only in A": 1, "only in B": 1, "alike": 2}
    return sorted((one for one in comparison.cells if not one.same), key=lambda one: order[one.state])


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    a, b = comparison.names
    lines = [
        f"# {escape(a)} and {escape(b)}",
        "",
        f"A is {escape(a)}, B is {escape(b)}: {tally(comparison)}.",
        "",
    ]
    for name, sources in zip(comparison.names, comparison.sources, strict=True):
        said = ", ".join(f"{s.commit or 'unknown'} ({s.runs} runs, {s.device})" for s in sources) or "no runs"
        lines.append(f"- {escape(name)}: {escape(said)}")
    lines += ["", explanation(comparison), ""]
    rows = list(_interesting(comparison))
    if rows:
        lines += ["| " + " | ".join(HEAD) + " |", "|:---|:---" + "|---:" * 5 + "|:---|"]
        lines += ["| " + " | ".join(map(escape, texts(one))) + " |" for one in rows]
    return "\n".join([*lines, ""])


def explanation(comparison: Comparison) -> str:
    """How the differences are tested."""
    paired = sum(one.paired for one in comparison.cells)
    return (
        f"Differences are B less A with 95 % intervals: paired by seed where both have it ({count(paired, 'cell')}),"
        " else of two samples (Welch). p: Holm over all cells that are not identical."
    )


def table(comparison: Comparison) -> str:
    """The comparison as CSV: one line a cell, in the printed unit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = ("dataset", "protocol", "rule", "backbone", "schedule", "changed", "label", "freeze", "metric")
    writer.writerow([*fields, "a", "b", "n_a", "n_b", "difference", "half_width", "p", "paired", "state"])
    for one in comparison.cells:
        metric = METRICS[one.key.metric]
        numbers = [
            "" if v is None else f"{in_unit(v, metric):.4f}" for v in (one.a, one.b, one.difference, one.half)
        ]
        p = "" if one.p is None else f"{one.p:.6g}"
        key = [getattr(one.key, field) for field in fields]
        writer.writerow([*key, *numbers[:2], *one.n, *numbers[2:], p, one.paired, one.state])
    return out.getvalue()


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs nothing else."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("bench.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("compare.html").render(
        comparison=comparison,
        tally=tally(comparison),
        explanation=explanation(comparison),
        head=HEAD,
        rows=[(one, texts(one)) for one in _interesting(comparison)],
    )
