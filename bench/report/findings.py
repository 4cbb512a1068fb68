"""Claims in words: what was measured, how sure, and how the paper's own numbers stand to them."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.drawing import Axis, axis_of, ruler, strip
from bench.report.layout import MINUS, in_unit, signed
from bench.report.model import Claim, Comparison, Report, Table
from bench.report.variance import (
    advice,
    difference_text,
    explained,
    heads,
    p_value,
    seeds_text,
    shares,
    unit_text,
)
from bench.studies.metrics import METRICS, Metric


@dataclass(frozen=True)
class ComparisonLine:
    """A comparison as a page prints it.

    Attributes:
        comparison: what it is of.
        difference: with its half width.
        p: of it, without its name.
        published: the paper's difference.
        expected: "yes", "no", or "" where it was not run.
        shares: of its variance, below the headings of its part.
        seeds: how many would tell; "" where nothing is known of it.
        strip: its interval, its seeds and the paper's difference as SVG; "" where it was not run.
        mean: whether it is the mean of the others.
    """

    comparison: Comparison
    label: str
    difference: str
    p: str
    published: str
    expected: str
    shares: tuple[str, ...]
    seeds: str
    strip: str
    mean: bool = False


@dataclass(frozen=True)
class Scaled:
    """Comparisons in one metric, which share an axis.

    Attributes:
        metric: of them.
        lines: one a comparison; a mean first.
        ruler: their axis as SVG.
        heads: headings of the shares of variance; none where nothing was split.
        notes: what shares and seeds mean.
    """

    metric: Metric
    lines: tuple[ComparisonLine, ...]
    ruler: str
    heads: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """A claim as a page prints it.

    Attributes:
        claim: what it is of.
        anchor: unique on the page.
        measured: sentences.
        reason: why there is no verdict, as a sentence; "" where there is one.
        paper: how the paper's own numbers stand; "" where it prints none.
        parts: its comparisons by metric.
    """

    claim: Claim
    anchor: str
    measured: tuple[str, ...]
    reason: str
    paper: str
    parts: tuple[Scaled, ...]


@dataclass(frozen=True)
class TableFindings:
    """The claims of one table; `table` is None where the report does not have it."""

    name: str
    table: Table | None
    findings: tuple[Finding, ...]


def p_text(p: float | None) -> str:
    """A p value as readers expect it; "" for none."""
    return "" if p is None else "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def metric_of(comparison: Comparison) -> Metric:
    """The comparison's metric; a nameless one for a name that this version does not know."""
    name = comparison.metric
    return METRICS.get(name) or Metric(name, name, "", None, "")


def findings(report: Report) -> tuple[TableFindings, ...]:
    """The claims of a report in its order, table by table."""
    tables = {table.name: table for table in report.tables}
    grouped: dict[str, list[Finding]] = {}
    for claim in report.claims:
        grouped.setdefault(claim.table, []).append(_finding(claim))
    return tuple(TableFindings(name, tables.get(name), tuple(found)) for name, found in grouped.items())


def _finding(claim: Claim) -> Finding:
    reason = f"{claim.reason[:1].upper()}{claim.reason[1:].rstrip('.')}." if claim.reason else ""
    return Finding(
        claim, f"c-{claim.table}-{claim.name}", measured(claim), reason, _paper(claim), _parts(claim)
    )


def _told(c: Comparison) -> str:
    """A difference with its half width and unit."""
    metric = metric_of(c)
    return difference_text(c.difference, c.half, c.n, metric, unit_text(metric))


def _seed_count(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"n = {low}" if low == high else f"n = {low} to {high}"


def _sample(comparisons: Sequence[Comparison]) -> str:
    text = f"{_seed_count([c.n for c in comparisons])} {'seed' if all(c.n == 1 for c in comparisons) else 'seeds'}"
    return text + ("; test images counted as a sample" if all(c.by_image for c in comparisons) else "")


def measured(claim: Claim) -> tuple[str, ...]:
    """What the runs say of a claim, in sentences; none where nothing was run."""
    run = [c for c in claim.comparisons if c.difference is not None]
    sure = f", {p_text(claim.p)}" if claim.p is not None else ""
    where = (f"Of the data sets run: {', '.join(claim.datasets_run)}.",) if claim.datasets_run else ()
    if claim.overall is not None and claim.overall.difference is not None:
        mean = _told(claim.overall)
        return (f"Mean of {len(run)} differences: {mean} ({_sample([claim.overall])}){sure}.", *where)
    if not run:
        return ()
    missing = "" if claim.reason else _missing_text(claim.comparisons)
    if len(run) == 1:
        text = _told(run[0])
        what = f"{run[0].a} {MINUS} {run[0].b}, {run[0].column}"
        return (f"{what}: {text} ({_sample(run)}){sure}.{missing}", *where)
    ranges = _ranges((metric_of(c), c.difference) for c in run if c.difference is not None)
    expected = sum(bool(c.as_expected) for c in run)
    told = f"{expected} of {len(run)} differences lie where they are expected: {ranges}"
    return (f"{told} ({_sample(run)}){sure}.{missing}", *where)


def _missing_text(comparisons: Sequence[Comparison]) -> str:
    """How many comparisons there are besides those that were made."""
    left = Counter(c.missing or "not run" for c in comparisons if c.difference is None)
    parts = []
    if number := left.pop("not run", 0):
        parts.append(f" {number} more {'was' if number == 1 else 'were'} not run.")
    parts += [f" {number} more {'has' if number == 1 else 'have'} {why}." for why, number in left.items()]
    return "".join(parts)


def _ranges(values: Iterable[tuple[Metric, float]]) -> str:
    """From the smallest to the largest, metric by metric."""
    by_metric: dict[Metric, list[float]] = {}
    for metric, value in values:
        by_metric.setdefault(metric, []).append(value)
    parts = []
    for metric, own in by_metric.items():
        low, high = signed(min(own), metric), signed(max(own), metric)
        name = f"{metric.title} " if len(by_metric) > 1 else ""
        parts.append(name + (low if low == high else f"{low} to {high}") + unit_text(metric))
    return "; ".join(parts)


def _paper(claim: Claim) -> str:
    printed = [c for c in claim.comparisons if c.published is not None]
    known = [(metric_of(c), c.published) for c in printed if c.published is not None]
    if not known:
        return ""
    if len(known) == 1:
        metric, value = known[0]
        return f"The paper's own difference: {signed(value, metric)}{unit_text(metric)}."
    inside = sum(bool(c.published_as_expected) for c in printed)
    lie = "lies" if inside == 1 else "lie"
    return (
        f"Of the paper's own {len(known)} differences {inside} {lie} where the claim says: {_ranges(known)}."
    )


def _parts(claim: Claim) -> tuple[Scaled, ...]:
    parts = []
    for metric in dict.fromkeys(metric_of(c) for c in claim.comparisons):
        own = [c for c in claim.comparisons if metric_of(c) == metric]
        mean = claim.overall
        every = [mean, *own] if mean is not None and metric_of(mean) == metric else own
        axis = axis_of(value for c in every for value in _reach(c, metric))
        splits = [c.split for c in every if c.n > 1]
        known = any(split is not None for split in splits)
        lines = tuple(
            _line(c, metric, axis, shares(c.split, splits) if known else (), c is mean) for c in every
        )
        notes = [explained(splits)] if known else []
        notes += [advice(c.level, "claims") for c in every if seeds_text(c)][:1]
        parts.append(Scaled(metric, lines, ruler(axis), heads(splits) if known else (), tuple(notes)))
    return tuple(parts)


def _reach(c: Comparison, metric: Metric) -> list[float]:
    """All that a comparison's strip shows."""
    values = [value for value in (c.difference, c.published, *c.by_seed.values()) if value is not None]
    if c.difference is not None and c.half is not None:
        values += [c.difference - c.half, c.difference + c.half]
    return [in_unit(value, metric) for value in values if math.isfinite(value)]


def _line(c: Comparison, metric: Metric, axis: Axis, of: tuple[str, ...], mean: bool) -> ComparisonLine:
    drawn = ""
    published = None if c.published is None else in_unit(c.published, metric)
    if c.difference is not None or published is not None:
        drawn = strip(
            axis,
            None if c.difference is None else in_unit(c.difference, metric),
            None if c.half is None else in_unit(c.half, metric),
            [in_unit(value, metric) for value in c.by_seed.values()],
            published,
        )
    return ComparisonLine(
        c,
        f"{c.a} {MINUS} {c.b}" if c.column else f"{c.a} {c.b}",
        difference_text(c.difference, c.half, c.n, metric),
        p_value(c.p),
        "" if c.published is None else signed(c.published, metric),
        "" if c.as_expected is None else "yes" if c.as_expected else "no",
        of if c.n else ("",) * len(of),
        seeds_text(c),
        drawn,
        mean,
    )
