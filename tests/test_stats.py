"""The intervals cover what they say, and the marking does not cry wolf."""

import itertools
import math

import numpy as np
import pytest

from bench import stats


def paired(values):
    return {(seed, 0): float(v) for seed, v in enumerate(values)}


def test_t_interval_is_scipys():
    from scipy import stats as reference

    x = [0.281, 0.294, 0.279, 0.301]
    ours = stats.t_interval(x)
    low, high = reference.t.interval(0.95, len(x) - 1, loc=np.mean(x), scale=reference.sem(x))
    assert ours.low == pytest.approx(low)
    assert ours.high == pytest.approx(high)
    assert ours.n == 4


def test_one_seed_has_no_interval():
    one = stats.t_interval([0.3])
    assert one == stats.Estimate(0.3, None, 1, None)
    assert (one.low, one.high) == (-math.inf, math.inf)
    with pytest.raises(ValueError, match="at least one"):
        stats.t_interval([])


def test_paired_difference_is_scipys_paired_test_and_narrower_than_its_parts():
    from scipy import stats as reference

    a, b = [0.31, 0.35, 0.28, 0.33], [0.29, 0.34, 0.265, 0.305]
    ours = stats.paired_difference(paired(a), paired(b))
    assert ours is not None
    assert ours.p == pytest.approx(reference.ttest_rel(a, b).pvalue)
    own = stats.t_interval(a)
    assert ours.estimate.high - ours.estimate.low < own.high - own.low


def test_pairs_are_matched_by_seed_and_not_by_position():
    a = {(0, 0): 0.5, (1, 0): 0.6, (2, 0): 0.7}
    b = {(2, 0): 0.6, (1, 0): 0.5, (7, 0): 0.1}
    ours = stats.paired_difference(a, b)
    assert ours is not None
    assert ours.estimate.n == 2
    assert ours.estimate.mean == pytest.approx(0.1)
    assert stats.paired_difference(a, {(9, 0): 0.1}) is None


def test_probe_seeds_are_averaged_within_a_pretraining_seed():
    scores = {(0, 0): 0.2, (0, 1): 0.4, (1, 0): 0.5, (1, 1): 0.5}
    assert stats.by_pretrain_seed(scores) == pytest.approx({0: 0.3, 1: 0.5})
    assert stats.estimate(scores).n == 2
    difference = stats.paired_difference(scores, dict.fromkeys(scores, 0.1))
    assert difference is not None
    assert difference.estimate.n == 2


def test_differences_without_spread_prove_nothing():
    """Two seeds that agree to the last image must not come out as certainty."""
    certain = stats.paired_difference(paired([0.5, 0.6]), paired([0.4, 0.5]))
    assert certain is not None
    assert certain.p is None
    same = stats.paired_difference(paired([0.5, 0.6]), paired([0.5, 0.6]))
    assert same is not None
    assert same.p == 1.0


def test_holm_is_statsmodels():
    from statsmodels.stats.multitest import multipletests

    p = [0.04, 0.001, 0.3, 0.012, 0.012, 0.9]
    assert np.asarray(stats.holm(p)) == pytest.approx(np.asarray(multipletests(p, method="holm")[1]))
    assert stats.holm([]) == []


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (10, 10), (2857, 10000), (175, 1340)])
def test_wilson_is_statsmodels(correct, total):
    from statsmodels.stats.proportion import proportion_confint

    assert stats.wilson(correct, total) == pytest.approx(
        proportion_confint(correct, total, method="wilson"), abs=1e-12
    )


def test_wilson_refuses_what_is_no_accuracy():
    with pytest.raises(ValueError, match="no accuracy"):
        stats.wilson(11, 10)


@pytest.mark.parametrize("n", [3, 5])
def test_t_interval_covers_95_percent(n):
    rng = np.random.default_rng(n)
    draws = rng.normal(0.3, 0.01, size=(4000, n))
    hits = sum(e.low <= 0.3 <= e.high for e in map(stats.t_interval, draws))
    assert 0.94 <= hits / 4000 <= 0.96


def test_percentile_bootstrap_at_three_seeds_does_not():
    rng = np.random.default_rng(0)
    draws = rng.normal(0.3, 0.01, size=(4000, 3))
    resamples = np.array(list(itertools.product(range(3), repeat=3)))
    means = draws[:, resamples].mean(axis=2)
    low, high = np.quantile(means, [0.025, 0.975], axis=1, method="inverted_cdf")
    coverage = np.mean((low <= 0.3) & (high >= 0.3))
    assert 0.70 <= coverage <= 0.80


@pytest.mark.parametrize(("rows", "n"), [(2, 3), (6, 3), (9, 5)])
def test_marking_raises_false_alarms_in_at_most_5_percent_of_columns(rows, n):
    rng = np.random.default_rng(rows * 10 + n)
    trials, alarms = 400, 0
    for _ in range(trials):
        luck = rng.normal(0, 0.02, size=n)
        column = {f"m{i}": paired(0.3 + luck + rng.normal(0, 0.01, size=n)) for i in range(rows)}
        alarms += any(v.standing == "below" for v in stats.compare_to_best(column).values())
    assert alarms / trials <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / trials)


def test_marking_sees_a_large_difference():
    rng = np.random.default_rng(4)
    luck = rng.normal(0, 0.03, size=5)
    column = {
        "good": paired(0.50 + luck + rng.normal(0, 0.002, 5)),
        "as good": paired(0.50 + luck + rng.normal(0, 0.002, 5)),
        "bad": paired(0.30 + luck + rng.normal(0, 0.002, 5)),
    }
    verdicts = stats.compare_to_best(column)
    assert verdicts["bad"].standing == "below"
    assert {verdicts["good"].standing, verdicts["as good"].standing} == {"best", "tied"}


def test_marking_says_when_it_cannot_tell():
    several, one = paired([0.5, 0.52, 0.51]), {(0, 0): 0.6}
    other = {(8, 0): 0.4, (9, 0): 0.41}
    assert stats.compare_to_best({"a": one, "b": {(0, 0): 0.1}}) == {
        "a": stats.Verdict("unknown"),
        "b": stats.Verdict("unknown"),
    }
    verdicts = stats.compare_to_best({"a": several, "b": paired([0.49, 0.5, 0.52]), "c": one, "d": other})
    assert verdicts["a"].standing == "best"
    assert verdicts["c"].standing == "unknown"
    assert verdicts["d"].standing == "unknown"
    assert stats.compare_to_best({"a": several}) == {"a": stats.Verdict("alone")}
    assert stats.compare_to_best({}) == {}


def test_importing_stats_does_not_load_scipy():
    import subprocess
    import sys

    code = (
        "import sys, bench.stats; "
        "sys.exit(any(m.split('.')[0] in ('scipy', 'statsmodels') for m in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
