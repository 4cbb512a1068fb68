"""The interval of a claim about methods covers other seeds and other test images."""

import math

import numpy as np
import pytest

from bench import stats


def correctness(rng, difference, seed_sd, seeds, images):
    """Two methods' correct images: skill varies by seed and method, difficulty by image and method."""
    easy = rng.normal(0, 0.2, images)
    out = []
    for shift in (difference, 0.0):
        skill = 0.3 + shift + easy + rng.normal(0, 0.08, images)
        out.append(
            {(s, 0): skill + rng.normal(0, seed_sd) + rng.normal(0, 0.05, images) for s in range(seeds)}
        )
    return out


@pytest.mark.parametrize(("seed_sd", "seeds", "images"), [(0.01, 3, 300), (0.02, 5, 200), (0.001, 3, 300)])
def test_claim_covers_other_seeds_and_other_images(seed_sd, seeds, images):
    rng = np.random.default_rng(seeds * images)
    trials, hits, seeds_only = 800, 0, 0
    for _ in range(trials):
        a, b = correctness(rng, 0.05, seed_sd, seeds, images)
        c = stats.claim(a, b)
        assert c is not None
        hits += abs(c.difference - 0.05) <= c.half
        d = stats.paired_difference({k: v.mean() for k, v in a.items()}, {k: v.mean() for k, v in b.items()})
        assert d is not None
        seeds_only += d.estimate.low <= 0.05 <= d.estimate.high
        assert c.difference == pytest.approx(d.estimate.mean)
    margin = 2.5 * math.sqrt(0.05 * 0.95 / trials)
    assert hits / trials >= 0.95 - margin
    if seed_sd < 0.005:
        assert seeds_only / trials < 0.9


def test_claim_with_negligible_image_variance_is_the_paired_t_interval():
    seeds = [0.31, 0.33, 0.30]
    a = {(s, 0): np.full(10_000, v) for s, v in enumerate(seeds)}
    b = {(s, 0): np.full(10_000, 0.3) for s in range(3)}
    c = stats.claim(a, b)
    expected = stats.t_interval([v - 0.3 for v in seeds])
    assert c is not None
    assert c.half == pytest.approx(expected.half)
    assert c.df == pytest.approx(2)


def test_claim_needs_two_seeds_and_the_same_images():
    one = {(0, 0): np.array([True, False, True])}
    assert stats.claim(one, one) is None
    two = {(s, 0): np.array([True, False, True]) for s in range(2)}
    assert stats.claim(two, two) is None
    with pytest.raises(ValueError, match="cannot be paired"):
        stats.claim(two, {pair: np.array([True]) for pair in two})


def test_seeds_that_agree_and_images_that_vary_prove_nothing():
    """The same predictions from every seed: no spread over seeds was measured."""
    rng = np.random.default_rng(0)
    once, other = rng.random(200) < 0.8, rng.random(200) < 0.2
    assert stats.claim({(s, 0): once for s in range(3)}, {(s, 0): other for s in range(3)}) is None


def test_claim_is_the_analysis_of_variance_of_statsmodels():
    import pandas
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(5)
    a, b = correctness(rng, 0.05, 0.03, 3, 12)
    c = stats.claim(a, b)
    table = pandas.DataFrame(
        [(s, e, a[s, 0][e] - b[s, 0][e]) for s in range(3) for e in range(12)], columns=["s", "e", "d"]
    )
    anova = anova_lm(ols("d ~ C(s) + C(e)", table).fit())
    seed, image, rest = anova["mean_sq"]
    assert c is not None
    assert c.seed_variance == pytest.approx(seed / 36)
    assert c.least_seed_variance == pytest.approx(rest / 36)
    assert c.test_variance == pytest.approx(max(0, image - rest) / 36)
    assert c.half == pytest.approx(c.spread.half_width())
    assert c.half == pytest.approx(stats.t_quantile(c.df) * c.spread.error)
