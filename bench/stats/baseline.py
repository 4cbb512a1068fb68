"""Every row of a table against one of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from bench.stats.contrasts import Pair, measure
from bench.stats.crossed import Correct
from bench.stats.intervals import Scores
from bench.stats.marking import holm_of_tested


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
    """

    difference: float
    half: float | None
    n: int
    p: float | None
    p_adjusted: float | None
    by_image: bool


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
    found: dict[tuple[str, str], BaselineDifference] = {}
    for column, rows in table.items():
        own = rows.get(baseline, {})
        known = (correct or {}).get(column, {})
        for row, scores in rows.items():
            if row == baseline:
                continue
            d = measure([Pair(scores, own, known.get(row), known.get(baseline))], 1 - alpha)
            if d is not None:
                found[column, row] = BaselineDifference(
                    d.difference, d.half, d.n, d.p_value(), None, d.by_image
                )
    adjusted = holm_of_tested([difference.p for difference in found.values()])
    differences: dict[str, dict[str, BaselineDifference]] = {column: {} for column in table}
    for ((column, row), difference), p in zip(found.items(), adjusted, strict=True):
        differences[column][row] = replace(difference, p_adjusted=p)
    return differences
