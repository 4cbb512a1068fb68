"""What a simulation found, beside what is promised."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bench.stats.distributions import LEVEL, t_quantile

Sense = Literal["at most", "at least", "about", "for information"]
Kept = Literal["kept", "conservative", "BROKEN", ""]

# A finding breaks its promise where an interval at this level excludes it. There are over a hundred findings: at 95 %
# some would by chance.
STRICT = 0.999


@dataclass(frozen=True)
class Finding:
    """A share, or a mean, found in simulated studies.

    Attributes:
        experiment: what was simulated.
        setting: under what circumstances, in words, in the order of the columns of a table.
        measure: what was counted.
        value: the share or the mean.
        low: lower end of its 95 % interval (the exact binomial one for a share).
        high: upper end.
        trials: how many studies it is over.
        sense: how `value` should stand to `promise`.
        promise: what the statistics say of themselves; None for information.
        kept: "kept"; "conservative" where it does better than promised and the 95 % interval says so; "BROKEN"
            where it does worse and a 99.9 % interval says so; empty for information.
    """

    experiment: str
    setting: dict[str, str]
    measure: str
    value: float
    low: float
    high: float
    trials: int
    sense: Sense
    promise: float | None
    kept: Kept

    @property
    def outside(self) -> bool:
        """Whether its 95 % interval excludes the promise on the wrong side, as one in forty does by chance."""
        return self.promise is not None and _excluded(self.sense, self.promise, (self.low, self.high))


def share(
    experiment: str,
    setting: dict[str, str],
    measure: str,
    hits: int,
    trials: int,
    sense: Sense = "for information",
    promise: float | None = None,
) -> Finding:
    """How often something happened."""
    low, high = binomial_interval(hits, trials)
    kept = _kept(sense, promise, (low, high), binomial_interval(hits, trials, STRICT))
    return Finding(experiment, setting, measure, hits / trials, low, high, trials, sense, promise, kept)


def mean(
    experiment: str, setting: dict[str, str], measure: str, values: Sequence[float], promise: float
) -> Finding:
    """The mean of a number that should be about `promise`."""
    x = np.asarray(values, dtype=np.float64)
    error = float(x.std(ddof=1)) / math.sqrt(x.size)
    own, strict = (
        (float(x.mean()) - reach * error, float(x.mean()) + reach * error)
        for reach in (t_quantile(x.size - 1), t_quantile(x.size - 1, STRICT))
    )
    kept = _kept("about", promise, own, strict)
    return Finding(experiment, setting, measure, float(x.mean()), *own, x.size, "about", promise, kept)


def binomial_interval(hits: int, trials: int, level: float = LEVEL) -> tuple[float, float]:
    """The exact interval of a share (Clopper and Pearson's): it never promises too much, which Wilson's may."""
    from scipy.special import betaincinv

    tail = (1 - level) / 2
    low = float(betaincinv(hits, trials - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, trials - hits, 1 - tail)) if hits < trials else 1.0
    return low, high


def _kept(sense: Sense, promise: float | None, own: tuple[float, float], strict: tuple[float, float]) -> Kept:
    if promise is None:
        return ""
    if _excluded(sense, promise, strict):
        return "BROKEN"
    better = own[1] < promise if sense == "at most" else sense == "at least" and own[0] > promise
    return "conservative" if better else "kept"


def _excluded(sense: Sense, promise: float, interval: tuple[float, float]) -> bool:
    too_high, too_low = interval[0] > promise, interval[1] < promise
    return (too_high and sense in ("at most", "about")) or (too_low and sense in ("at least", "about"))
