"""Student's t, and the sum of two of them that an interval over seeds and test images needs.

A mean difference varies because other seeds would have been drawn (few: two, three, five) and because other test
images would have (thousands). Its standard error is therefore the root of a sum of two variances, one of them
estimated from next to nothing, and no t distribution is right for that. Satterthwaite's approximation, the usual
one, calls up to 7.8 % of equal methods different at three seeds and 12.8 % at two where it says 5 %: where the
seeds' spread comes out small by luck, it takes large degrees of freedom from the same small number. `Spread` has
the distribution of Behrens and Fisher instead, that of

    sqrt(seed_variance) * t(seed_df) + sqrt(test_variance) * t(test_df)

which is Student's where either variance vanishes and has nowhere been found to promise more than it holds. (The
seeds' part of it never below what the images alone say it must be, see `Spread`.)

    Behrens, "Ein Beitrag zur Fehlerberechnung bei wenigen Beobachtungen", Landw. Jahrbücher 68, 807-837, 1929;
    Fisher, "The fiducial argument in statistical inference", Annals of Eugenics 6, 391-398, 1935;
    Robinson, "Properties of Student's t and of the Behrens-Fisher solution to the two means problem",
    Annals of Statistics 4, 963-971, 1976.

`tests/test_stats_distributions.py` computes both sizes; `bench stats check` finds them in synthetic studies.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95

# A spread below it is one that was not measured: two seeds that agree to the last image.
NO_SPREAD = 1e-12


def t_quantile(df: float, level: float = LEVEL) -> float:
    """Two-sided quantile of Student's t: how many standard errors an interval reaches each way."""
    from scipy.special import ndtri, stdtrit

    return float(ndtri(0.5 + level / 2) if math.isinf(df) else stdtrit(df, 0.5 + level / 2))


def t_p_value(t: float, df: float) -> float:
    """Two-sided p of a t statistic."""
    from scipy.special import stdtr

    return float(min(1.0, 2 * stdtr(df, -abs(t))))


@dataclass(frozen=True)
class Spread:
    """What a mean difference varies by.

    Attributes:
        seed_variance: the seeds' part of the variance of the mean, estimated on `seed_df` degrees of freedom.
        seed_df: pretraining seeds less one.
        test_variance: the test images' part; 0 where they are not counted.
        test_df: test images less one; of no consequence where `test_variance` is 0.
        least_seed_variance: what is known of the seeds' part from every single image: how far a seed's mean varies
            because it got other images right, if the seeds were equally good. Two or three seeds that come out equal
            by luck do not make it smaller.
    """

    seed_variance: float
    seed_df: float
    test_variance: float = 0.0
    test_df: float = math.inf
    least_seed_variance: float = 0.0

    @property
    def likely_seed_variance(self) -> float:
        """The seeds' part, not below what is known of it."""
        return max(self.seed_variance, self.least_seed_variance)

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return math.sqrt(self.likely_seed_variance + self.test_variance)

    @property
    def measured(self) -> bool:
        """Whether the seeds differ at all; dividing by a spread of zero would call any difference certain."""
        return math.sqrt(self.likely_seed_variance) > NO_SPREAD

    def p_value(self, difference: float) -> float:
        """Two-sided p of a mean difference if there were none.

        Raises:
            ValueError: no spread was measured.
        """
        if not self.measured:
            raise ValueError("no p without a spread over seeds")
        if self._seeds_alone:
            return t_p_value(difference / self.error, self.seed_df)
        return self._beyond(abs(difference))

    def half_width(self, level: float = LEVEL) -> float:
        """Half width of the interval: the differences beyond it have p < 1 - level."""
        reach = t_quantile(self.seed_df, level)
        if self._seeds_alone:
            return reach * self.error
        images = t_quantile(self.test_df, level)
        if not self.measured:
            return images * self.error
        # To begin with, Cochran's approximation, or what is known alone where the seeds came out equal by luck.
        estimated = math.sqrt(self.seed_variance + self.test_variance)
        near = max(
            (reach * self.seed_variance + images * self.test_variance) / estimated if estimated > 0 else 0.0,
            images * self.error,
        )
        return _root(self._beyond, 1 - level, near, 1.02 * near)

    @property
    def _seeds_alone(self) -> bool:
        return self.test_variance <= 0 and self.least_seed_variance <= 0

    def _beyond(self, difference: float) -> float:
        """P(|sum of the two t| >= difference): given both chi-squares the sum is normal, so average over them."""
        from scipy.special import ndtr

        seed_part, seed_weight = self._seed_parts
        test_scale, test_weight = chi_square_nodes(self.test_df)
        variance = seed_part[:, None] + self.test_variance / test_scale[None, :]
        return float(min(1.0, 2 * seed_weight @ ndtr(-difference / np.sqrt(variance)) @ test_weight))

    @functools.cached_property
    def _seed_parts(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes [k] and weights [k] for what the seeds' variance may be: estimate * df / chi-square, or the least."""
        from scipy.special import chdtrc, gammaln

        df, half = self.seed_df, self.seed_df / 2
        scale, weight = chi_square_nodes(df)
        if self.seed_variance >= scale[-1] * self.least_seed_variance:
            return self.seed_variance / scale, weight
        if self.seed_variance <= scale[0] * self.least_seed_variance:
            return np.array([self.least_seed_variance]), np.ones(1)
        # Where the least takes over there is a kink: up to there, Gauss's rule on panels of about one scale.
        low, turn = math.log(scale[0]), math.log(self.seed_variance / self.least_seed_variance)
        edges = np.linspace(low, turn, 1 + math.ceil((turn - low) / min(2.4, 3 * math.sqrt(2 / df))))
        node, gauss = _gauss(12)
        width = np.diff(edges)[:, None] / 2
        x = (edges[:-1, None] + width * (1 + node)).ravel()
        density = np.exp(half * (x - np.exp(x)) + half * math.log(half) - float(gammaln(half)))
        return (
            np.append(self.seed_variance / np.exp(x), self.least_seed_variance),
            np.append((width * gauss).ravel() * density, float(chdtrc(df, df * math.exp(turn)))),
        )


@functools.lru_cache(maxsize=256)
def chi_square_nodes(df: float) -> tuple[np.ndarray, np.ndarray]:
    """Nodes [k], rising, and weights [k], adding up to 1, for a mean over chi-square(df) / df.

    In the logarithm of the variable everything here is smooth, falls off at both ends and has one scale, so the
    trapezoid rule gains digits as fast as nodes. The sum is right to 1e-7.
    """
    if math.isinf(df):
        return np.ones(1), np.ones(1)
    from scipy.special import lambertw

    # Density of the logarithm x: exp(df/2 * (x - e^x)) but for a constant. It is e^-30 of its peak where
    # e^x - x = 1 + 60/df, which the two branches of Lambert's function solve.
    end = -math.exp(-1 - 60 / df)
    low, high = (math.log(-lambertw(end, branch).real) for branch in (0, -1))
    nodes = np.linspace(low, high, 2 + math.ceil((high - low) / min(0.3, math.sqrt(2 / df))))
    log_density = df / 2 * (nodes - np.expm1(nodes) - 1)
    weights = np.exp(log_density - log_density.max())
    return np.exp(nodes), weights / weights.sum()


@functools.cache
def _gauss(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(nodes)


def _root(falling: Callable[[float], float], target: float, first: float, second: float) -> float:
    """Where a falling function has a value: the secant of its logarithm over that of x, nearly straight for tails."""

    def excess(x: float) -> float:
        return math.log(max(falling(math.exp(x)), 1e-300) / target)

    x, next_x = math.log(first), math.log(second)
    here = excess(x)
    for _ in range(50):
        there = excess(next_x)
        if abs(there) < 1e-10 or there == here:
            break
        x, next_x, here = next_x, next_x - there * (next_x - x) / (there - here), there
    return math.exp(next_x)
