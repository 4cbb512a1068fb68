"""How often rows are told apart that are equal, and a similarity is decided that stands exactly at its margin."""

from collections import Counter

import numpy as np

from bench.stats.baseline import against_baseline
from bench.stats.claims import ClaimData, ContrastData, Region, judge
from bench.stats.marking import compare_to_best
from bench.stats.simulation.findings import Finding, share
from bench.stats.simulation.synthetic import Setting, draw_column

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
