"""How often a verdict is false where nothing is to be found, and how often it is right where something is."""

from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from bench.stats.baseline import against_baseline
from bench.stats.claims import HIGHER, LOWER, ClaimData, ClaimResult, ContrastData, Region, judge
from bench.stats.marking import compare_to_best
from bench.stats.simulation.findings import Finding, share
from bench.stats.simulation.synthetic import Column, Setting, draw, draw_column

ALPHA = 0.05
BASE = 0.30
POINT: Region = (-0.01, 0.01)


def marking(rng: np.random.Generator, studies: int, rows: int, seeds: int) -> list[Finding]:
    """Columns of equal methods in which some row is marked as worse than the best."""
    alarms = 0
    for _ in range(studies):
        luck = rng.normal(0, 0.007, seeds)
        column = {
            f"row {r}": {(s, 0): BASE + luck[s] + rng.normal(0, 0.007) for s in range(seeds)}
            for r in range(rows)
        }
        alarms += any(verdict.standing == "below" for verdict in compare_to_best(column, ALPHA).values())
    setting = {"seeds": str(seeds), "table": f"1 column of {rows} rows"}
    return [share("false alarms", setting, "some row below the best", alarms, studies, "at most", ALPHA)]


def baseline(rng: np.random.Generator, studies: int, setting: Setting) -> list[Finding]:
    """Tables of equal methods in which some row differs from the baseline: two columns of five rows."""
    rows = dict.fromkeys(["baseline", "a", "b", "c", "d"], BASE)
    alarms = 0
    for _ in range(studies):
        columns = {name: draw_column(rng, setting, rows) for name in ("x", "y")}
        found = against_baseline(
            {name: column.scores for name, column in columns.items()},
            "baseline",
            {name: column.correct for name, column in columns.items()},
            ALPHA,
        )
        alarms += any(
            d.p_adjusted is not None and d.p_adjusted < ALPHA for own in found.values() for d in own.values()
        )
    words = {"seeds": str(setting.seeds), "table": f"2 columns of 5 rows, {setting.images:,} images"}
    measure = "some row differs from the baseline"
    return [share("false alarms", words, measure, alarms, studies, "at most", ALPHA)]


def at_the_margin(rng: np.random.Generator, studies: int, setting: Setting) -> list[Finding]:
    """Claims of similarity within a point about methods that differ by exactly a point."""
    counts = Counter()
    for _ in range(studies):
        column = draw_column(rng, setting, {"a": BASE + POINT[1], "b": BASE})
        contrast = ContrastData("c", *column.pair("a", "b"), region=POINT)
        counts[judge([ClaimData("similar", (contrast,))], ALPHA)[0].verdict] += 1
    words = {"seeds": str(setting.seeds), "table": f"1 claim of similarity, {setting.images:,} images"}
    return [
        share(
            "false alarms", words, f"{verdict} at the margin", counts[verdict], studies, "at most", ALPHA / 2
        )
        for verdict in ("supported", "contradicted")
    ]


def claims(
    rng: np.random.Generator,
    studies: int,
    seeds: int,
    images: int,
    seed_sds: Sequence[float] = (0.01, 0.02),
    shared: Sequence[float] = (0.0, 0.5),
) -> list[Finding]:
    """Studies of four methods on two data sets, and the table of six claims made of each.

    Methods a, b, c and d are equal, or a is better than the others by two standard deviations over seeds in every
    column. Each claim is judged in its table, and one of them once more alone. Each study is drawn once and given
    every spread over seeds in turn, so that the findings of several spreads are not independent of each other.
    """
    settings = [(Setting(sd, seeds, images, part), n) for n in (0, 2) for part in shared for sd in seed_sds]
    counts = [Counter() for _ in settings]
    for _ in range(studies):
        one = draw(rng, settings[0][0], 2, 4)
        another = draw(rng, settings[0][0], 1, 4)
        for (setting, sds), count in zip(settings, counts, strict=True):
            rows = {**dict.fromkeys("abcd", BASE), "a": BASE + sds * setting.seed_sd}
            conv1, conv5 = one.columns(setting, [rows, rows])
            (other,) = another.columns(setting, [rows])
            table = claims_of({"conv1": conv1, "conv5": conv5, "other": other})
            results = judge(table, ALPHA)
            count.update(f"{result.name} {result.verdict}" for result in results)
            count[f"alone {judge(table[:1], ALPHA)[0].verdict}"] += 1
            count["false in the table"] += any(map(_false if sds else _false_of_equals, results))
    return [
        finding
        for (setting, sds), count in zip(settings, counts, strict=True)
        for finding in _found(setting, sds, count, studies)
    ]


def _found(setting: Setting, sds: int, counts: Counter[str], studies: int) -> list[Finding]:
    words = {
        "seed sd, points": f"{100 * setting.seed_sd:g}",
        "luck shared": f"{100 * setting.shared:g} %",
        "seeds": str(setting.seeds),
        "images": f"{setting.images:,}",
    }

    def found(experiment: str, measure: str, what: str, *promise) -> Finding:
        return share(experiment, words, measure, counts[what], studies, *promise)

    right = ("one column", "every column", "on average")
    if sds:
        return [
            *(found("claims", f"power: {name}", f"{name} supported") for name in ("alone", *right)),
            found("claims", "then any false verdict", "false in the table", "at most", ALPHA),
        ]
    return [
        found("claims", "alone: supported", "alone supported", "at most", ALPHA / 2),
        found("claims", "alone: contradicted", "alone contradicted", "at most", ALPHA / 2),
        found("claims", "table: any false verdict", "false in the table", "at most", ALPHA),
        *(
            found("each claim", f"{name}: {verdict}", f"{name} {verdict}", "at most", ALPHA / 2)
            for name in (*right, "another pair", "lower")
            for verdict in ("supported", "contradicted")
        ),
    ]


def claims_of(columns: dict[str, Column]) -> list[ClaimData]:
    """The table's claims: one column, every column, their average, other pairs, and a similarity that is true."""

    def contrasts(a: str, b: str, names: Iterable[str], region: Region = HIGHER) -> tuple[ContrastData, ...]:
        return tuple(ContrastData(name, *columns[name].pair(a, b), region=region) for name in names)

    return [
        ClaimData("one column", contrasts("a", "b", ["conv1"])),
        ClaimData("every column", contrasts("a", "b", columns)),
        ClaimData("on average", contrasts("a", "b", columns), over="average"),
        ClaimData("another pair", contrasts("c", "d", ["other"])),
        ClaimData("lower", contrasts("d", "c", ["conv5"], LOWER)),
        ClaimData("similar", contrasts("c", "d", ["conv1"], POINT)),
    ]


def _false_of_equals(result: ClaimResult) -> bool:
    decided = result.verdict in ("supported", "contradicted")
    return result.verdict == "contradicted" if result.name == "similar" else decided


def _false(result: ClaimResult) -> bool:
    """Where a is better than the rest: of c and d nothing may be decided, of a and b not the contrary."""
    if result.name in ("another pair", "lower"):
        return _false_of_equals(result)
    return result.verdict == "contradicted"
