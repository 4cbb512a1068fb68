"""Synthetic studies whose truth is known: methods trained with paired seeds, tested on sampled images.

A prediction is right where a latent score exceeds the threshold of its accuracy:

    x = sqrt(.5) * difficulty[e] + sqrt(.2) * affinity[m, e] + sqrt(.1) * affinity[c, m, e]
        + sqrt(.2) * luck[c, m, s, p, e]
    right = x > -ndtri(accuracy[c, m, s, p])

for column c, method m, pretraining seed s, probe seed p and test image e, all terms normal with variance 1, as x is.
So the accuracy of a trained backbone and probe over all images there might be is exactly accuracy[c, m, s, p], which
is drawn around the method's with exactly the stated standard deviations over seeds; what an observed accuracy varies
by beyond that is the images' doing. Methods agree on which images are hard (difficulty), differ lastingly on some
(affinity: what no number of seeds averages away), and each training on a few more (luck). At an accuracy of 30 % two
methods agree on 71 % of images, two seeds of one on 82 %, and 1,340 images leave a difference a standard error of
0.9 points; Indoor67's is 0.8 to 1.4.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.stats.contrasts import Pair
from bench.stats.intervals import SeedPair

DIFFICULTY, AFFINITY, COLUMN_AFFINITY, LUCK = 0.5, 0.2, 0.1, 0.2


@dataclass(frozen=True)
class Setting:
    """What a synthetic study is drawn from.

    Attributes:
        seed_sd: standard deviation over pretraining seeds of a method's accuracy, a fraction.
        seeds: pretraining seeds.
        images: test images of each data set.
        shared: share of a seed's variance that is common to all methods, as data order and splits are. The paired
            difference of two methods has the standard deviation seed_sd * sqrt(2 * (1 - shared)).
        probes: probe seeds a pretraining.
        probe_sd: standard deviation over the probe seeds of one pretraining.
    """

    seed_sd: float
    seeds: int
    images: int
    shared: float = 0.0
    probes: int = 1
    probe_sd: float = 0.0


@dataclass(frozen=True)
class Column:
    """Scores and predictions of a column, by row.

    Attributes:
        scores: row -> accuracy by pair of seeds.
        correct: row -> bool [n_test] by pair of seeds.
    """

    scores: dict[str, dict[SeedPair, float]]
    correct: dict[str, dict[SeedPair, np.ndarray]]

    def pair(self, a: str, b: str) -> Pair:
        """Two rows with their predictions."""
        return Pair(self.scores[a], self.scores[b], self.correct[a], self.correct[b])


@dataclass(frozen=True)
class Latent:
    """A data set's standard normal variables: what becomes a study once spreads and accuracies are chosen.

    Attributes:
        score: float32 [columns, rows, seeds, probes, n_test]: the latent scores.
        common: [2, columns, 1, seeds]: the seeds' effect that all rows share, of the data set and of each column.
        own: [2, columns, rows, seeds]: that of one row.
        probe: [columns, rows, seeds, probes].
    """

    score: np.ndarray
    common: np.ndarray
    own: np.ndarray
    probe: np.ndarray

    def columns(self, setting: Setting, accuracies: Sequence[dict[str, float]]) -> list[Column]:
        """The columns of a data set, such as freeze points, as records of runs would give them; see `right`."""
        return [_column(list(accuracies[0]), table) for table in self.right(setting, accuracies)]

    def right(self, setting: Setting, accuracies: Sequence[dict[str, float]]) -> list[np.ndarray]:
        """Which predictions are right, for each column; the columns' seeds have half of their effects in common.

        Args:
            setting: the spreads; seeds, probes and images as drawn.
            accuracies: for each column, row -> accuracy over all seeds and images there might be; more columns
                than were drawn are left aside.

        Returns:
            Each bool [rows, seeds, probes, n_test].

        Raises:
            ValueError: the spread over seeds is too large for the accuracies.
        """
        accuracies = accuracies[: len(self.score)]
        effects = math.sqrt(setting.shared) * self.common + math.sqrt(1 - setting.shared) * self.own
        of_data_set, of_column = effects[0, :1], effects[1]
        effect = math.sqrt(0.5) * (of_data_set + of_column)
        true = np.array([list(column.values()) for column in accuracies])[:, :, None]
        true = true + setting.seed_sd * effect
        thresholds = _thresholds(true[..., None] + setting.probe_sd * self.probe)
        return [x > t[..., None] for x, t in zip(self.score, thresholds, strict=True)]


def draw(rng: np.random.Generator, setting: Setting, columns: int, rows: int) -> Latent:
    """A data set's variables for so many columns and rows; of the setting only the numbers count, not the spreads."""

    def normal(variance: float, *shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32) * np.float32(math.sqrt(variance))

    shape = (columns, rows, setting.seeds)
    hard = normal(DIFFICULTY, setting.images) + normal(AFFINITY, rows, setting.images)
    lasting = hard + normal(COLUMN_AFFINITY, columns, rows, setting.images)
    score = normal(LUCK, *shape, setting.probes, setting.images)
    score += lasting[:, :, None, None, :]
    return Latent(
        score,
        rng.standard_normal((2, columns, 1, setting.seeds)),
        rng.standard_normal((2, *shape)),
        rng.standard_normal((*shape, setting.probes)),
    )


def draw_column(rng: np.random.Generator, setting: Setting, accuracies: dict[str, float]) -> Column:
    """A data set with one column; accuracies by row."""
    return draw(rng, setting, 1, len(accuracies)).columns(setting, [accuracies])[0]


def image_variance(accuracy: float, setting: Setting) -> float:
    """The true variance of the test images' component of an accuracy: the covariance of two seeds on one image."""
    from scipy.stats import multivariate_normal

    # Two thresholds, each varying with its seeds: five nodes a side integrate polynomials of degree nine.
    nodes, weights = np.polynomial.hermite_e.hermegauss(5)
    seen = accuracy + nodes * math.hypot(setting.seed_sd, setting.probe_sd)
    limits = -_thresholds(seen).astype(np.float64)
    correlated: Any = [[1, 1 - LUCK], [1 - LUCK, 1]]
    both = np.array([[multivariate_normal.cdf([h, k], cov=correlated) for k in limits] for h in limits])
    weights = weights / weights.sum()
    return float(weights @ both @ weights) - accuracy**2


def _thresholds(accuracy: np.ndarray) -> np.ndarray:
    from scipy.special import ndtri

    if not ((accuracy > 0) & (accuracy < 1)).all():
        raise ValueError("an accuracy left (0, 1): the spread over seeds is too large for it")
    return -ndtri(accuracy).astype(np.float32)


def _column(rows: Sequence[str], right: np.ndarray) -> Column:
    """From bool [rows, seeds, probes, images]."""
    _, seeds, probes, images = right.shape
    pairs = [(s, p) for s in range(seeds) for p in range(probes)]
    shares = np.count_nonzero(right, axis=3) / images
    return Column(
        {row: {pair: float(shares[r][pair]) for pair in pairs} for r, row in enumerate(rows)},
        {row: {pair: right[r][pair] for pair in pairs} for r, row in enumerate(rows)},
    )
