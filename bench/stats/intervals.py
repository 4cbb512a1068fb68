"""One mean and its interval, and the paired difference of two, over pretraining seeds; Wilson for one accuracy."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from bench.stats.distributions import LEVEL, NO_SPREAD, t_p_value, t_quantile

SeedPair = tuple[int, int]
"""(pretraining seed, probe seed): what two methods share and are paired on."""

Scores = Mapping[SeedPair, float]
"""One accuracy for each pair of seeds."""


@dataclass(frozen=True)
class Estimate:
    """A mean over pretraining seeds and the half width of its t interval.

    Attributes:
        mean: of the seeds' values; a fraction.
        half: half width of the interval; None where there is none: one seed, or seeds that agree (see `t_interval`).
        n: number of pretraining seeds.
        sd: standard deviation over seeds (n - 1 in the denominator); None where there is one seed.
    """

    mean: float
    half: float | None
    n: int
    sd: float | None

    @property
    def agree(self) -> bool:
        """Whether several seeds gave one and the same value, so that nothing was seen of their spread."""
        return self.n > 1 and self.half is None

    @property
    def low(self) -> float:
        """Lower end of the interval; without one nothing is excluded."""
        return self.mean - (math.inf if self.half is None else self.half)

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + (math.inf if self.half is None else self.half)


@dataclass(frozen=True)
class Difference:
    """A paired difference a - b with its own interval.

    Attributes:
        estimate: mean difference and t interval over the pretraining seeds that both have.
        p: two-sided paired t test; None where it cannot be told (one seed, or no spread at all).
    """

    estimate: Estimate
    p: float | None


def t_interval(values: Iterable[float], level: float = LEVEL) -> Estimate:
    """Mean and Student t interval: mean -+ t(n - 1) * sd / sqrt(n).

    A percentile bootstrap would cover 75 % at n = 3 where it says 95 %. Seeds that agree give no interval: a spread
    of zero is a spread that was not measured, and a half width of zero would call the mean certain.

    Raises:
        ValueError: no values.
    """
    x = np.asarray(list(values), dtype=np.float64)
    if x.size == 0:
        raise ValueError("an interval needs at least one value")
    if x.size == 1:
        return Estimate(float(x[0]), None, 1, None)
    sd = float(x.std(ddof=1))
    error = sd / math.sqrt(x.size)
    half = t_quantile(x.size - 1, level) * error if error > NO_SPREAD else None
    return Estimate(float(x.mean()), half, int(x.size), sd)


def by_pretrain_seed(scores: Scores) -> dict[int, float]:
    """Average over probe seeds within each pretraining seed."""
    grouped: dict[int, list[float]] = {}
    for (pretrain_seed, _), value in sorted(scores.items()):
        grouped.setdefault(pretrain_seed, []).append(value)
    return {seed: math.fsum(values) / len(values) for seed, values in grouped.items()}


def estimate(scores: Scores, level: float = LEVEL) -> Estimate:
    """Mean and t interval over pretraining seeds, probe seeds averaged first.

    Raises:
        ValueError: no scores.
    """
    return t_interval(by_pretrain_seed(scores).values(), level)


def paired_difference(a: Scores, b: Scores, level: float = LEVEL) -> Difference | None:
    """Difference a - b over the pairs of seeds that both have; None where they share none.

    Differences without any spread (two seeds that agree to the last image) give no p: a spread of zero is a
    spread that was not measured, and dividing by it would call any difference certain.
    """
    shared = a.keys() & b.keys()
    if not shared:
        return None
    mean = t_interval(by_pretrain_seed({pair: a[pair] - b[pair] for pair in shared}).values(), level)
    if mean.sd is None:
        return Difference(mean, None)
    standard_error = mean.sd / math.sqrt(mean.n)
    if standard_error <= NO_SPREAD:
        return Difference(mean, 1.0 if abs(mean.mean) <= NO_SPREAD else None)
    return Difference(mean, t_p_value(mean.mean / standard_error, mean.n - 1))


def wilson(correct: int, total: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's interval (low, high) of a single accuracy on `total` test images.

    Raises:
        ValueError: no images, or more correct than there are.
    """
    from scipy.special import ndtri

    if not 0 <= correct <= total or total == 0:
        raise ValueError(f"{correct} correct of {total} is no accuracy")
    z2 = float(ndtri(0.5 + level / 2)) ** 2
    share = correct / total
    centre = (share + z2 / (2 * total)) / (1 + z2 / total)
    half = math.sqrt(z2 * (share * (1 - share) / total + z2 / (4 * total * total))) / (1 + z2 / total)
    return max(0.0, centre - half), min(1.0, centre + half)
