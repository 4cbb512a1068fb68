"""A claim is supported, contradicted or undecided by its intervals; what was not run decides nothing."""

import dataclasses
import math

import numpy as np
import pytest

from bench import stats
from bench.stats import HIGHER, LOWER, ClaimData, ContrastData
from bench.stats.claims import Over


def paired(values):
    return {(seed, 0): float(v) for seed, v in enumerate(values)}


def contrast(differences, name="c", region=HIGHER):
    """b at 0.4 for every seed and a at the differences above it."""
    a, b = 0.4 + np.asarray(differences), np.full(len(differences), 0.4)
    return ContrastData(name, paired(a), paired(b), region=region)


def one(*contrasts, over: Over = "each"):
    (result,) = stats.judge([ClaimData("claim", contrasts, over)])
    return result


UP, DOWN, NOISE = [0.05, 0.051, 0.049], [-0.05, -0.051, -0.049], [0.05, -0.02, 0.01]
FLAT = [0.001, -0.001, 0.0005]
POINT = (-0.01, 0.01)


@pytest.mark.parametrize(
    ("region", "differences", "verdict"),
    [
        (HIGHER, UP, "supported"),
        (HIGHER, DOWN, "contradicted"),
        (HIGHER, NOISE, "undecided"),
        (LOWER, DOWN, "supported"),
        (LOWER, UP, "contradicted"),
        ((0.02, math.inf), UP, "supported"),
        ((0.08, math.inf), UP, "contradicted"),
        ((-math.inf, 0.01), FLAT, "supported"),
        ((-math.inf, 0.01), UP, "contradicted"),
        (POINT, FLAT, "supported"),
        (POINT, UP, "contradicted"),
        (POINT, DOWN, "contradicted"),
        (POINT, NOISE, "undecided"),
        ((-0.002, 0.002), FLAT, "undecided"),
    ],
)
def test_one_contrast_is_judged_by_its_interval(region, differences, verdict):
    result = one(contrast(differences, region=region))
    assert result.verdict == verdict
    (own,) = result.contrasts
    expected = stats.paired_difference(paired(differences), paired([0, 0, 0]))
    assert expected is not None
    low, high = expected.estimate.low, expected.estimate.high
    assert own.difference == pytest.approx(expected.estimate.mean)
    assert own.half == pytest.approx(expected.estimate.half)
    assert (verdict == "supported") == (region[0] < low and high < region[1])
    assert (verdict == "contradicted") == (high < region[0] or low > region[1])
    assert result.p == result.p_adjusted
    assert not result.by_image


def test_p_is_the_paired_t_test_at_the_nearest_end_of_the_region():
    from scipy import stats as reference

    for region, end in ((HIGHER, 0.0), (LOWER, 0.0), ((0.045, 0.2), 0.045), ((-1.0, 0.06), 0.06)):
        (own,) = one(contrast(UP, region=region)).contrasts
        assert own.bound == end
        assert own.p == pytest.approx(reference.ttest_1samp(UP, end)[1])


@pytest.mark.parametrize(
    "differences", [[0.001, -0.002, 0.002, 0.0005], [0.003, 0.004, 0.0045], [-0.002, -0.006]]
)
def test_similarity_is_statsmodels_equivalence_test_on_the_two_sided_scale(differences):
    from statsmodels.stats.weightstats import ttost_paired

    tost = ttost_paired(np.asarray(differences), np.zeros(len(differences)), -0.01, 0.01)[0]
    (own,) = one(contrast(differences, region=POINT)).contrasts
    assert own.as_expected
    assert own.p == pytest.approx(min(1, 2 * tost))


def test_support_needs_every_contrast_and_goes_by_the_weakest():
    weak = [0.05, 0.058, 0.042]
    both = one(contrast(UP, "x"), contrast(weak, "y"))
    assert both.verdict == "supported"
    assert both.p == max(c.p for c in both.contrasts if c.p is not None)
    assert one(contrast(UP, "x"), contrast(NOISE, "y")).verdict == "undecided"


def test_one_contrast_the_other_way_contradicts_after_holm():
    result = one(contrast(UP, "x"), contrast(DOWN, "y"), contrast(NOISE, "z"))
    assert result.verdict == "contradicted"
    p = [c.p for c in result.contrasts if c.p is not None]
    assert [c.p_adjusted for c in result.contrasts] == pytest.approx(stats.holm(p))
    assert result.p == result.contrasts[1].p_adjusted
    # Significant by itself, and not among three.
    barely = [-0.05, -0.07, -0.03]
    assert one(contrast(barely)).verdict == "contradicted"
    assert one(contrast(barely, "x"), *(contrast(NOISE, n) for n in "yz")).verdict == "undecided"


def test_contrasts_may_expect_different_things():
    """N helps on one data set and makes no difference on another."""
    assert one(contrast(UP, "x"), contrast(FLAT, "y", POINT)).verdict == "supported"
    assert one(contrast(UP, "x"), contrast(FLAT, "y")).verdict == "undecided"


def test_an_average_is_judged_by_the_mean_within_each_seed():
    x, y = [0.09, 0.01, 0.05], [0.01, 0.09, 0.051]
    assert one(contrast(x, "x"), contrast(y, "y")).verdict == "undecided"
    result = one(contrast(x, "x"), contrast(y, "y"), over="average")
    assert result.verdict == "supported"
    expected = stats.t_interval((np.asarray(x) + y) / 2)
    assert result.average is not None
    assert result.average.difference == pytest.approx(expected.mean)
    assert result.average.half == pytest.approx(expected.half)
    assert result.p == result.average.p
    assert (
        one(contrast(UP, "x"), contrast([-0.1, -0.11, -0.1], "y"), over="average").verdict == "contradicted"
    )
    partly = one(contrast(x, "x"), ContrastData("y", {}, {}), over="average")
    assert (partly.verdict, partly.missing, partly.p) == ("undecided", 1, None)
    assert one(ContrastData("y", {}, {}), over="average").verdict == "not run"


def test_an_average_is_over_the_seeds_that_all_have():
    fewer = ContrastData("y", {(1, 0): 0.5, (2, 0): 0.51, (9, 0): 0.1}, paired([0.4] * 3))
    average = one(contrast(UP, "x"), fewer, over="average").average
    assert average is not None
    assert average.n == 2
    assert average.difference == pytest.approx((0.051 + 0.049 + 0.1 + 0.11) / 4)


def test_holm_runs_over_the_claims_of_the_table_that_could_be_tested():
    claims = [
        ClaimData("strong", (contrast(UP),)),
        ClaimData("middling", (contrast([0.05, 0.07, 0.03]),)),
        ClaimData("noise", (contrast(NOISE),)),
        ClaimData("one seed", (contrast([0.3]),)),
        ClaimData("absent", (ContrastData("c", {}, paired(UP)),)),
    ]
    results = stats.judge(claims)
    assert [r.name for r in results] == [c.name for c in claims]
    assert [r.verdict for r in results] == ["supported", "undecided", "undecided", "undecided", "not run"]
    assert stats.judge(claims[1:2])[0].verdict == "supported"
    p = [r.p for r in results if r.p is not None]
    assert [r.p_adjusted for r in results] == [*map(pytest.approx, stats.holm(p)), None, None]
    assert stats.judge([]) == []


def test_what_is_not_there_decides_nothing():
    empty = ContrastData("y", {}, {})
    assert one(empty).verdict == "not run"
    partly = one(contrast(UP, "x"), empty)
    assert (partly.verdict, partly.missing) == ("undecided", 1)
    assert one(contrast(DOWN, "x"), empty).verdict == "contradicted"
    (alone,) = one(contrast([0.2])).contrasts
    assert (alone.n, alone.half, alone.p, alone.seeds_needed) == (1, None, None, None)
    assert alone.difference == pytest.approx(0.2)


@pytest.mark.parametrize("same", [[0.05, 0.05], [0.0, 0.0]])
@pytest.mark.parametrize("region", [HIGHER, POINT])
def test_seeds_that_agree_to_the_last_image_decide_nothing(same, region):
    assert one(contrast(same, region=region)).verdict == "undecided"
    assert (
        one(contrast(same, "x", region), contrast(same, "y", region), over="average").verdict == "undecided"
    )


def test_a_metric_that_is_no_accuracy_is_judged_in_its_own_unit():
    psnr = ContrastData("psnr", paired([21.0, 21.2, 21.1]), paired([19.0, 19.3, 19.1]))
    assert one(psnr).verdict == "supported"
    assert one(dataclasses.replace(psnr, region=LOWER)).verdict == "contradicted"


def test_undecided_says_how_many_seeds_would_decide():
    (own,) = one(contrast([0.02, -0.01, 0.01], region=(-0.005, math.inf))).contrasts
    assert own.seed_variance is not None
    assert own.difference is not None
    needed = stats.seeds_to_separate(own.difference + 0.005, seed_variance=3 * own.seed_variance)
    assert own.seeds_needed == needed
    assert needed is not None
    assert needed > 3


@pytest.mark.parametrize(
    ("region", "names", "over", "match"),
    [
        ((0.01, 0.01), "x", "each", r"\(0.01, 0.01\) is no claim"),
        ((-math.inf, math.inf), "x", "each", "is no claim"),
        (HIGHER, "", "each", "needs contrasts"),
        (HIGHER, "xx", "each", "a name of its own"),
        (HIGHER, "x", "most", "over is 'most'; allowed: each, average"),
    ],
)
def test_a_claim_that_says_nothing_clear_is_refused(region, names, over, match):
    with pytest.raises(ValueError, match=match):
        ClaimData("c", tuple(contrast(UP, n, region) for n in names), over)


def test_an_average_has_one_region():
    with pytest.raises(ValueError, match="cannot lie in 2 regions"):
        ClaimData("c", (contrast(UP, "x"), contrast(UP, "y", LOWER)), "average")


def test_results_are_values():
    facts = dataclasses.asdict(one(contrast(UP)))
    assert facts["contrasts"][0]["n"] == 3
    assert facts["average"] is None
