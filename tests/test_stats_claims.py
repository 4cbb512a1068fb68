"""A claim is supported, contradicted or undecided by its intervals; what was not run decides nothing."""

import dataclasses
import math

import numpy as np
import pytest

from bench import stats
from bench.stats import ClaimData, ContrastData


def paired(values):
    return {(seed, 0): float(v) for seed, v in enumerate(values)}


def contrast(differences, name="c", **kw):
    """b at 0.4 for every seed and a at the differences above it."""
    return ContrastData(
        name, paired(0.4 + np.asarray(differences)), paired(np.full(len(differences), 0.4)), **kw
    )


def one(direction, *contrasts, margin=None):
    (result,) = stats.judge([ClaimData("claim", direction, contrasts, margin)])
    return result


UP, DOWN, NOISE = [0.05, 0.051, 0.049], [-0.05, -0.051, -0.049], [0.05, -0.02, 0.01]


@pytest.mark.parametrize(
    ("direction", "differences", "verdict"),
    [
        ("higher", UP, "supported"),
        ("higher", DOWN, "contradicted"),
        ("higher", NOISE, "undecided"),
        ("lower", DOWN, "supported"),
        ("lower", UP, "contradicted"),
    ],
)
def test_one_contrast_is_judged_by_its_interval(direction, differences, verdict):
    result = one(direction, contrast(differences))
    assert result.verdict == verdict
    (own,) = result.contrasts
    expected = stats.paired_difference(paired(differences), paired([0, 0, 0]))
    assert expected is not None
    assert expected.estimate.half is not None
    assert expected.p is not None
    assert (own.difference, own.half, own.p) == pytest.approx(
        (expected.estimate.mean, expected.estimate.half, expected.p)
    )
    assert result.p == result.p_adjusted
    assert result.p == pytest.approx(own.p)
    assert not result.by_image


def test_support_needs_every_contrast_and_goes_by_the_weakest():
    weak = [0.05, 0.058, 0.042]
    both = one("higher", contrast(UP, "x"), contrast(weak, "y"))
    assert both.verdict == "supported"
    assert both.p == max(c.p for c in both.contrasts if c.p is not None)
    assert one("higher", contrast(UP, "x"), contrast(NOISE, "y")).verdict == "undecided"


def test_one_contrast_the_other_way_contradicts_after_holm():
    result = one("higher", contrast(UP, "x"), contrast(DOWN, "y"), contrast(NOISE, "z"))
    assert result.verdict == "contradicted"
    p = [c.p for c in result.contrasts if c.p is not None]
    assert [c.p_adjusted for c in result.contrasts] == pytest.approx(stats.holm(p))
    assert result.p == result.contrasts[1].p_adjusted
    # Significant by itself, and not among three.
    barely = [-0.05, -0.07, -0.03]
    assert one("higher", contrast(barely)).verdict == "contradicted"
    assert one("higher", contrast(barely, "x"), *(contrast(NOISE, n) for n in "yz")).verdict == "undecided"


def test_a_contrast_may_expect_something_of_its_own():
    """N helps on one data set and makes no difference on another."""
    flat = [0.001, -0.001, 0.0005]
    mixed = one("higher", contrast(UP, "x"), contrast(flat, "y", direction="similar"), margin=0.01)
    assert mixed.verdict == "supported"
    assert one("higher", contrast(UP, "x"), contrast(flat, "y")).verdict == "undecided"


@pytest.mark.parametrize(
    "differences", [[0.001, -0.002, 0.002, 0.0005], [0.003, 0.004, 0.0045], [0.03, 0.06, 0.05]]
)
def test_similarity_is_statsmodels_equivalence_test_on_the_two_sided_scale(differences):
    from scipy import stats as reference
    from statsmodels.stats.weightstats import ttost_paired

    a, margin = np.asarray(differences), 0.01
    tost = ttost_paired(a, np.zeros(len(a)), -margin, margin)[0]
    (own,) = one("similar", contrast(differences), margin=margin).contrasts
    if abs(a.mean()) < margin:
        assert own.p == pytest.approx(min(1, 2 * tost))
        assert own.as_expected
    else:
        assert own.p == pytest.approx(reference.ttest_1samp(a, margin)[1])
        assert not own.as_expected


def test_similar_means_that_the_interval_lies_within_the_margin():
    flat, far = [0.001, -0.001, 0.0005], [-0.05, -0.051, -0.049]
    assert one("similar", contrast(flat), margin=0.01).verdict == "supported"
    assert one("similar", contrast(flat), margin=0.002).verdict == "undecided"
    assert one("similar", contrast(far), margin=0.01).verdict == "contradicted"
    assert one("similar", contrast(NOISE), margin=0.01).verdict == "undecided"
    for margin in (0.0015, 0.002, 0.003, 0.005):
        result = one("similar", contrast(flat), margin=margin)
        (own,) = result.contrasts
        assert own.half is not None
        assert own.difference is not None
        assert (result.verdict == "supported") == (abs(own.difference) + own.half < margin)


def test_holm_runs_over_the_claims_of_the_table_that_could_be_tested():
    middling = [0.05, 0.07, 0.03]
    claims = [
        ClaimData("strong", "higher", (contrast(UP),)),
        ClaimData("middling", "higher", (contrast(middling),)),
        ClaimData("noise", "higher", (contrast(NOISE),)),
        ClaimData("one seed", "higher", (contrast([0.3]),)),
        ClaimData("absent", "higher", (ContrastData("c", {}, paired(UP)),)),
    ]
    results = stats.judge(claims)
    assert [r.name for r in results] == [c.name for c in claims]
    assert [r.verdict for r in results] == ["supported", "undecided", "undecided", "undecided", "not run"]
    assert stats.judge(claims[1:2])[0].verdict == "supported"
    p = [r.p for r in results[:3]]
    assert all(v is not None for v in p)
    assert [r.p_adjusted for r in results[:3]] == pytest.approx(stats.holm([v for v in p if v is not None]))
    assert results[3].p_adjusted is None
    assert stats.judge([]) == []


def test_what_is_not_there_decides_nothing():
    empty = ContrastData("y", {}, {})
    assert one("higher", empty).verdict == "not run"
    partly = one("higher", contrast(UP, "x"), empty)
    assert (partly.verdict, partly.missing) == ("undecided", 1)
    assert one("higher", contrast(DOWN, "x"), empty).verdict == "contradicted"
    (alone,) = one("higher", contrast([0.2])).contrasts
    assert (alone.n, alone.half, alone.p, alone.seeds_needed) == (1, None, None, None)
    assert alone.difference == pytest.approx(0.2)
    for same in ([0.05, 0.05], [0.0, 0.0]):
        for direction, margin in (("higher", None), ("similar", 0.01)):
            assert one(direction, contrast(same), margin=margin).verdict == "undecided"


def right(rng, share, images=400, seeds=3):
    return {(s, 0): rng.random(images) < share for s in range(seeds)}


def means(correct):
    return {pair: float(np.mean(c)) for pair, c in correct.items()}


def test_predictions_on_shared_images_count_the_images_as_a_sample():
    rng = np.random.default_rng(0)
    a, b = right(rng, 0.5), right(rng, 0.3)
    whole = stats.claim(a, b)
    assert whole is not None
    (own,) = one("higher", ContrastData("c", means(a), means(b), a, b)).contrasts
    assert own.by_image
    assert (own.difference, own.half, own.p) == (whole.difference, whole.half, whole.p)
    assert (own.seed_variance, own.test_variance) == (whole.seed_variance, whole.test_variance)


@pytest.mark.parametrize("fault", ["absent", "one pair absent", "other images", "of another rule"])
def test_without_them_the_seeds_alone_are_counted_and_the_result_says_so(fault):
    rng = np.random.default_rng(1)
    a, b = right(rng, 0.5), right(rng, 0.3)
    kept = {
        "absent": None,
        "one pair absent": {pair: c for pair, c in b.items() if pair[0]},
        "other images": right(rng, 0.3, images=200),
        "of another rule": {pair: ~c for pair, c in b.items()},
    }[fault]
    result = one("higher", ContrastData("c", means(a), means(b), a, kept))
    (own,) = result.contrasts
    expected = stats.paired_difference(means(a), means(b))
    assert expected is not None
    assert not own.by_image
    assert not result.by_image
    assert own.test_variance is None
    assert own.half == expected.estimate.half


def test_a_metric_that_is_no_accuracy_is_judged_in_its_own_unit():
    psnr = ContrastData("psnr", paired([21.0, 21.2, 21.1]), paired([19.0, 19.3, 19.1]))
    assert one("higher", psnr).verdict == "supported"
    assert one("lower", psnr).verdict == "contradicted"


def test_undecided_says_how_many_seeds_would_decide():
    (own,) = one("higher", contrast([0.02, -0.01, 0.01])).contrasts
    assert own.seed_variance is not None
    assert own.difference is not None
    assert own.seeds_needed == stats.seeds_to_separate(own.difference, seed_variance=3 * own.seed_variance)
    assert own.seeds_needed is not None
    assert own.seeds_needed > 3
    rng = np.random.default_rng(3)
    a, b = right(rng, 0.3, images=100, seeds=1), right(rng, 0.3, images=100, seeds=1)
    hard = [{(s, 0): c ^ (rng.random(100) < 0.01) for s in range(3) for c in m.values()} for m in (a, b)]
    (own,) = one("higher", ContrastData("c", means(hard[0]), means(hard[1]), hard[0], hard[1])).contrasts
    assert own.seeds_needed is None
    assert own.test_set_forbids


@pytest.mark.parametrize(
    ("direction", "margin", "names", "match"),
    [
        ("better", None, "x", "unknown direction 'better'; allowed: higher, lower, similar"),
        ("similar", None, "x", "a margin above zero"),
        ("similar", 0.0, "x", "a margin above zero"),
        ("higher", 0.01, "x", "a margin above zero"),
        ("higher", None, "", "needs contrasts"),
        ("higher", None, "xx", "a name of its own"),
    ],
)
def test_a_claim_that_says_nothing_clear_is_refused(direction, margin, names, match):
    with pytest.raises(ValueError, match=match):
        ClaimData("c", direction, tuple(contrast(UP, n) for n in names), margin)


def test_results_are_values():
    result = one("higher", contrast(UP))
    assert dataclasses.asdict(result)["contrasts"][0]["n"] == 3
    assert math.isfinite(result.contrasts[0].half or math.nan)
