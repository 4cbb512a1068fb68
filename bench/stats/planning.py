"""How many pretraining seeds would tell two methods apart."""

import bisect
import functools
import math

import numpy as np

from bench.stats.distributions import chi_square_nodes

# Every number to a hundred, then two figures: more would be false precision, and each costs a millisecond once.
NUMBERS = (*range(2, 100), *(n * 10**power for power in range(1, 5) for n in range(10, 100)))


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
    them would do (nor a million), because the test set's own error, the root of `test_variance`, is too large
    beside the difference, or because that is zero.

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

    at = bisect.bisect_left(
        NUMBERS, power, key=lambda n: power_of(n, difference, seed_variance, test_variance, alpha)
    )
    return NUMBERS[at] if at < len(NUMBERS) else None


def power_of(
    seeds: int, difference: float, seed_variance: float, test_variance: float = 0.0, alpha: float = 0.05
) -> float:
    """Chance that a test over so many seeds finds a difference, on the right side.

    Averages over how large the seeds' variance may come out; the test images are many and theirs is taken as
    known. That the test never takes the seeds' variance for less than the images say is left aside: it matters to
    differences that are hardly ever found.
    """
    from scipy.special import ndtr

    scale, weight = chi_square_nodes(seeds - 1)
    seed_part = seed_variance / seeds
    estimated = seed_part * scale + test_variance
    reach = np.interp(seed_part * scale / estimated, *_reach(seeds - 1, alpha)) * np.sqrt(estimated)
    return float(weight @ ndtr((difference - reach) / math.sqrt(seed_part + test_variance)))


@functools.cache
def _reach(df: int, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """How many standard errors the interval reaches, for shares of the seeds in the variance: both [33].

    `Spread.half_width` for many shares at once, by Newton's steps from the left of a falling convex function.
    """
    from scipy.special import ndtr, ndtri

    # Dense at both ends, where it is steepest.
    shares = (1 - np.cos(np.linspace(0, np.pi, 33))) / 2
    scale, weight = chi_square_nodes(df)
    sd = np.sqrt(shares[:, None] / scale + (1 - shares[:, None]))
    reach = np.full(33, -float(ndtri(alpha / 2)))
    for _ in range(100):
        density = np.exp(-((reach[:, None] / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi))
        step = (2 * ndtr(-reach[:, None] / sd) @ weight - alpha) / (2 * density @ weight)
        reach = reach + step
        if np.abs(step).max() < 1e-9:
            break
    return shares, reach
