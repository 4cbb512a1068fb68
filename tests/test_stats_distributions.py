"""The sum of two t variables: right to the last digits that matter, and its test keeps what it promises."""

import math

import pytest
from scipy import integrate, special
from scipy import stats as reference

from bench.stats import Spread, t_p_value, t_quantile
from bench.stats.distributions import chi_square_nodes


@pytest.mark.parametrize("df", [1, 2, 4, 9, 359])
@pytest.mark.parametrize("test_variance", [0.01, 1.0, 100.0])
def test_p_is_the_integral_over_one_of_the_two(df, test_variance):
    for difference in (0.5, 3.0, 20.0):

        def given(z, difference=difference):
            return (
                reference.t.pdf(z, 1339) * 2 * special.stdtr(df, -difference + z * math.sqrt(test_variance))
            )

        turn = difference / math.sqrt(test_variance)
        expected = integrate.quad(given, -40, 40, points=[0, min(39, turn)], limit=500, epsabs=1e-12)[0]
        ours = Spread(1.0, df, test_variance, 1339).p_value(difference)
        assert ours == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("df", [1, 2, 4, 29])
def test_it_is_students_where_one_variance_vanishes(df):
    for x in (0.5, 2.0, 12.0):
        assert Spread(4.0, df).p_value(x) == pytest.approx(t_p_value(x / 2, df))
        assert Spread(4.0, df, 1e-14, 999).p_value(x) == pytest.approx(t_p_value(x / 2, df), abs=1e-7)
        assert Spread(1e-14, df, 4.0, 999).p_value(x) == pytest.approx(t_p_value(x / 2, 999), abs=1e-6)
    assert Spread(4.0, df).half_width() == 2 * t_quantile(df)
    assert t_quantile(math.inf) == pytest.approx(1.959964)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.999])
@pytest.mark.parametrize("share", [1e-6, 0.1, 0.5, 0.9, 1 - 1e-6])
def test_the_interval_ends_where_p_is_its_level(share, level):
    for df in (1, 2, 9):
        spread = Spread(share, df, 1 - share, 1339)
        assert spread.p_value(spread.half_width(level)) == pytest.approx(1 - level, rel=1e-8)


def test_no_p_without_a_spread():
    with pytest.raises(ValueError, match="without a spread"):
        Spread(0.0, 2, 1.0, 99).p_value(1.0)


@pytest.mark.parametrize("df", [1, 2, 4, 29])
@pytest.mark.parametrize("least", [1e-12, 0.05, 0.7, 1.4, 5.0, 1e6])
def test_the_seeds_part_is_never_below_the_least(df, least):
    """P by integrating over the chi-square, cut where the least takes over."""
    spread = Spread(1.0, df, 0.4, math.inf, least)
    for difference in (0.5, 3.0, 12.0):

        def given(x, difference=difference):
            variance = max(math.exp(-x), least) + 0.4
            return (
                reference.chi2.pdf(df * math.exp(x), df)
                * df
                * math.exp(x)
                * 2
                * special.ndtr(-difference / math.sqrt(variance))
            )

        points = sorted({min(max(-math.log(least), -70), 5.0), 0.0})
        expected = integrate.quad(given, -75, 6, points=points, limit=800, epsabs=1e-12)[0]
        assert spread.p_value(difference) == pytest.approx(expected, abs=1e-7)
    assert spread.p_value(spread.half_width()) == pytest.approx(0.05, rel=1e-6)
    assert spread.half_width() >= Spread(1.0, df, 0.4).half_width() * (1 - 1e-6)


def test_seeds_that_come_out_equal_by_luck_leave_what_the_images_say():
    lucky = Spread(1e-20, 2, 1.0, 1339, least_seed_variance=3.0)
    assert lucky.measured
    assert lucky.half_width() == pytest.approx(2 * 1.96, rel=1e-3)


def sizes(reach, df, known=0.0):
    """False alarms of a two-sided test for seeds' shares of the true variance, the test images' part known.

    `reach(seed_variance, test_variance, least)` is the half width that the test takes from an estimate; `known` is
    the part of the seeds' variance that the images tell.
    """
    drawn = [(w, weight) for w, weight in zip(*chi_square_nodes(df), strict=True) if weight > 1e-6]
    return [
        sum(weight * 2 * float(special.ndtr(-reach(r * w, 1 - r, r * known))) for w, weight in drawn)
        for r in (0.02, 0.2, 0.5, 0.8, 0.99)
    ]


@pytest.mark.parametrize("df", [1, 2, 4])
@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("known", [0.0, 0.5])
def test_the_share_of_false_alarms_is_at_most_the_level(df, alpha, known):
    def ours(seed, test, least):
        return Spread(seed, df, test, least_seed_variance=least).half_width(1 - alpha)

    found = sizes(ours, df, known)
    assert max(found) <= alpha * 1.01
    if not known:
        assert found[-1] >= 0.8 * alpha


def test_satterthwaites_degrees_of_freedom_promise_more_than_they_hold():
    """Why the interval has not the usual approximation."""

    def satterthwaite(df):
        def reach(seed, test, _):
            return t_quantile(min(1e6, (seed + test) ** 2 / (seed**2 / df))) * math.sqrt(seed + test)

        return max(sizes(reach, df))

    assert satterthwaite(1) > 0.11
    assert satterthwaite(2) > 0.07
    assert satterthwaite(4) > 0.055
