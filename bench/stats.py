"""Intervals, paired differences and corrections for few seeds on one test set.

Accuracies go in and come out as fractions. SciPy does the arithmetic (its `special` functions, which load in
a fifth of the time of `scipy.stats`) and is imported when a function is called: a report starts quickly.

The unit of all inference is the pretraining seed. Where several probes were trained on one pretrained
backbone, they are averaged first: they share its luck, and counted apart they would shrink the interval.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVEL = 0.95

SeedPair = tuple[int, int]
"""(pretraining seed, probe seed): what two methods share and are paired on."""

Scores = Mapping[SeedPair, float]
"""One accuracy for each pair of seeds."""

Standing = Literal["best", "tied", "below", "unknown", "alone"]


@dataclass(frozen=True)
class Estimate:
    """A mean over pretraining seeds and the half width of its t interval.

    Attributes:
        mean: of the seeds' values; a fraction.
        half: half width of the interval; None where there is one seed, which has no interval.
        n: number of pretraining seeds.
        sd: standard deviation over seeds (n - 1 in the denominator); None where there is one seed.
    """

    mean: float
    half: float | None
    n: int
    sd: float | None

    @property
    def low(self) -> float:
        """Lower end of the interval; one seed excludes nothing."""
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


@dataclass(frozen=True)
class Claim:
    """A difference a - b as a statement about methods: other seeds and other test images.

    Attributes:
        difference: mean difference, a fraction.
        half: half width of the interval.
        df: Satterthwaite's degrees of freedom.
        p: two-sided.
        n: pretraining seeds in common.
        seed_variance: the seeds' share of the variance of `difference`.
        test_variance: the test sample's share.
    """

    difference: float
    half: float
    df: float
    p: float
    n: int
    seed_variance: float
    test_variance: float


def t_quantile(df: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t: how many standard errors an interval reaches each way."""
    from scipy.special import stdtrit

    return float(stdtrit(df, 0.5 + level / 2))


def t_p_value(t: float, df: float) -> float:
    """Two-sided p of a t statistic."""
    from scipy.special import stdtr

    return float(min(1.0, 2 * stdtr(df, -abs(t))))


def t_interval(values: Iterable[float], level: float = LEVEL) -> Estimate:
    """Mean and Student t interval: mean -+ t(n - 1) * sd / sqrt(n).

    A percentile bootstrap would cover 75 % at n = 3 where it says 95 %.

    Raises:
        ValueError: no values.
    """
    x = np.asarray(list(values), dtype=np.float64)
    if x.size == 0:
        raise ValueError("an interval needs at least one value")
    if x.size == 1:
        return Estimate(float(x[0]), None, 1, None)
    sd = float(x.std(ddof=1))
    return Estimate(float(x.mean()), t_quantile(x.size - 1, level) * sd / math.sqrt(x.size), int(x.size), sd)


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
    if standard_error <= 1e-12:
        return Difference(mean, 1.0 if abs(mean.mean) <= 1e-12 else None)
    return Difference(mean, t_p_value(mean.mean / standard_error, mean.n - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment, in the order given."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [1.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


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


def claim(
    correct_a: Mapping[SeedPair, np.ndarray], correct_b: Mapping[SeedPair, np.ndarray], level: float = LEVEL
) -> Claim | None:
    """Interval of the difference a - b that counts both the seeds and the test images as samples.

    With D[s, e] the paired difference of pretraining seed s on test image e, the two-way table's mean squares
    give Var(mean D) = (MS_seed + MS_image - MS_rest) / (S * E), never less than either share alone, and
    Satterthwaite's degrees of freedom give the t quantile. A bootstrap crossed over three seeds would be far
    too narrow.

    Args:
        correct_a: for each pair of seeds, bool [n_test]: which images were classified correctly.
        correct_b: the same of the other method, on the same images in the same order.
        level: of the interval.

    Returns:
        None where fewer than two pretraining seeds are shared, or nothing varies.

    Raises:
        ValueError: the two were tested on different numbers of images.
    """
    grouped: dict[int, list[np.ndarray]] = {}
    for pair in sorted(correct_a.keys() & correct_b.keys()):
        a, b = correct_a[pair], correct_b[pair]
        if a.shape != b.shape:
            raise ValueError(f"predictions for {a.shape[0]} and {b.shape[0]} test images cannot be paired")
        grouped.setdefault(pair[0], []).append(a.astype(np.float64) - b.astype(np.float64))
    if len(grouped) < 2:
        return None
    table = np.stack([np.mean(rows, axis=0) for rows in grouped.values()])
    seeds, images = table.shape
    if images < 2:
        return None
    grand = float(table.mean())
    seed_means, image_means = table.mean(axis=1), table.mean(axis=0)
    ms_seed = images * float(seed_means.var(ddof=1))
    ms_image = seeds * float(image_means.var(ddof=1))
    rest = table - seed_means[:, None] - image_means[None, :] + grand
    ms_rest = float((rest**2).sum()) / ((seeds - 1) * (images - 1))
    cells = seeds * images
    total = max(ms_seed + ms_image - ms_rest, ms_seed, ms_image)
    if total <= 1e-18:
        return None
    df = total**2 / (
        ms_seed**2 / (seeds - 1) + ms_image**2 / (images - 1) + ms_rest**2 / ((seeds - 1) * (images - 1))
    )
    df = min(max(df, seeds - 1.0), (seeds - 1.0) + (images - 1.0))
    error = math.sqrt(total / cells)
    return Claim(
        difference=grand,
        half=t_quantile(df, level) * error,
        df=df,
        p=t_p_value(grand / error, df),
        n=seeds,
        seed_variance=ms_seed / cells,
        test_variance=max(0.0, ms_image - ms_rest) / cells,
    )
