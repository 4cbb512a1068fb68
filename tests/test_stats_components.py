"""The variance of an accuracy is split into pretraining seed, probe seed, test image and the rest, without bias."""

import numpy as np
import pytest

from bench import stats


def draw(rng, seeds, probes, images, sd_seed, sd_probe, sd_image, sd_rest):
    """Scores that have the stated components exactly; `probes` a number, or one for each seed."""
    image = rng.normal(0, sd_image, images)
    counts = [probes] * seeds if isinstance(probes, int) else probes
    return {
        (s, p): 0.4 + own + rng.normal(0, sd_probe) + image + rng.normal(0, sd_rest, images)
        for s, (own, count) in enumerate(zip(rng.normal(0, sd_seed, seeds), counts, strict=True))
        for p in range(count)
    }


@pytest.mark.parametrize("probes", [3, (1, 2, 4, 2)])
def test_each_component_is_found_on_average(probes):
    rng = np.random.default_rng(1)
    trials, found = 600, []
    for _ in range(trials):
        # Far from zero, so that cutting at zero adds no bias.
        c = stats.variance_components(draw(rng, 4, probes, 40, 0.05, 0.02, 0.2, 0.1))
        assert c is not None
        found.append((c.pretrain_seed, c.probe_seed, c.test_image, c.rest, c.one_seed))
    mean = np.mean(found, axis=0)
    error = np.std(found, axis=0) / np.sqrt(trials)
    harmonic = 3 if probes == 3 else 4 / (1 + 1 / 2 + 1 / 4 + 1 / 2)
    rest = 0.01 / harmonic
    expected = np.array([0.0025, 0.0004, 0.04, rest, 0.0025 + 0.0004 / harmonic + rest / 40])
    assert np.all(np.abs(mean - expected) < 3.5 * error + 0.01 * expected)


def test_two_seeds_and_two_images_by_hand():
    # Means of seeds 1/2 and 0, of images 1/2 and 0; MS_seed = MS_image = MS_rest = 1/4.
    c = stats.variance_components({(0, 0): np.array([True, False]), (1, 0): np.array([False, False])})
    assert c == stats.VarianceComponents(0.0, None, 0.0, 0.25, 2, 1.0, 2)
    assert c is not None
    assert c.of_mean() == {"pretraining seed": 0.0, "test image": 0.0, "rest": 0.0625}
    assert c.shares() == {"pretraining seed": 0.0, "test image": 0.0, "rest": 1.0}


def test_images_that_all_seeds_agree_on_are_the_images_share():
    once = np.array([True, True, False, False])
    c = stats.variance_components({(s, p): once for s in range(3) for p in range(2)})
    assert c is not None
    assert (c.pretrain_seed, c.probe_seed, c.rest) == (0.0, 0.0, 0.0)
    assert c.test_image == pytest.approx(np.var(once, ddof=1))
    assert c.shares()["test image"] == 1.0


def test_the_parts_add_up_to_what_the_claim_counts():
    rng = np.random.default_rng(2)
    a, b = (draw(rng, 3, 1, 200, 0.05, 0.0, 0.3, 0.1) for _ in range(2))
    c, whole = stats.variance_components(a, b), stats.claim(a, b)
    assert c is not None
    assert whole is not None
    assert sum(c.of_mean().values()) == pytest.approx(whole.spread.error**2)
    assert c.test_set == pytest.approx(whole.test_variance)
    assert c.one_seed / 3 == pytest.approx(whole.spread.likely_seed_variance)


def two_way(table):
    """Mean squares of rows, columns and the rest of a table, by statsmodels."""
    import pandas
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rows, columns = np.indices(table.shape)
    data = pandas.DataFrame({"r": rows.ravel(), "c": columns.ravel(), "y": table.ravel()})
    return anova_lm(ols("y ~ C(r) + C(c)", data).fit())["mean_sq"].to_numpy()


def test_it_solves_the_mean_squares_of_statsmodels():
    rng = np.random.default_rng(3)
    seeds, probes, images = 3, 2, 8
    scores = draw(rng, seeds, probes, images, 0.2, 0.2, 0.2, 0.1)
    y = np.array([[scores[s, p] for p in range(probes)] for s in range(seeds)])
    seed, image, rest = two_way(y.mean(axis=1))
    probe, _, left = np.mean([two_way(own) for own in y], axis=0)
    c = stats.variance_components(scores)
    assert c is not None
    assert c.rest == pytest.approx(rest)
    assert c.test_image == pytest.approx((image - rest) / seeds)
    assert c.probe_seed == pytest.approx((probe - left) / images)
    assert c.pretrain_seed == pytest.approx((seed - rest) / images - (probe - left) / images / probes)


def test_too_little_has_no_components():
    row = np.array([True, False, True])
    assert stats.variance_components({(0, 0): row, (0, 1): row}) is None
    assert stats.variance_components({(0, 0): row[:1], (1, 0): row[:1]}) is None
    assert stats.variance_components({(0, 0): row}, {(1, 0): row}) is None
    with pytest.raises(ValueError, match="2 and 3 test images"):
        stats.variance_components({(0, 0): row, (1, 0): row[:2]})
