"""Which rows of a column can be told from its best, and Holm's correction for asking many questions."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.stats.intervals import Scores, estimate, paired_difference

Standing = Literal["best", "tied", "below", "unknown", "alone"]


@dataclass(frozen=True)
class Verdict:
    """How a row stands to the best of its column.

    Attributes:
        standing: "best"; "tied", not distinguishable from the best; "below", distinguishably worse;
            "unknown", cannot be told (one seed, or none in common); "alone", nothing to compare with.
        p: Holm-adjusted p of the paired test against the best; None for the best itself and where unknown.
    """

    standing: Standing
    p: float | None = None


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def holm_of_tested(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjustment among the p that there are: what could not be tested cannot be a false alarm."""
    tested = [i for i, p in enumerate(p_values) if p is not None]
    adjusted: list[float | None] = [None] * len(p_values)
    for i, p in zip(tested, holm([p for p in p_values if p is not None]), strict=True):
        adjusted[i] = p
    return adjusted


def compare_to_best(column: Mapping[str, Scores], alpha: float = 0.05) -> dict[str, Verdict]:
    """Which rows of a column can be told from its best, by paired t tests corrected within the column.

    The best is known only after looking, so Holm runs over every pair of rows and not just over those with
    the best: with nine equal methods and five seeds the latter cries wolf in 10 % of columns, this in 4 %.
    A row with one seed, or that shares none with the best, is "unknown"; so is every row when fewer than two
    can be tested. Rows with one seed never serve as the best.
    """
    means = {name: estimate(scores) for name, scores in column.items() if scores}
    if len(means) < 2:
        return {name: Verdict("alone") for name in means}
    verdicts = {name: Verdict("unknown") for name in means}
    tests: dict[frozenset[str], float] = {}
    for a, b in itertools.combinations([name for name in means if means[name].n > 1], 2):
        difference = paired_difference(column[a], column[b])
        if difference is not None and difference.p is not None:
            tests[frozenset((a, b))] = difference.p
    if not tests:
        return verdicts
    adjusted = dict(zip(tests, holm(list(tests.values())), strict=True))
    testable = {name for pair in tests for name in pair}
    best = max((name for name in means if name in testable), key=lambda name: means[name].mean)
    for name in testable - {best}:
        p = adjusted.get(frozenset((name, best)))
        if p is not None:
            verdicts[name] = Verdict("tied" if p >= alpha else "below", p)
    verdicts[best] = Verdict("best")
    return verdicts
