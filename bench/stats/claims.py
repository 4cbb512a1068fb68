"""What a paper says, and whether the runs support it: claims of one or several contrasts, judged as one table."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bench.stats.contrasts import Measured, Pair, measure
from bench.stats.crossed import Correct
from bench.stats.intervals import Scores
from bench.stats.marking import holm_of_tested
from bench.stats.planning import seeds_to_separate
from bench.stats.shares import Split, split

ClaimVerdict = Literal["supported", "contradicted", "undecided", "not run"]
Over = Literal["each", "average"]

Region = tuple[float, float]
"""The open interval in which a difference a - b lies if a claim is true: (-0.01, 0.01) is similar within a point."""

HIGHER: Region = (0.0, math.inf)
LOWER: Region = (-math.inf, 0.0)


@dataclass(frozen=True)
class ContrastData:
    """One pair of rows in one column: what is known of a and of b, and what is expected of a - b.

    Attributes:
        name: unique in its claim; comes back with the result.
        a: scores of the row that the claim speaks of, by pair of seeds; empty where it was not run.
        b: scores of the row that it is held against.
        correct_a: bool [n_test] for each pair of seeds: which test images were right, the same images in the same
            order as b's. None where predictions are absent or the metric is no share of right answers.
        correct_b: the same of b.
        region: where a - b lies if the claim is true, in the unit of the scores (of FID, less is better: LOWER).
    """

    name: str
    a: Scores
    b: Scores
    correct_a: Correct | None = None
    correct_b: Correct | None = None
    region: Region = HIGHER

    @property
    def pair(self) -> Pair:
        """The data alone."""
        return Pair(self.a, self.b, self.correct_a, self.correct_b)


@dataclass(frozen=True)
class ClaimData:
    """A claim and the data to judge it by.

    Attributes:
        name: comes back with the result.
        contrasts: what it speaks of.
        over: "each": it must hold for every contrast. "average": for the mean difference over all of them.

    Raises:
        ValueError: no contrasts, two of one name, a region that excludes nothing or everything, or an average of
            contrasts with several regions.
    """

    name: str
    contrasts: tuple[ContrastData, ...]
    over: Over = "each"

    def __post_init__(self) -> None:
        names = [contrast.name for contrast in self.contrasts]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"claim {self.name!r} needs contrasts, each with a name of its own; it has {names}"
            )
        if self.over not in get_args(Over):
            raise ValueError(
                f"claim {self.name!r}: over is {self.over!r}; allowed: {', '.join(get_args(Over))}"
            )
        regions = {contrast.region for contrast in self.contrasts}
        for low, high in regions:
            if not low < high or (math.isinf(low) and math.isinf(high)):
                raise ValueError(f"claim {self.name!r}: a difference in ({low}, {high}) is no claim")
        if self.over == "average" and len(regions) > 1:
            raise ValueError(f"claim {self.name!r}: one average cannot lie in {len(regions)} regions")


@dataclass(frozen=True)
class Contrast:
    """A difference a - b and how it stands to what was expected of it.

    Attributes:
        name: as given.
        region: where the difference lies if the claim is true.
        n: pretraining seeds in common; 0 where a or b was not run.
        difference: mean a - b, in the unit of the scores; None where n is 0.
        half: half width of its interval; None where there is no spread.
        as_expected: whether the difference lies in the region; None where n is 0.
        bound: the end of the region that is nearest to the difference; None where n is 0.
        p: two-sided, of the difference being `bound`; None without a spread.
        p_adjusted: Holm over the contrasts of the claim.
        seed_variance: the seeds' part of the variance of `difference`.
        test_variance: the test images' part, which no number of seeds makes smaller; None where seeds alone
            were counted.
        by_image: whether the test images were counted as a sample beside the seeds.
        split: what that variance comes from; None where seeds alone were counted.
        seeds_needed: pretraining seeds that would separate the difference seen from `bound` at `level` with a chance
            of 0.8 (see `seeds_to_separate` for how hopeful that is); None where no number would, or nothing is known
            of the spread.
        level: what p has to stand for the claim to pass Holm's first step: alpha shared among the claims of the table
            that could be tested.
    """

    name: str
    region: Region
    n: int
    difference: float | None = None
    half: float | None = None
    as_expected: bool | None = None
    bound: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    seed_variance: float | None = None
    test_variance: float | None = None
    by_image: bool = False
    split: Split | None = None
    seeds_needed: int | None = None
    level: float = 0.05

    @property
    def test_set_forbids(self) -> bool:
        """No number of seeds would do: the test set's own error, the root of `test_variance`, is too large."""
        small = (self.test_variance or 0.0) == 0.0
        return self.by_image and self.seeds_needed is None and self.difference != self.bound and not small


@dataclass(frozen=True)
class ClaimResult:
    """A claim judged.

    Attributes:
        name: as given.
        verdict: "supported", "contradicted", "undecided" (there are data, and they cannot tell), "not run".
        p: of the claim by itself, two-sided; None where nothing could be tested.
        p_adjusted: Holm over the claims of the table; the verdict goes by it.
        contrasts: in the order given.
        average: of a claim over an average, their mean difference; else None.
    """

    name: str
    verdict: ClaimVerdict
    p: float | None
    p_adjusted: float | None
    contrasts: tuple[Contrast, ...]
    average: Contrast | None = None

    @property
    def by_image(self) -> bool:
        """Whether all that was tested counts the test images as a sample."""
        tested = [c for c in ((self.average,) if self.average else self.contrasts) if c.n]
        return bool(tested) and all(contrast.by_image for contrast in tested)

    @property
    def missing(self) -> int:
        """How many contrasts were not run."""
        return sum(not contrast.n for contrast in self.contrasts)


def judge(claims: Sequence[ClaimData], alpha: float = 0.05) -> list[ClaimResult]:
    """Judge the claims of one table.

    Every p is two-sided, so what it decides can be read off the intervals (before correction): a contrast speaks
    for the claim where its interval lies in the region, against it where wholly outside. Each end of the interval
    has half of alpha. For "similar within a margin" that is stricter than the textbook's equivalence test (TOST),
    which gives each end the whole of it.

    Supported: every contrast speaks for it (intersection-union: the largest p is the claim's, none is corrected for
    the others). Contradicted: some contrast speaks against it, Holm over the claim's contrasts (the smallest such
    adjusted p is the claim's). At most one of the two can be. A claim over an average has one p, its mean's. All of
    them then stand Holm's correction over the table's claims, so that the chance of any false verdict in the table
    is at most alpha. A claim of which nothing could be tested takes no part in the correction.

    One shared seed, or seeds that agree to the last image, decide nothing. A claim with contrasts that were not
    run is never supported, and an average over them is not taken.

    Args:
        claims: the table.
        alpha: of the table.

    Returns:
        A result for each claim, in order.
    """
    results = decide([conclude(claim.name, *_contrasts(claim, alpha)) for claim in claims], alpha)
    level = alpha / max(1, sum(result.p is not None for result in results))
    return [_planned(result, level) for result in results]


def stand(name: str, region: Region, measured: Measured | None) -> Contrast:
    """How a difference stands to the region that it is expected in; nothing is said of what would separate them."""
    if measured is None:
        return Contrast(name, region, n=0)
    low, high = region
    difference, spread = measured.difference, measured.spread
    bound = low if abs(difference - low) < abs(difference - high) else high
    return Contrast(
        name,
        region,
        measured.n,
        difference,
        half=measured.half,
        as_expected=low < difference < high,
        bound=bound,
        p=measured.p_value(bound),
        seed_variance=None if spread is None else spread.likely_seed_variance,
        test_variance=spread.test_variance if spread is not None and measured.by_image else None,
        by_image=measured.by_image,
    )


def conclude(name: str, contrasts: Sequence[Contrast], average: Contrast | None = None) -> ClaimResult:
    """A claim by itself: what its p says, and of which verdict, should it stand the correction of its table.

    Args:
        name: of the claim.
        contrasts: what it speaks of.
        average: their mean difference, where the claim is about that.
    """
    adjusted = holm_of_tested([contrast.p for contrast in contrasts])
    contrasts = tuple(replace(c, p_adjusted=p) for c, p in zip(contrasts, adjusted, strict=True))
    average = None if average is None else replace(average, p_adjusted=average.p)
    tested = contrasts if average is None else (average,)
    against = [c.p_adjusted for c in tested if c.p_adjusted is not None and c.as_expected is False]
    p = [c.p for c in tested if c.p is not None]
    if not any(contrast.n for contrast in contrasts):
        return ClaimResult(name, "not run", None, None, contrasts, average)
    if not p:
        return ClaimResult(name, "undecided", None, None, contrasts, average)
    if len(p) == len(tested) and all(contrast.as_expected for contrast in tested):
        return ClaimResult(name, "supported", max(p), None, contrasts, average)
    return ClaimResult(name, "contradicted", min(against, default=1.0), None, contrasts, average)


def decide(concluded: Sequence[ClaimResult], alpha: float) -> list[ClaimResult]:
    """The claims of a table after Holm's correction over those that could be tested."""
    adjusted = holm_of_tested([result.p for result in concluded])
    return [
        result
        if p is None
        else replace(result, verdict=result.verdict if p < alpha else "undecided", p_adjusted=p)
        for result, p in zip(concluded, adjusted, strict=True)
    ]


def _contrasts(claim: ClaimData, alpha: float) -> tuple[list[Contrast], Contrast | None]:
    """The claim's contrasts, and their average where it is about that: not taken where one of them was not run."""
    contrasts = [_contrast(data.name, data.region, [data.pair], alpha) for data in claim.contrasts]
    if claim.over == "each":
        return contrasts, None
    complete = all(contrast.n for contrast in contrasts)
    pairs = [data.pair for data in claim.contrasts] if complete else []
    return contrasts, _contrast(claim.name, claim.contrasts[0].region, pairs, alpha)


def _contrast(name: str, region: Region, pairs: Sequence[Pair], alpha: float) -> Contrast:
    return replace(stand(name, region, measure(pairs, 1 - alpha)), split=split(pairs))


def _planned(result: ClaimResult, level: float) -> ClaimResult:
    """With the seeds that each difference needs at the level that is left for one claim of the table."""
    contrasts = tuple(_with_plan(contrast, level) for contrast in result.contrasts)
    average = None if result.average is None else _with_plan(result.average, level)
    return replace(result, contrasts=contrasts, average=average)


def _with_plan(contrast: Contrast, level: float) -> Contrast:
    if contrast.difference is None or contrast.bound is None or contrast.seed_variance is None:
        return replace(contrast, level=level)
    needed = seeds_to_separate(
        contrast.difference - contrast.bound,
        seed_variance=contrast.seed_variance * contrast.n,
        test_variance=contrast.test_variance or 0.0,
        alpha=level,
    )
    return replace(contrast, seeds_needed=needed, level=level)
