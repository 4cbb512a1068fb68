"""Every row of a table against one of them."""

from collections.abc import Mapping
from dataclasses import dataclass

from bench.stats.contrasts import Measured, Pair, measure
from bench.stats.crossed import Correct
from bench.stats.intervals import Scores
from bench.stats.marking import holm_of_tested
from bench.stats.planning import seeds_to_separate
from bench.stats.shares import Split, split


@dataclass(frozen=True)
class BaselineDifference:
    """A row less the baseline, in one column, over the seeds that both have.

    Attributes:
        difference: mean, in the unit of the scores.
        half: half width of its interval; None where there is no spread.
        n: pretraining seeds in common.
        p: two-sided; None without a spread.
        p_adjusted: Holm over all differences of the table.
        by_image: whether the test images were counted as a sample beside the seeds.
        split: what the variance of the difference comes from; None where seeds alone were counted.
        seeds_needed: pretraining seeds that would separate the two at the difference seen with a chance of 0.8, at
            `level`; None where no number would, or without a spread.
        level: alpha shared among the differences of the table that could be tested, Holm's first step.
    """

    difference: float
    half: float | None
    n: int
    p: float | None
    p_adjusted: float | None
    by_image: bool
    split: Split | None = None
    seeds_needed: int | None = None
    level: float = 0.05


def against_baseline(
    table: Mapping[str, Mapping[str, Scores]],
    baseline: str,
    correct: Mapping[str, Mapping[str, Correct | None]] | None = None,
    alpha: float = 0.05,
) -> dict[str, dict[str, BaselineDifference]]:
    """Differences of the rows from the baseline, Holm over the whole table (all rows of all columns).

    Args:
        table: column -> row -> scores by pair of seeds.
        baseline: name of a row.
        correct: column -> row -> which test images were right, where predictions were kept; within a column
            the same images in the same order.
        alpha: 1 - level of the intervals.

    Returns:
        Column -> row -> difference. A row that shares no pair of seeds with the baseline is left out, and so is
        the baseline itself.

    Raises:
        ValueError: no column has the baseline.
    """
    if not any(baseline in rows for rows in table.values()):
        rows = ", ".join(dict.fromkeys(row for rows in table.values() for row in rows))
        raise ValueError(f"no row {baseline!r} in this table; it has {rows}")
    found: dict[tuple[str, str], tuple[Measured, Split | None]] = {}
    for column, rows in table.items():
        own = rows.get(baseline, {})
        known = (correct or {}).get(column, {})
        for row, scores in rows.items():
            if row == baseline:
                continue
            pair = Pair(scores, own, known.get(row), known.get(baseline))
            d = measure([pair], 1 - alpha)
            if d is not None:
                found[column, row] = d, split([pair])
    p = [d.p_value() for d, _ in found.values()]
    level = alpha / max(1, sum(one is not None for one in p))
    differences: dict[str, dict[str, BaselineDifference]] = {column: {} for column in table}
    for ((column, row), (d, parts)), own, adjusted in zip(found.items(), p, holm_of_tested(p), strict=True):
        differences[column][row] = BaselineDifference(
            d.difference, d.half, d.n, own, adjusted, d.by_image, parts, _seeds_needed(d, level), level
        )
    return differences


def _seeds_needed(d: Measured, level: float) -> int | None:
    if d.spread is None:
        return None
    return seeds_to_separate(
        d.difference,
        seed_variance=d.spread.likely_seed_variance * d.n,
        test_variance=d.spread.test_variance if d.by_image else 0.0,
        alpha=level,
    )
