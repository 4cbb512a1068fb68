"""A paired difference measured as well as the records allow: over test images too where predictions were kept."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.stats.crossed import Correct, claim
from bench.stats.distributions import LEVEL, Spread
from bench.stats.intervals import Scores, SeedPair, paired_difference


@dataclass(frozen=True)
class Measured:
    """A paired difference a - b and what it varies by.

    Attributes:
        difference: mean over the pretraining seeds in common, in the unit of the scores.
        n: pretraining seeds in common.
        half: half width of the interval; None where there is no spread.
        spread: None where it was not measured: one seed, or seeds that agree to the last image.
        by_image: whether the test images were counted as a sample beside the seeds.
    """

    difference: float
    n: int
    half: float | None = None
    spread: Spread | None = None
    by_image: bool = False

    def p_value(self, bound: float = 0.0) -> float | None:
        """Two-sided p if the difference were `bound`; None without a spread."""
        return None if self.spread is None else self.spread.p_value(self.difference - bound)


def measure(
    a: Scores,
    b: Scores,
    correct_a: Correct | None = None,
    correct_b: Correct | None = None,
    level: float = LEVEL,
) -> Measured | None:
    """The difference a - b over the pairs of seeds that both have; None where they share none.

    Test images count as a sample where both have predictions for every shared pair, on equally many images, and
    the predictions are those that the scores were taken from (they give the same number). Otherwise, and for
    what is no share of right answers (PSNR, SSIM, FID), the seeds alone are counted.

    Args:
        a: scores of one, by pair of seeds.
        b: scores of the other.
        correct_a: bool [n_test] for each pair: which images were right; the same images in the same order as b's.
        correct_b: the same of the other.
        level: of the interval.
    """
    shared = a.keys() & b.keys()
    if not shared:
        return None
    if _same_images(shared, (a, correct_a), (b, correct_b)):
        whole = claim(_only(correct_a, shared), _only(correct_b, shared), level)
        if whole is not None:
            return Measured(whole.difference, whole.n, whole.half, whole.spread, by_image=True)
    difference = paired_difference({k: a[k] for k in shared}, {k: b[k] for k in shared}, level)
    assert difference is not None
    own = difference.estimate
    spread = None if own.sd is None else Spread(own.sd**2 / own.n, own.n - 1)
    if spread is None or not spread.measured:
        return Measured(own.mean, own.n)
    return Measured(own.mean, own.n, own.half, spread)


def _only(correct: Correct | None, pairs: set[SeedPair]) -> dict[SeedPair, np.ndarray]:
    return {pair: (correct or {})[pair] for pair in pairs}


def _same_images(shared: set[SeedPair], *methods: tuple[Mapping[SeedPair, float], Correct | None]) -> bool:
    sizes = set()
    for scores, correct in methods:
        if correct is None or not shared <= correct.keys():
            return False
        for pair in shared:
            images = len(correct[pair])
            sizes.add(images)
            # Half an image: scores may have been kept in single precision.
            if not math.isclose(np.count_nonzero(correct[pair]), scores[pair] * images, abs_tol=0.5):
                return False
    return len(sizes) == 1
