"""A difference as a statement about methods: pretraining seeds crossed with test images, both of them samples."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.distributions import LEVEL, Spread
from bench.stats.intervals import SeedPair

Correct = Mapping[SeedPair, np.ndarray]
"""For each pair of seeds bool [n_test]: which test images its probe got right."""


@dataclass(frozen=True)
class Claim:
    """A difference a - b as a statement about methods: other seeds and other test images.

    Attributes:
        difference: mean difference, a fraction.
        half: half width of the interval.
        df: degrees of freedom of the Student's t that reaches as far: half = t(df) * standard error.
        p: two-sided.
        n: pretraining seeds in common.
        seed_variance: the seeds' share of the variance of `difference`, as estimated from their means.
        least_seed_variance: what that cannot be below, known from the single images.
        test_variance: the test sample's share, which no number of seeds makes smaller.
        images: number of test images.
    """

    difference: float
    half: float
    df: float
    p: float
    n: int
    seed_variance: float
    least_seed_variance: float
    test_variance: float
    images: int

    @property
    def spread(self) -> Spread:
        """The two variances with their degrees of freedom."""
        return Spread(
            self.seed_variance, self.n - 1, self.test_variance, self.images - 1, self.least_seed_variance
        )


@dataclass(frozen=True)
class MeanSquares:
    """The analysis of variance of a complete table [seeds, images].

    Attributes:
        seeds: number of rows.
        images: number of columns.
        mean: over the whole table.
        seed: mean square of the row means; seeds - 1 degrees of freedom.
        image: mean square of the column means; images - 1 degrees of freedom.
        rest: mean square of what neither explains; (seeds - 1) * (images - 1) degrees of freedom.
    """

    seeds: int
    images: int
    mean: float
    seed: float
    image: float
    rest: float


def mean_squares(table: np.ndarray) -> MeanSquares:
    """Mean squares of a table [seeds, images] with at least two of either."""
    seeds, images = table.shape
    mean = float(table.mean())
    rows, columns = table.mean(axis=1) - mean, table.mean(axis=0) - mean
    row_sum, column_sum = images * float(rows @ rows), seeds * float(columns @ columns)
    flat = table.ravel()
    rest = max(0.0, float(flat @ flat) - seeds * images * mean**2 - row_sum - column_sum)
    free = (seeds - 1) * (images - 1)
    return MeanSquares(seeds, images, mean, row_sum / (seeds - 1), column_sum / (images - 1), rest / free)


def seeds_by_images(correct: Correct, against: Correct | None = None) -> dict[int, np.ndarray]:
    """Correctness, or its difference from another method's, for each pretraining seed.

    Args:
        correct: of the method.
        against: of the other method on the same images in the same order; the pairs of seeds that both have
            are used.

    Returns:
        For each pretraining seed a table float [probe seeds, n_test].

    Raises:
        ValueError: not all were tested on the same number of images.
    """
    pairs = sorted(correct.keys() if against is None else correct.keys() & against.keys())
    sizes = {len(c[pair]) for c in (correct, against or {}) for pair in pairs if pair in c}
    if len(sizes) > 1:
        raise ValueError(
            f"predictions for {' and '.join(map(str, sorted(sizes)))} test images cannot be paired"
        )
    grouped: dict[int, list[np.ndarray]] = {}
    for pair in pairs:
        values = np.asarray(correct[pair], dtype=np.float64)
        grouped.setdefault(pair[0], []).append(values if against is None else values - against[pair])
    return {seed: np.stack(rows) for seed, rows in grouped.items()}


def spread_of(tables: Sequence[np.ndarray]) -> tuple[float, Spread]:
    """The sum of the tables' means, and what it varies by.

    For one table D [S seeds, E images] the two-way mean squares give, without bias but for the cut at zero,

        Var(mean D) = seed_variance + test_variance
        seed_variance = MS_seed / (S * E)                        on S - 1 degrees of freedom
        test_variance = max(0, MS_image - MS_rest) / (S * E)     on E - 1

    and MS_rest / (S * E), on so many degrees of freedom that it is known, is the least that the first can be.

    Several tables are of the same seeds on images of different test sets: their sum varies with the seeds as one
    number a seed, and with the images as independent samples.

    Args:
        tables: each float [seeds, images], at least two of either.
    """
    squares = [mean_squares(table) for table in tables]
    seeds = squares[0].seeds
    by_seed = np.sum([table.mean(axis=1) for table in tables], axis=0)
    rest = sum(ms.rest / ms.images for ms in squares)
    test = sum(max(0.0, ms.image - ms.rest) / ms.images for ms in squares)
    fewest = min(ms.images for ms in squares)
    seed = float(by_seed.var(ddof=1))
    return float(by_seed.mean()), Spread(seed / seeds, seeds - 1, test / seeds, fewest - 1, rest / seeds)


def claim(correct_a: Correct, correct_b: Correct, level: float = LEVEL) -> Claim | None:
    """Interval of the difference a - b that counts both the seeds and the test images as samples.

    The variance of the mean is `spread_of` the table of paired differences D[pretraining seed, image] (probe seeds
    averaged first), the interval and p those of the sum of two t variables (`Spread`): exactly the paired t
    interval where the images add nothing. A bootstrap crossed over three seeds would be far too narrow.

    Args:
        correct_a: which images were classified correctly, by pair of seeds.
        correct_b: the same of the other method, on the same images in the same order.
        level: of the interval.

    Returns:
        None where fewer than two pretraining seeds are shared, or nothing varies over seeds.

    Raises:
        ValueError: the two were tested on different numbers of images.
    """
    grouped = seeds_by_images(correct_a, correct_b)
    if len(grouped) < 2:
        return None
    table = np.stack([rows.mean(axis=0) for rows in grouped.values()])
    seeds, images = table.shape
    if images < 2:
        return None
    difference, spread = spread_of([table])
    if not spread.measured:
        return None
    half = spread.half_width(level)
    return Claim(
        difference=difference,
        half=half,
        df=_degrees_of_freedom(half / spread.error, level),
        p=spread.p_value(difference),
        n=seeds,
        seed_variance=spread.seed_variance,
        least_seed_variance=spread.least_seed_variance,
        test_variance=spread.test_variance,
        images=images,
    )


def _degrees_of_freedom(reach: float, level: float) -> float:
    from scipy.special import ndtri, stdtridf

    if reach <= float(ndtri(0.5 + level / 2)) * (1 + 1e-6):
        return math.inf
    return float(stdtridf(0.5 + level / 2, reach))
