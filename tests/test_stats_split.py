"""The variance of a difference is split as its interval counts it, and seeds are advised at the table's level."""

import numpy as np
import pytest

from bench import stats
from bench.stats import ClaimData, ContrastData, Pair


def right(rng, level, probes=1, seeds=3, images=400, sd_seed=0.03, sd_probe=0.02, easy=None):
    """Which images each probe gets right; images differ in how hard they are."""
    easy = rng.normal(0, 0.3, images) if easy is None else easy
    found = {}
    for seed in range(seeds):
        luck = rng.normal(0, sd_seed)
        for probe in range(probes):
            own = level + luck + rng.normal(0, sd_probe)
            found[seed, probe if probes > 1 else seed] = rng.random(images) < np.clip(own + easy, 0.02, 0.98)
    return found


def pair(a, b):
    return Pair({k: v.mean() for k, v in a.items()}, {k: v.mean() for k, v in b.items()}, a, b)


@pytest.mark.parametrize("probes", [1, 3])
@pytest.mark.parametrize("start", range(4))
def test_of_one_pair_it_is_the_components(probes, start):
    rng = np.random.default_rng(start)
    a, b = right(rng, 0.5, probes), right(rng, 0.4, probes)
    own, parts = stats.split([pair(a, b)]), stats.variance_components(a, b)
    assert own is not None
    assert parts is not None
    shares = parts.shares()
    assert own.pretrain_seed == pytest.approx(shares["pretraining seed"])
    assert own.probe_seed == (pytest.approx(shares["probe seed"]) if probes > 1 else None)
    assert own.test_images == pytest.approx(shares["test image"])
    assert own.rest == pytest.approx(shares["rest"])


def test_the_images_share_is_that_of_the_interval():
    rng = np.random.default_rng(1)
    for pairs in (
        [pair(right(rng, 0.5), right(rng, 0.4))] * 1,
        [pair(right(rng, 0.5), right(rng, 0.4)) for _ in "ab"],
    ):
        own, measured = stats.split(pairs), stats.measure(pairs)
        assert own is not None
        assert measured is not None
        assert measured.spread is not None
        assert own.test_images == pytest.approx(measured.spread.test_variance / measured.spread.error**2)
        assert own.pretrain_seed + own.test_images + own.rest == pytest.approx(1)


def test_a_mean_over_copies_of_one_pair_splits_like_the_pair():
    rng = np.random.default_rng(2)
    same = pair(right(rng, 0.5, 2), right(rng, 0.4, 2))
    alone, four = stats.split([same]), stats.split([same] * 4)
    assert alone is not None
    assert four is not None
    assert (four.pretrain_seed, four.probe_seed, four.rest) == pytest.approx(
        (alone.pretrain_seed, alone.probe_seed, alone.rest)
    )


def test_over_several_test_sets_each_part_is_found():
    """Probes that vary together over two data sets, and nothing else that varies between seeds."""
    rng = np.random.default_rng(3)
    found = []
    for _ in range(60):
        luck = rng.normal(0, 0.08, (4, 3))
        sets = []
        for images in (300, 500):
            base = rng.random(images)
            a = {(s, p): base < 0.5 + luck[s, p] for s in range(4) for p in range(3)}
            b = {key: rng.random(images) < 0.4 for key in a}
            sets.append(pair(a, b))
        own = stats.split(sets)
        assert own is not None
        assert own.probe_seed is not None
        found.append((own.pretrain_seed, own.probe_seed))
    pretrain, probe = np.mean(found, axis=0)
    assert probe > 0.4 > 0.3 > pretrain


def test_one_probe_a_pretraining_is_not_told_apart():
    rng = np.random.default_rng(4)
    own = stats.split([pair(right(rng, 0.5), right(rng, 0.4))])
    assert own is not None
    assert own.probe_seed is None


def test_without_predictions_or_spread_nothing_is_split():
    rng = np.random.default_rng(5)
    a, b = right(rng, 0.5), right(rng, 0.4)
    known = pair(a, b)
    assert stats.split([Pair(known.a, known.b)]) is None
    assert stats.split([]) is None
    once = dict.fromkeys(a, a[0, 0])
    assert stats.split([pair(once, once)]) is None


def contrast(values, name):
    a = {(seed, seed): value for seed, value in enumerate(values)}
    return ContrastData(name, a, dict.fromkeys(a, 0.0))


def test_every_difference_of_a_table_is_planned_at_the_level_that_its_claim_has_to_stand():
    table = [ClaimData(str(i), (contrast([0.02, -0.01, 0.01], "x"),)) for i in range(5)]
    (alone,), first = stats.judge(table[:1]), stats.judge(table)[0]
    (few,), (more,) = alone.contrasts, first.contrasts
    assert (few.level, more.level) == (0.05, pytest.approx(0.01))
    assert few.seeds_needed is not None
    assert more.seeds_needed is not None
    assert few.seeds_needed < more.seeds_needed
    assert few.seed_variance is not None
    assert more.seeds_needed == stats.seeds_to_separate(
        0.02 / 3, seed_variance=3 * few.seed_variance, alpha=0.01
    )


def test_a_baseline_plans_for_as_many_differences_as_the_table_tests():
    scores = {name: {(s, s): v for s, v in enumerate(values)} for name, values in
              {"base": [0.3, 0.34, 0.31], "other": [0.32, 0.33, 0.33], "lone": [0.4]}.items()}  # fmt: skip
    one = stats.against_baseline({"x": scores}, "base")["x"]
    two = stats.against_baseline({"x": scores, "y": scores}, "base")["x"]
    assert one["lone"].seeds_needed is None
    assert (one["other"].level, two["other"].level) == (0.05, 0.025)
    assert one["other"].seeds_needed is not None
    assert two["other"].seeds_needed is not None
    assert one["other"].seeds_needed < two["other"].seeds_needed


def test_a_baseline_splits_where_predictions_were_kept():
    rng = np.random.default_rng(6)
    correct = {"base": right(rng, 0.4), "other": right(rng, 0.5)}
    scores = {name: {k: v.mean() for k, v in own.items()} for name, own in correct.items()}
    kept = stats.against_baseline({"x": scores}, "base", {"x": correct})["x"]["other"]
    assert kept.split == stats.split([pair(correct["other"], correct["base"])])
    assert stats.against_baseline({"x": scores}, "base")["x"]["other"].split is None


@pytest.mark.parametrize("values", [[0.3, 0.3], [0.1 + 0.2, 0.3, 0.3]])
def test_seeds_that_agree_have_no_interval(values):
    found = stats.t_interval(values)
    assert (found.half, found.agree) == (None, True)
    assert found.low < 0 < 1 < found.high
    assert not stats.t_interval(values[:1]).agree
    assert not stats.t_interval([0.3, 0.31]).agree
