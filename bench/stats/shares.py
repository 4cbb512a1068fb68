"""What the variance of a paired difference comes from: the pretraining seed, the probe seed, the test images."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.stats.components import probe_seed_variance
from bench.stats.contrasts import Pair, images_count, shared_by_all
from bench.stats.crossed import seeds_by_images, spread_of
from bench.stats.intervals import SeedPair


@dataclass(frozen=True)
class Split:
    """Shares of the variance of a mean difference, which add up to 1.

    Attributes:
        pretrain_seed: of the pretraining seeds; with the probe seeds' where `probe_seed` is None.
        probe_seed: of the probe seeds; None where each pretraining has one probe, so that the two vary together and
            cannot be told apart.
        test_images: of the test images, as far as all seeds agree about them. No number of seeds makes it smaller.
        rest: what single seeds make of single images beside all of the above. More seeds make it smaller, and so
            would more images.
    """

    pretrain_seed: float
    probe_seed: float | None
    test_images: float
    rest: float


def split(pairs: Sequence[Pair]) -> Split | None:
    """Where the variance of the difference a - b comes from, of one pair of rows or of the mean over several.

    Of one pair it is `variance_components(a, b).shares()`; the interval of `measure` is of the same variance, or of
    less where the probe seeds are estimated to vary by more than the seeds' means do. From
    few seeds every share is a guess: Var(pretraining seed) from three has a 95 % interval of a quarter to forty times
    itself.

    Returns:
        None where the images do not count as a sample (see `measure`), or nothing varies over seeds.
    """
    seeds, shared = shared_by_all(pairs)
    if not seeds or not images_count(pairs, shared):
        return None
    tables = _tables(pairs, shared)
    _, spread = spread_of([np.stack([rows.mean(axis=0) for rows in own]) for own in tables])
    if not spread.measured:
        return None
    probe = None
    if all(keys == shared[0] for keys in shared):
        probe = probe_seed_variance(tables)
    per_seed = sum(1 / len(rows) for rows in tables[0]) / len(tables[0]) ** 2
    probes = (probe or 0.0) * per_seed
    rest = spread.least_seed_variance
    pretrain = max(0.0, spread.seed_variance - rest - probes)
    whole = pretrain + probes + spread.test_variance + rest
    return Split(
        pretrain / whole,
        None if probe is None else probes / whole,
        spread.test_variance / whole,
        rest / whole,
    )


def _tables(pairs: Sequence[Pair], shared: Sequence[set[SeedPair]]) -> list[list[np.ndarray]]:
    """One for each number of test images, as `measure` has it: of each pretraining seed float [probe seeds, n_test].

    Where pairs of rows have different probe seeds on one pretraining, these are averaged.
    """
    alike = all(keys == shared[0] for keys in shared)
    tables: dict[int, list[np.ndarray]] = {}
    for pair, keys in zip(pairs, shared, strict=True):
        correct = [{key: known[key] for key in keys} for known in (pair.correct_a, pair.correct_b) if known]
        rows = [own / len(pairs) for own in seeds_by_images(*correct).values()]
        if not alike:
            rows = [own.mean(axis=0, keepdims=True) for own in rows]
        images = rows[0].shape[1]
        tables[images] = (
            [a + b for a, b in zip(tables[images], rows, strict=True)] if images in tables else rows
        )
    return list(tables.values())
