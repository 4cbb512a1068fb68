"""How many pretraining seeds would tell two methods apart."""

import functools
import math

import numpy as np

from bench.stats.distributions import Spread, chi_square_nodes

MOST_SEEDS = 1_000_000


def seeds_to_separate(
    difference: float,
    *,
    seed_variance: float,
    test_variance: float = 0.0,
    alpha: float = 0.05,
    power: float = 0.8,
) -> int | None:
    """The fewest pretraining seeds with which a test at level `alpha` finds the difference with a chance `power`.

    The test is the one of `claim` (two-sided, the test images a sample too), or the paired t test where
    `test_variance` is 0. Seeds make the first variance smaller and not the second: None means that no number of
    them would do, because the test set's own error, the root of `test_variance`, is too large beside the
    difference (or the difference is zero).

    It takes what it is given for the truth. Given what few seeds have shown it is a guess, and a hopeful one: the
    difference that came out too large asks for too few seeds, and so does the spread that came out too small.
    `bench stats check` prints how much power the advice really buys.

    Args:
        difference: the one that is to be found, in the unit of the scores.
        seed_variance: of the difference at one pretraining seed, beside what the test images share:
            `VarianceComponents.one_seed`.
        test_variance: of the mean over the test images: `VarianceComponents.test_set`.
        alpha: level of the test, two-sided; a table's correction asks for more seeds.
        power: chance to find it, on the right side.

    Raises:
        ValueError: a variance is negative, or the seeds' is zero.
    """
    if seed_variance <= 0 or test_variance < 0:
        raise ValueError(f"no plan from variances {seed_variance} and {test_variance}")
    difference = abs(difference)
    from scipy.special import ndtr, ndtri

    if difference == 0:
        return None
    if test_variance > 0 and ndtr(difference / math.sqrt(test_variance) + ndtri(alpha / 2)) <= power:
        return None

    def enough(seeds: int) -> bool:
        return power_of(seeds, difference, seed_variance, test_variance, alpha) >= power

    high = 2
    while not enough(high):
        if high > MOST_SEEDS:
            return None
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def power_of(
    seeds: int, difference: float, seed_variance: float, test_variance: float = 0.0, alpha: float = 0.05
) -> float:
    """Chance that a test over so many seeds finds a difference, on the right side.

    Averages over how large the seeds' variance may come out; the test images are many and theirs is taken as
    known.
    """
    from scipy.special import ndtr

    scale, weight = chi_square_nodes(seeds - 1)
    seed_part = seed_variance / seeds
    estimated = seed_part * scale + test_variance
    reach = _reach(seeds - 1, alpha)(seed_part * scale / estimated) * np.sqrt(estimated)
    return float(weight @ ndtr((difference - reach) / math.sqrt(seed_part + test_variance)))


@functools.lru_cache(maxsize=256)
def _reach(df: int, alpha: float):
    """How many standard errors the interval reaches, as a function of the seeds' share of the variance."""
    # Even in the root's distance from both ends, where it is steepest.
    shares = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2
    halves = np.array([Spread(share, df, 1 - share).half_width(1 - alpha) for share in shares])
    return lambda share: np.interp(share, shares, halves)
