"""The claims that a study draws from a table, held against the runs of one."""

from collections.abc import Sequence

from bench import stats
from bench.data.fractions import split_fraction
from bench.report.judge import ALPHA, column_correct, column_scores
from bench.report.layout import MINUS
from bench.report.model import Claim, Column, Comparison
from bench.report.predictions import Predictions
from bench.report.sheets import Sheet
from bench.report.words import count
from bench.studies import Claim as Said
from bench.studies import Contrast as SaidContrast
from bench.studies.metrics import Metric


def judge_claims(sheet: Sheet, name: str, predictions: Predictions) -> list[Claim]:
    """Every claim of a sheet's table, judged together: Holm runs over the table.

    Args:
        sheet: rows, columns and the runs behind them; one of no study has no claims.
        name: of the table in the report.
        predictions: which test images each probe got right.
    """
    if sheet.table is None:
        return []
    titles = [row.title for row in sheet.rows]
    found: list[tuple[Said, list[_Pair]]] = []
    for said in sheet.table.claims:
        found.append((said, _pairs(sheet, said, titles)))
    data = [
        stats.ClaimData(said.name, tuple(_data(sheet, said, p, predictions) for p in pairs), said.over)
        for said, pairs in found
        if pairs
    ]
    results = {result.name: result for result in stats.judge(data, ALPHA)}
    return [_claim(sheet, name, said, pairs, results.get(said.name)) for said, pairs in found]


class _Pair:
    """Two rows in one column, by their numbers; -1 for a row that the sheet lacks."""

    def __init__(self, contrast: SaidContrast, column: int, a: int, b: int) -> None:
        self.contrast, self.column, self.a, self.b = contrast, column, a, b

    @property
    def name(self) -> str:
        return f"{self.contrast.a} {MINUS} {self.contrast.b} #{self.column}"


def _pairs(sheet: Sheet, said: Said, titles: Sequence[str]) -> list[_Pair]:
    found = []
    for j, column in enumerate(sheet.columns):
        if not said.speaks_of(column.dataset, column.freeze, column.metric):
            continue
        for contrast in said.contrasts:
            if split_fraction(column.dataset)[0] not in contrast.except_on:
                a, b = (titles.index(t) if t in titles else -1 for t in (contrast.a, contrast.b))
                found.append(_Pair(contrast, j, a, b))
    return found


def _region(said: Said, metric: Metric) -> tuple[float, float]:
    low, high = said.region(metric)
    scale = 100 if metric.percent else 1
    return low / scale, high / scale


def _data(sheet: Sheet, said: Said, pair: _Pair, predictions: Predictions) -> stats.ContrastData:
    column = sheet.columns[pair.column]

    def scores(row: int) -> stats.Scores:
        return column_scores(sheet, row, pair.column) if row >= 0 else {}

    def correct(row: int) -> stats.Correct | None:
        return column_correct(sheet, row, pair.column, predictions) if row >= 0 else None

    return stats.ContrastData(
        pair.name,
        scores(pair.a),
        scores(pair.b),
        correct(pair.a),
        correct(pair.b),
        _region(said, column.unit),
    )


def _where(column: Column) -> str:
    return f"{column.group}, {column.title}" if column.title else column.group


def _by_seed(sheet: Sheet, pair: _Pair) -> dict[int, float]:
    if pair.a < 0 or pair.b < 0:
        return {}
    a, b = (column_scores(sheet, row, pair.column) for row in (pair.a, pair.b))
    return stats.by_pretrain_seed({k: a[k] - b[k] for k in a.keys() & b.keys()})


def _published(sheet: Sheet, pair: _Pair) -> float | None:
    if pair.a < 0 or pair.b < 0:
        return None
    a, b = (sheet.rows[row].published.get(pair.column) for row in (pair.a, pair.b))
    if a is None or b is None:
        return None
    return (a - b) / (100 if sheet.columns[pair.column].unit.percent else 1)


def _comparison(sheet: Sheet, pair: _Pair, contrast: stats.Contrast) -> Comparison:
    column = sheet.columns[pair.column]
    return Comparison(
        a=pair.contrast.a,
        b=pair.contrast.b,
        column=_where(column),
        metric=column.metric,
        n=contrast.n,
        difference=contrast.difference,
        half=contrast.half,
        p=contrast.p,
        as_expected=contrast.as_expected,
        by_image=contrast.by_image,
        seed_share=_seed_share(contrast),
        seeds_needed=contrast.seeds_needed,
        by_seed=_by_seed(sheet, pair),
        published=_published(sheet, pair),
    )


def _seed_share(contrast: stats.Contrast) -> float | None:
    if contrast.seed_variance is None or contrast.test_variance is None:
        return None
    whole = contrast.seed_variance + contrast.test_variance
    return contrast.seed_variance / whole if whole else None


def _overall(mean: stats.Contrast, own: Sequence[Comparison]) -> Comparison:
    """The mean difference of a claim that speaks of what holds on the whole."""
    known = [set(one.by_seed) for one in own]
    seeds = set.intersection(*known) if known else set()
    printed = [one.published for one in own if one.published is not None]
    return Comparison(
        a="mean",
        b=f"over {count(len(own), 'difference')}",
        column="",
        metric=own[0].metric,
        n=mean.n,
        difference=mean.difference,
        half=mean.half,
        p=mean.p,
        as_expected=mean.as_expected,
        by_image=mean.by_image,
        seed_share=_seed_share(mean),
        seeds_needed=mean.seeds_needed,
        by_seed={seed: sum(one.by_seed[seed] for one in own) / len(own) for seed in sorted(seeds)},
        published=sum(printed) / len(printed) if len(printed) == len(own) else None,
    )


def _claim(
    sheet: Sheet, name: str, said: Said, pairs: Sequence[_Pair], result: stats.ClaimResult | None
) -> Claim:
    own: list[Comparison] = []
    overall = None
    if result is not None:
        own = [_comparison(sheet, pair, c) for pair, c in zip(pairs, result.contrasts, strict=True)]
        if result.average is not None:
            overall = _overall(result.average, own)
    metrics = {sheet.columns[pair.column].unit for pair in pairs}
    return Claim(
        name=said.name,
        table=name,
        text=said.text,
        quote=said.quote,
        where=said.where,
        note=said.note,
        expectation=_expectation(said, metrics),
        verdict="not run" if result is None else result.verdict,
        p=None if result is None else result.p_adjusted,
        reason=_reason(said, own, overall, result),
        comparisons=tuple(own),
        average=said.over == "average",
        overall=overall,
    )


def _expectation(said: Said, metrics: set[Metric]) -> str:
    """What is expected of a difference, in the direction that is good for the metric."""
    units = {metric.unit for metric in metrics}
    unit = {"%": "points"}.get(next(iter(units)), next(iter(units))) if len(units) == 1 else ""
    margin = f"{said.margin:g} {unit}".strip()
    if said.expect == "similar":
        return f"the two differ by less than {margin} (our margin)"
    if said.expect == "not better":
        return f"the first is not better by as much as {margin} (our margin)"
    return "the first is better" + (f" by more than {margin}" if said.margin else "")


def _reason(
    said: Said, own: Sequence[Comparison], overall: Comparison | None, result: stats.ClaimResult | None
) -> str:
    """Why there is no verdict for or against it, in one line; "" where there is one."""
    if result is None:
        if said.datasets:
            return f"it speaks of {', '.join(said.datasets)}, and nothing was run there"
        return "no column of these runs is one that it speaks of"
    run = [one for one in own if one.n]
    if not run:
        return "the rows that it compares were not run"
    if result.verdict != "undecided":
        return ""
    parts = [_doubt([overall] if overall is not None else run, len(own) - len(run))]
    if len(run) < len(own):
        parts.append(f"{len(own) - len(run)} of {count(len(own), 'comparison')} not run")
    return "; ".join(part for part in parts if part)


def _doubt(judged: Sequence[Comparison], missing: int) -> str:
    if any(one.n == 1 for one in judged):
        return "one seed in common decides nothing"
    if any(one.half is None for one in judged):
        return "seeds that agree to the last image show no spread"
    wanted = [one.seeds_needed for one in judged if one.as_expected]
    off = [one for one in judged if not one.as_expected]
    if off:
        return "" if missing else "what goes the other way is within the noise"
    if wanted and all(n is not None for n in wanted):
        return f"about {count(max(n for n in wanted if n is not None), 'seed')} would tell, at the differences seen"
    return "no number of seeds would tell at the differences seen: the test set is too small"
