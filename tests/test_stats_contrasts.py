"""A difference counts the test images as a sample where predictions allow it, and says when they do not."""

import numpy as np
import pytest

from bench import stats
from bench.stats import ClaimData, ContrastData, Pair
from bench.stats.claims import Over


def right(rng, share, images=400, seeds=3):
    return {(s, 0): rng.random(images) < share for s in range(seeds)}


def means(correct):
    return {pair: float(np.mean(c)) for pair, c in correct.items()}


def pair(a, b):
    return Pair(means(a), means(b), a, b)


def judged(*pairs, over: Over = "each"):
    contrasts = tuple(ContrastData(str(i), *p) for i, p in enumerate(pairs))
    return stats.judge([ClaimData("c", contrasts, over)])[0]


def test_predictions_on_shared_images_count_the_images_as_a_sample():
    rng = np.random.default_rng(0)
    a, b = right(rng, 0.5), right(rng, 0.3)
    whole = stats.claim(a, b)
    assert whole is not None
    result = judged(pair(a, b))
    (own,) = result.contrasts
    assert own.by_image
    assert result.by_image
    assert (own.difference, own.half, own.p) == (whole.difference, whole.half, whole.p)
    assert (own.seed_variance, own.test_variance) == (whole.spread.likely_seed_variance, whole.test_variance)


@pytest.mark.parametrize("fault", ["absent", "one pair absent", "other images", "of another rule"])
def test_without_them_the_seeds_alone_are_counted_and_the_result_says_so(fault):
    rng = np.random.default_rng(1)
    a, b = right(rng, 0.5), right(rng, 0.3)
    kept = {
        "absent": None,
        "one pair absent": {key: c for key, c in b.items() if key[0]},
        "other images": right(rng, 0.3, images=200),
        "of another rule": {key: ~c for key, c in b.items()},
    }[fault]
    result = judged(Pair(means(a), means(b), a, kept))
    (own,) = result.contrasts
    expected = stats.paired_difference(means(a), means(b))
    assert expected is not None
    assert not own.by_image
    assert not result.by_image
    assert own.test_variance is None
    assert own.half == expected.estimate.half


def test_a_test_set_too_small_for_any_number_of_seeds_is_named():
    rng = np.random.default_rng(3)
    once = rng.random((2, 100)) < 0.3
    a, b = ({(s, 0): row ^ (rng.random(100) < 0.01) for s in range(3)} for row in once)
    (own,) = judged(pair(a, b)).contrasts
    assert own.seeds_needed is None
    assert own.test_set_forbids
    (seeds_alone,) = judged(Pair(means(a), means(b))).contrasts
    assert not seeds_alone.test_set_forbids


def test_a_mean_over_columns_of_one_test_set_keeps_what_they_share():
    """Four columns that are one and the same are no more than one of them."""
    rng = np.random.default_rng(4)
    same = pair(right(rng, 0.5), right(rng, 0.4))
    alone, four = stats.measure([same]), stats.measure([same] * 4)
    assert alone is not None
    assert four is not None
    assert four.half == pytest.approx(alone.half)
    assert four.by_image


def test_a_mean_over_test_sets_adds_their_samples_and_pairs_the_seeds():
    rng = np.random.default_rng(5)
    x, y = (pair(right(rng, 0.5, n), right(rng, 0.4, n)) for n in (300, 700))
    both = stats.measure([x, y])
    assert both is not None
    assert both.spread is not None
    own = [stats.claim(p.correct_a or {}, p.correct_b or {}) for p in (x, y)]
    assert both.spread.test_variance == pytest.approx(sum(c.test_variance for c in own if c) / 4)
    by_seed = [np.mean([p.a[s, 0] - p.b[s, 0] for p in (x, y)]) for s in range(3)]
    assert both.difference == pytest.approx(np.mean(by_seed))
    assert both.spread.seed_variance >= np.var(by_seed, ddof=1) / 3 - 1e-15
    average = judged(x, y, over="average").average
    assert average is not None
    assert (average.half, average.by_image) == (both.half, True)


def test_nothing_shared_is_nothing_measured():
    assert stats.measure([]) is None
    assert stats.measure([Pair({(0, 0): 0.1}, {(1, 0): 0.1})]) is None
    assert stats.measure([Pair({(0, 0): 0.1}, {(0, 0): 0.1}), Pair({(1, 0): 0.1}, {(1, 0): 0.1})]) is None
