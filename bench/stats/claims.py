"""What a paper says, and whether the runs support it: claims of one or several contrasts, judged as one table."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

from bench.stats.contrasts import Measured, measure
from bench.stats.crossed import Correct
from bench.stats.intervals import Scores
from bench.stats.marking import holm_of_tested
from bench.stats.planning import seeds_to_separate

Direction = Literal["higher", "lower", "similar"]
ClaimVerdict = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class ContrastData:
    """One pair of rows in one column: what is known of a and of b.

    Attributes:
        name: unique in its claim; comes back with the result.
        a: scores of the row that the claim speaks of, by pair of seeds; empty where it was not run.
        b: scores of the row that it is held against.
        correct_a: bool [n_test] for each pair of seeds: which test images were right, the same images in the same
            order as b's. None where predictions are absent or the metric is no share of right answers.
        correct_b: the same of b.
        direction: what is expected of a - b here; None is the claim's.
    """

    name: str
    a: Scores
    b: Scores
    correct_a: Correct | None = None
    correct_b: Correct | None = None
    direction: Direction | None = None


@dataclass(frozen=True)
class ClaimData:
    """A claim and the data to judge it by.

    Attributes:
        name: unique in its table; comes back with the result.
        direction: what is expected of a - b: "higher", "lower" (of the number, also where less is better), or
            "similar": nearer to zero than the margin.
        contrasts: all of them must hold.
        margin: for "similar", in the unit of the scores (0.01 is one point of accuracy).

    Raises:
        ValueError: no contrasts, two of one name, an unknown direction, or a margin that is missing, not above
            zero or of no use.
    """

    name: str
    direction: Direction
    contrasts: tuple[ContrastData, ...]
    margin: float | None = None

    def __post_init__(self) -> None:
        names = [contrast.name for contrast in self.contrasts]
        if not names or len(set(names)) < len(names):
            raise ValueError(
                f"claim {self.name!r} needs contrasts, each with a name of its own; it has {names}"
            )
        directions = {contrast.direction or self.direction for contrast in self.contrasts}
        if unknown := directions - set(get_args(Direction)):
            allowed = ", ".join(get_args(Direction))
            raise ValueError(f"claim {self.name!r}: unknown direction {unknown.pop()!r}; allowed: {allowed}")
        wanted = "similar" in directions
        if wanted != (self.margin is not None) or (self.margin is not None and not self.margin > 0):
            raise ValueError(
                f"claim {self.name!r}: a margin above zero goes with the direction similar, and with no other;"
                f" it is {self.margin}"
            )


@dataclass(frozen=True)
class Contrast:
    """A difference a - b and how it stands to what was expected of it.

    Attributes:
        name: as given.
        direction: what was expected.
        n: pretraining seeds in common; 0 where a or b was not run.
        difference: mean a - b, in the unit of the scores; None where n is 0.
        half: half width of its interval; None where there is no spread.
        bound: where the expectation ends: 0, or for "similar" the nearer of -margin and margin.
        as_expected: whether the difference lies on the expected side of the bound; None where n is 0.
        p: two-sided, of the difference being `bound`; None without a spread.
        p_adjusted: Holm over the contrasts of the claim.
        seed_variance: the seeds' part of the variance of `difference`.
        test_variance: the test images' part, which no number of seeds makes smaller; None where seeds alone
            were counted.
        by_image: whether the test images were counted as a sample beside the seeds.
        seeds_needed: pretraining seeds that would separate the difference seen from `bound` (level alpha, power
            0.8, no correction; see `seeds_to_separate` for how hopeful that is); None where no number would, or
            nothing is known of the spread.
    """

    name: str
    direction: Direction
    n: int
    difference: float | None = None
    half: float | None = None
    bound: float = 0.0
    as_expected: bool | None = None
    p: float | None = None
    p_adjusted: float | None = None
    seed_variance: float | None = None
    test_variance: float | None = None
    by_image: bool = False
    seeds_needed: int | None = None

    @property
    def test_set_forbids(self) -> bool:
        """No number of seeds would do: the test set's own error, the root of `test_variance`, is too large."""
        return self.by_image and self.seeds_needed is None and self.difference != self.bound


@dataclass(frozen=True)
class ClaimResult:
    """A claim judged.

    Attributes:
        name: as given.
        verdict: "supported", "contradicted", "undecided" (there are data, and they cannot tell), "not run".
        p: of the claim by itself, two-sided; None where no contrast could be tested.
        p_adjusted: Holm over the claims of the table; the verdict goes by it.
        contrasts: in the order given.
    """

    name: str
    verdict: ClaimVerdict
    p: float | None
    p_adjusted: float | None
    contrasts: tuple[Contrast, ...]

    @property
    def by_image(self) -> bool:
        """Whether every contrast that was run counts the test images as a sample."""
        run = [contrast for contrast in self.contrasts if contrast.n]
        return bool(run) and all(contrast.by_image for contrast in run)

    @property
    def missing(self) -> int:
        """How many contrasts were not run."""
        return sum(not contrast.n for contrast in self.contrasts)


def judge(claims: Sequence[ClaimData], alpha: float = 0.05) -> list[ClaimResult]:
    """Judge the claims of one table.

    Every p is two-sided, so what it decides can be read off the intervals (before correction): "higher" is
    supported where the interval lies above zero, contradicted where below; "similar" is supported where it lies
    within the margins, contradicted where wholly outside. One side has half of alpha. That is stricter than the
    textbook's equivalence test (TOST), which gives each side the whole of it.

    Supported: every contrast is significant in its direction (intersection-union: the largest p is the claim's,
    none is corrected for the others). Contradicted: some contrast is significant in the other direction, Holm
    over the claim's contrasts (the smallest such adjusted p is the claim's). At most one of the two can be.
    Both then stand Holm's correction over the table's claims, so that the chance of any false verdict in the
    table is at most alpha. A claim none of whose contrasts could be tested takes no part in the correction.

    One shared seed, or seeds that agree to the last image, decide nothing; nor does a claim with contrasts that
    were not run count as supported.

    Args:
        claims: the table.
        alpha: of the table.

    Returns:
        A result for each claim, in order.
    """
    contrasts = [tuple(_contrasts(claim, alpha)) for claim in claims]
    evidence = [_evidence(own) for own in contrasts]
    adjusted = holm_of_tested([p for p, _ in evidence])
    return [
        ClaimResult(claim.name, _verdict(own, holds, p_adjusted, alpha), p, p_adjusted, own)
        for claim, own, (p, holds), p_adjusted in zip(claims, contrasts, evidence, adjusted, strict=True)
    ]


def _contrasts(claim: ClaimData, alpha: float) -> list[Contrast]:
    found = []
    for data in claim.contrasts:
        direction = data.direction or claim.direction
        measured = measure(data.a, data.b, data.correct_a, data.correct_b, 1 - alpha)
        if measured is None:
            found.append(Contrast(data.name, direction, n=0))
        else:
            found.append(_contrast(data.name, direction, measured, claim.margin or 0.0, alpha))
    adjusted = holm_of_tested([contrast.p for contrast in found])
    return [replace(contrast, p_adjusted=p) for contrast, p in zip(found, adjusted, strict=True)]


def _contrast(name: str, direction: Direction, measured: Measured, margin: float, alpha: float) -> Contrast:
    difference = measured.difference
    if direction == "similar":
        bound = margin if difference >= 0 else -margin
        as_expected = abs(difference) < margin
    else:
        bound, as_expected = 0.0, difference > 0 if direction == "higher" else difference < 0
    contrast = Contrast(name, direction, measured.n, difference, bound=bound, as_expected=as_expected)
    spread = measured.spread
    if spread is None:
        return contrast
    return replace(
        contrast,
        half=measured.half,
        p=measured.p_value(bound),
        seed_variance=spread.seed_variance,
        test_variance=spread.test_variance if measured.by_image else None,
        by_image=measured.by_image,
        seeds_needed=seeds_to_separate(
            difference - bound,
            seed_variance=spread.seed_variance * measured.n,
            test_variance=spread.test_variance,
            alpha=alpha,
        ),
    )


def _evidence(contrasts: Sequence[Contrast]) -> tuple[float | None, bool]:
    """The claim's p, and whether it speaks for the claim or against it."""
    if all(contrast.p is None for contrast in contrasts):
        return None, False
    if all(contrast.p is not None and contrast.as_expected for contrast in contrasts):
        return max(contrast.p for contrast in contrasts if contrast.p is not None), True
    against = [c.p_adjusted for c in contrasts if c.p_adjusted is not None and c.as_expected is False]
    return min(against, default=1.0), False


def _verdict(
    contrasts: Sequence[Contrast], holds: bool, p_adjusted: float | None, alpha: float
) -> ClaimVerdict:
    if not any(contrast.n for contrast in contrasts):
        return "not run"
    if p_adjusted is None or p_adjusted >= alpha:
        return "undecided"
    return "supported" if holds else "contradicted"
