"""A paired difference measured as well as the records allow: over test images too where predictions were kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from bench.stats.crossed import Correct, seeds_by_images, spread_of
from bench.stats.distributions import LEVEL, Spread
from bench.stats.intervals import Scores, SeedPair, by_pretrain_seed, t_interval


class Pair(NamedTuple):
    """What is known of two rows a and b of one column.

    Attributes:
        a: scores by pair of seeds; empty where it was not run.
        b: the same of the other.
        correct_a: bool [n_test] for each pair of seeds: which test images were right, the same images in the
            same order as b's. None where predictions are absent or the metric is no share of right answers.
        correct_b: the same of b.
    """

    a: Scores
    b: Scores
    correct_a: Correct | None = None
    correct_b: Correct | None = None

    @property
    def shared(self) -> set[SeedPair]:
        """The pairs of seeds that both have."""
        return set(self.a.keys() & self.b.keys())


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


def measure(pairs: Sequence[Pair], level: float = LEVEL) -> Measured | None:
    """The difference a - b of one pair of rows, or its mean over several, as one number with one interval.

    It is taken over the pretraining seeds that all rows have. Test images count as a sample where every row has
    predictions for every pair of seeds, a and b on equally many images, and the predictions are those that the
    scores were taken from (they give the same number). Otherwise, and for what is no share of right answers
    (PSNR, SSIM, FID), the seeds alone are counted.

    A mean over several pairs allows for whatever they share: a seed's luck, because the mean is taken within
    each seed first, and the images of one data set, because it is taken within each image.

    Returns:
        None where no seed is shared by all.
    """
    seeds, shared = shared_by_all(pairs)
    if not seeds:
        return None
    if images_count(pairs, shared):
        difference, spread = spread_of(_tables(pairs, shared))
        if spread.measured:
            return Measured(difference, len(seeds), spread.half_width(level), spread, by_image=True)
    values = dict.fromkeys(sorted(seeds), 0.0)
    for pair, keys in zip(pairs, shared, strict=True):
        for seed, value in by_pretrain_seed({key: pair.a[key] - pair.b[key] for key in keys}).items():
            values[seed] += value / len(pairs)
    own = t_interval(values.values(), level)
    spread = None if own.sd is None else Spread(own.sd**2 / own.n, own.n - 1)
    if spread is None or not spread.measured:
        return Measured(own.mean, own.n)
    return Measured(own.mean, own.n, own.half, spread)


def shared_by_all(pairs: Sequence[Pair]) -> tuple[set[int], list[set[SeedPair]]]:
    """The pretraining seeds that all pairs of rows have, and of each pair of rows the pairs of seeds with these."""
    seeds = set.intersection(*({seed for seed, _ in pair.shared} for pair in pairs)) if pairs else set()
    return seeds, [{key for key in pair.shared if key[0] in seeds} for pair in pairs]


def images_count(pairs: Sequence[Pair], shared: Sequence[set[SeedPair]]) -> bool:
    """Whether the test images count as a sample beside the seeds: see `measure`."""
    several = all(len({seed for seed, _ in keys}) > 1 for keys in shared)
    return several and all(_same_images(pair, keys) for pair, keys in zip(pairs, shared, strict=True))


def _tables(pairs: Sequence[Pair], shared: Sequence[set[SeedPair]]) -> list[np.ndarray]:
    """The mean difference as a sum of tables [seeds, images], one for each number of test images.

    Pairs of rows on the same images are averaged image by image. Two data sets that happen to have equally many
    images are, too, which is harmless: the variance of a mean over unrelated images comes out the same.
    """
    tables: dict[int, np.ndarray] = {}
    for pair, keys in zip(pairs, shared, strict=True):
        correct = [{key: known[key] for key in keys} for known in (pair.correct_a, pair.correct_b) if known]
        by_seed = seeds_by_images(*correct)
        table = np.stack([rows.mean(axis=0) for rows in by_seed.values()]) / len(pairs)
        images = table.shape[1]
        tables[images] = tables[images] + table if images in tables else table
    return list(tables.values())


def _same_images(pair: Pair, keys: set[SeedPair]) -> bool:
    sizes = set()
    for scores, correct in ((pair.a, pair.correct_a), (pair.b, pair.correct_b)):
        if correct is None or not keys <= correct.keys():
            return False
        for key in keys:
            images = len(correct[key])
            sizes.add(images)
            # Half an image: scores may have been kept in single precision.
            if not math.isclose(np.count_nonzero(correct[key]), scores[key] * images, abs_tol=0.5):
                return False
    return len(sizes) == 1 and min(sizes) > 1
