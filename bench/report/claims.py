"""The claims that a study draws from a table, held against the runs of one."""

from collections.abc import Sequence
from typing import NamedTuple

from bench import stats
from bench.data.fractions import split_fraction
from bench.report import reasons
from bench.report.judge import ALPHA, column_correct, column_scores
from bench.report.layout import MINUS
from bench.report.model import Claim, Column, Comparison
from bench.report.panel import dataset_title, freeze_title
from bench.report.predictions import Predictions
from bench.report.sheets import Sheet, column_title
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
    if sheet.table is None or is_transfer(sheet):
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


def is_transfer(sheet: Sheet) -> bool:
    """Whether it was pretrained on other data than it is probed on, and no row of the study says so of itself."""
    away = any(not panel.home for panel in sheet.panels)
    return away and sheet.table is not None and not all(row.pretrain_on for row in sheet.table.rows)


class _Pair(NamedTuple):
    """Two rows in one column, by their numbers; -1 for a row, None for a column that the sheet lacks."""

    contrast: SaidContrast
    about: Column
    column: int | None
    a: int
    b: int

    @property
    def name(self) -> str:
        kind = (self.about.dataset, self.about.freeze, self.about.metric)
        return f"{self.contrast.a} {MINUS} {self.contrast.b} #{self.column} {kind}"


def _pairs(sheet: Sheet, said: Said, titles: Sequence[str]) -> list[_Pair]:
    columns = [
        *((column, number) for number, column in enumerate(sheet.columns) if _speaks_of(said, column)),
        *((column, None) for column in _absent(sheet, said)),
    ]
    return [
        _Pair(
            contrast,
            column,
            number,
            *(titles.index(t) if t in titles else -1 for t in (contrast.a, contrast.b)),
        )
        for column, number in columns
        for contrast in said.contrasts
        if split_fraction(column.dataset)[0] not in contrast.except_on
    ]


def _speaks_of(said: Said, column: Column) -> bool:
    return said.speaks_of(column.dataset, column.freeze, column.metric)


def _absent(sheet: Sheet, said: Said) -> list[Column]:
    """What a claim names and the sheet has no column of: without it no claim is supported.

    Of a metric on a named data set any freeze point will do, unless the claim names freeze points, too.
    """
    if sheet.table is None or said.datasets is None:
        return []
    shown = {
        (split_fraction(column.dataset)[0], column.metric, column.freeze if said.freezes else None)
        for column in sheet.columns
        if _speaks_of(said, column)
    }
    return [
        Column(
            column.dataset,
            column.freeze,
            column.metric,
            column_title(sheet.table, column),
            dataset_title({"name": column.dataset}),
            "",
        )
        for column in sheet.table.on(said.datasets).columns
        if said.speaks_of(column.dataset, *column.kind)
        and (column.dataset, column.metric, column.freeze if said.freezes else None) not in shown
    ]


def _places(sheet: Sheet, pairs: Sequence[_Pair]) -> list[str]:
    """What no column shows, in words: a data set, or where on it if the sheet has other columns of it."""
    known = {str(panel.dataset["name"]) for panel in sheet.panels}
    places = {}
    for pair in pairs:
        if pair.column is None:
            about = pair.about
            at = about.unit.title if about.freeze is None else freeze_title(about.freeze)
            places[f"{about.dataset} at {at}" if about.dataset in known else about.dataset] = None
    return list(places)


def _region(said: Said, metric: Metric) -> tuple[float, float]:
    low, high = said.region(metric)
    scale = 100 if metric.percent else 1
    return low / scale, high / scale


def _scores(sheet: Sheet, pair: _Pair, row: int) -> stats.Scores:
    return {} if row < 0 or pair.column is None else column_scores(sheet, row, pair.column)


def _data(sheet: Sheet, said: Said, pair: _Pair, predictions: Predictions) -> stats.ContrastData:
    def correct(row: int) -> stats.Correct | None:
        if row < 0 or pair.column is None:
            return None
        return column_correct(sheet, row, pair.column, predictions)

    return stats.ContrastData(
        pair.name,
        _scores(sheet, pair, pair.a),
        _scores(sheet, pair, pair.b),
        correct(pair.a),
        correct(pair.b),
        _region(said, pair.about.unit),
    )


def _where(column: Column) -> str:
    return f"{column.group}, {column.title}" if column.title else column.group


def _by_seed(sheet: Sheet, pair: _Pair) -> dict[int, float]:
    a, b = (_scores(sheet, pair, row) for row in (pair.a, pair.b))
    return stats.by_pretrain_seed({k: a[k] - b[k] for k in a.keys() & b.keys()})


def _published(sheet: Sheet, pair: _Pair) -> float | None:
    if pair.a < 0 or pair.b < 0 or pair.column is None:
        return None
    a, b = (sheet.rows[row].published.get(pair.column) for row in (pair.a, pair.b))
    if a is None or b is None:
        return None
    return (a - b) / (100 if pair.about.unit.percent else 1)


def _why_missing(sheet: Sheet, pair: _Pair) -> str:
    there = all(_scores(sheet, pair, row) for row in (pair.a, pair.b))
    return reasons.NO_SHARED_SEED if there else reasons.NOT_RUN


def _inside(value: float | None, region: tuple[float, float]) -> bool | None:
    return None if value is None else region[0] < value < region[1]


def _comparison(sheet: Sheet, pair: _Pair, contrast: stats.Contrast) -> Comparison:
    published = _published(sheet, pair)
    return Comparison(
        a=pair.contrast.a,
        b=pair.contrast.b,
        column=_where(pair.about),
        metric=pair.about.metric,
        n=contrast.n,
        difference=contrast.difference,
        half=contrast.half,
        p=contrast.p,
        as_expected=contrast.as_expected,
        by_image=contrast.by_image,
        split=contrast.split,
        seeds_needed=contrast.seeds_needed,
        level=contrast.level,
        by_seed=_by_seed(sheet, pair),
        published=published,
        published_as_expected=_inside(published, contrast.region),
        missing="" if contrast.n else _why_missing(sheet, pair),
        elsewhere=pair.column is None,
    )


def _overall(mean: stats.Contrast, own: Sequence[Comparison]) -> Comparison:
    """The mean difference of a claim that speaks of what holds on the whole."""
    known = [set(one.by_seed) for one in own]
    seeds = set.intersection(*known) if known else set()
    printed = [one.published for one in own if one.published is not None]
    published = sum(printed) / len(printed) if len(printed) == len(own) else None
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
        split=mean.split,
        seeds_needed=mean.seeds_needed,
        level=mean.level,
        by_seed={seed: sum(one.by_seed[seed] for one in own) / len(own) for seed in sorted(seeds)},
        published=published,
        published_as_expected=_inside(published, mean.region),
    )


def _claim(
    sheet: Sheet,
    name: str,
    said: Said,
    pairs: Sequence[_Pair],
    result: stats.ClaimResult | None,
) -> Claim:
    own: list[Comparison] = []
    overall = p = None
    verdict, why = "not run", "no column of these runs is one that it speaks of"
    if result is not None:
        own = [_comparison(sheet, pair, c) for pair, c in zip(pairs, result.contrasts, strict=True)]
        if result.average is not None:
            overall = _overall(result.average, own)
        apart = any(one.missing == reasons.NO_SHARED_SEED for one in own)
        # Rows that share no seed were run all the same.
        verdict = "undecided" if result.verdict == "not run" and apart else result.verdict
        p = reasons.adjusted_p(result)
        why = reasons.reason(own, result, _places(sheet, pairs))
    run = [pair.about.group for pair, one in zip(pairs, own, strict=False) if one.n]
    return Claim(
        name=said.name,
        table=name,
        text=said.text,
        quote=said.quote,
        where=said.where,
        note=said.note,
        expectation=_expectation(said, {pair.about.unit for pair in pairs}),
        verdict=verdict,
        p=p,
        reason=why,
        comparisons=tuple(own),
        average=said.over == "average",
        overall=overall,
        datasets_run=tuple(dict.fromkeys(run)) if said.datasets is None else (),
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
