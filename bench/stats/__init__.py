"""Intervals, paired differences, claims and corrections for few seeds on one test set.

Accuracies go in and come out as fractions. SciPy does the arithmetic (its `special` functions, which load in
a fifth of the time of `scipy.stats`) and is imported when a function is called: a report starts quickly.

The unit of all inference is the pretraining seed. Where several probes were trained on one pretrained
backbone, they are averaged first: they share its luck, and counted apart they would shrink the interval.
"""

from bench.stats.baseline import BaselineDifference, against_baseline
from bench.stats.claims import (
    HIGHER,
    LOWER,
    ClaimData,
    ClaimResult,
    ClaimVerdict,
    Contrast,
    ContrastData,
    Region,
    judge,
)
from bench.stats.components import VarianceComponents, variance_components
from bench.stats.contrasts import Measured, Pair, measure
from bench.stats.crossed import Claim, Correct, claim
from bench.stats.distributions import LEVEL, Spread, t_p_value, t_quantile
from bench.stats.intervals import (
    Difference,
    Estimate,
    Scores,
    SeedPair,
    by_pretrain_seed,
    estimate,
    paired_difference,
    t_interval,
    wilson,
)
from bench.stats.marking import Standing, Verdict, compare_to_best, holm
from bench.stats.planning import power_of, seeds_to_separate
from bench.stats.shares import Split, split

__all__ = [
    "HIGHER",
    "LEVEL",
    "LOWER",
    "BaselineDifference",
    "Claim",
    "ClaimData",
    "ClaimResult",
    "ClaimVerdict",
    "Contrast",
    "ContrastData",
    "Correct",
    "Difference",
    "Estimate",
    "Measured",
    "Pair",
    "Region",
    "Scores",
    "SeedPair",
    "Split",
    "Spread",
    "Standing",
    "VarianceComponents",
    "Verdict",
    "against_baseline",
    "by_pretrain_seed",
    "claim",
    "compare_to_best",
    "estimate",
    "holm",
    "judge",
    "measure",
    "paired_difference",
    "power_of",
    "seeds_to_separate",
    "split",
    "t_interval",
    "t_p_value",
    "t_quantile",
    "variance_components",
    "wilson",
]
