"""Where the uncertainty of an accuracy, or of a paired difference, comes from."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.crossed import Correct, mean_squares, seeds_by_images


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of the parts of one prediction's correctness, or of the difference of two paired ones.

    With Y[s, p, e] for pretraining seed s, probe seed p within it and test image e,

        Y[s, p, e] = mean + S[s] + P[s, p] + E[e] + rest

    Attributes:
        pretrain_seed: Var(S). Where each pretraining has one probe, Var(S) + Var(P): they cannot be told apart.
        probe_seed: Var(P); None where each pretraining has one probe.
        test_image: Var(E): how much the images differ in what all seeds make of them.
        rest: variance left in one entry of the table [pretraining seed, test image], probe seeds averaged: what one
            seed makes of one image beside all of the above.
        num_seeds: pretraining seeds.
        num_probes: probe seeds a pretraining; where they differ, the harmonic mean, which is what counts.
        num_images: test images.
    """

    pretrain_seed: float
    probe_seed: float | None
    test_image: float
    rest: float
    num_seeds: int
    num_probes: float
    num_images: int

    @property
    def one_seed(self) -> float:
        """Variance at one pretraining seed beside what the test images share; more seeds divide it."""
        return self.pretrain_seed + (self.probe_seed or 0.0) / self.num_probes + self.rest / self.num_images

    @property
    def test_set(self) -> float:
        """Variance of the mean over this many test images that no number of seeds makes smaller."""
        return self.test_image / self.num_images

    def of_mean(self) -> dict[str, float]:
        """What each part adds to the variance of the mean over seeds, probes and images.

        Returns:
            In this order "pretraining seed", "probe seed" (where it was measured), "test image", "rest".
        """
        parts = {"pretraining seed": self.pretrain_seed / self.num_seeds}
        if self.probe_seed is not None:
            parts["probe seed"] = self.probe_seed / (self.num_seeds * self.num_probes)
        parts["test image"] = self.test_set
        parts["rest"] = self.rest / (self.num_seeds * self.num_images)
        return parts

    def shares(self) -> dict[str, float]:
        """`of_mean` as fractions of their sum; empty where nothing varies."""
        parts = self.of_mean()
        total = sum(parts.values())
        return {name: part / total for name, part in parts.items()} if total > 0 else {}


def variance_components(correct: Correct, against: Correct | None = None) -> VarianceComponents | None:
    """The components of an accuracy, or of a difference from another method, by the method of moments.

    The analysis of variance's mean squares are set equal to what they are expected to be and solved for the
    variances (Searle, Casella, McCulloch, *Variance Components*, 1992, chapters 3 and 4); what comes out below zero
    is set to zero, which is the only bias. With unequal numbers of probes the seeds' means count alike, and the
    equations hold exactly with the harmonic mean of the numbers. Each is estimated from few seeds: Var(S) from three
    has a 95 % interval of a quarter to forty times itself.

    Args:
        correct: bool [n_test] for each pair (pretraining seed, probe seed): which test images were right.
        against: of another method on the same images in the same order, for the components of the paired
            difference over the pairs of seeds that both have.

    Returns:
        None where there are fewer than two pretraining seeds or test images.

    Raises:
        ValueError: not all were tested on the same number of images.
    """
    grouped = list(seeds_by_images(correct, against).values())
    if len(grouped) < 2 or grouped[0].shape[1] < 2:
        return None
    ms = mean_squares(np.stack([rows.mean(axis=0) for rows in grouped]))
    num_probes = len(grouped) / sum(1 / len(rows) for rows in grouped)
    seeds = max(0.0, (ms.seed - ms.rest) / ms.images)
    probe = probe_seed_variance([grouped])
    return VarianceComponents(
        pretrain_seed=max(0.0, seeds - (probe or 0.0) / num_probes),
        probe_seed=probe,
        test_image=max(0.0, (ms.image - ms.rest) / ms.seeds),
        rest=ms.rest,
        num_seeds=ms.seeds,
        num_probes=num_probes,
        num_images=ms.images,
    )


def probe_seed_variance(tables: Sequence[Sequence[np.ndarray]]) -> float | None:
    """Var(P) of the sum of the tables' means; None without a second probe of any pretraining.

    Within a pretraining the means over images of its probes vary by Var(P) and by what the images leave, which is
    known from every table: E[variance of the means] = Var(P) + the sum over tables of E[MS_left] / images.

    Args:
        tables: one for each test set; of each a table float [probe seeds, n_test] for each pretraining seed. All
            have the same pretraining and probe seeds in the same order.
    """
    free = sum(len(rows) - 1 for rows in tables[0])
    if not free:
        return None
    found = 0.0
    for own in zip(*tables, strict=True):
        if len(own[0]) > 1:
            means = np.sum([rows.mean(axis=1) for rows in own], axis=0)
            left = sum(mean_squares(rows).rest / rows.shape[1] for rows in own)
            found += (len(means) - 1) * (float(means.var(ddof=1)) - left)
    return max(0.0, found / free)
