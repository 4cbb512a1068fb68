"""Whether as many seeds as `seeds_to_separate` asks for do separate, and what its advice is worth."""

from dataclasses import dataclass, replace

import numpy as np

from bench.stats.components import variance_components
from bench.stats.contrasts import measure
from bench.stats.planning import power_of, seeds_to_separate
from bench.stats.simulation.findings import Finding, share
from bench.stats.simulation.synthetic import Column, Setting, draw_column

ALPHA, POWER, BASE = 0.05, 0.8, 0.30
MANY = 50


@dataclass(frozen=True)
class Truth:
    """A difference and its components.

    Attributes:
        difference: of b from a.
        one_seed: `VarianceComponents.one_seed`.
        test_set: `VarianceComponents.test_set`.
    """

    difference: float
    one_seed: float
    test_set: float

    @property
    def seeds(self) -> int | None:
        """As many as would separate them."""
        return seeds_to_separate(
            self.difference,
            seed_variance=self.one_seed,
            test_variance=self.test_set,
            alpha=ALPHA,
            power=POWER,
        )


def plans(rng: np.random.Generator, studies: int, setting: Setting, difference: float) -> list[Finding]:
    """Planned from the true components: the power that it buys. From a study's own: what it would have bought.

    Where the plan says that no number of seeds would do, a great number is tried.
    """
    truth = _truth(rng, max(50, studies // 10), setting, difference)
    words = {
        "seed sd, points": f"{100 * setting.seed_sd:g}",
        "images": f"{setting.images:,}",
        "difference, points": f"{100 * difference:g}",
    }
    found = _separated(rng, studies, replace(setting, seeds=truth.seeds or MANY), difference)
    none = truth.seeds is None
    asked = {**words, "seeds asked for": f"none would do ({MANY} tried)" if none else str(truth.seeds)}
    return [
        share("plans", asked, "power", found, studies, "at most" if none else "at least", POWER),
        *_guesses(
            rng, studies, setting, truth, {**words, "planned from": f"what {setting.seeds} seeds showed"}
        ),
    ]


def _truth(rng: np.random.Generator, studies: int, setting: Setting, difference: float) -> Truth:
    """The components as a mean of their estimates from ten seeds, which but for the cut at zero have no bias."""
    found = []
    for _ in range(studies):
        column = _draw(rng, replace(setting, seeds=10), difference)
        own = variance_components(column.correct["a"], column.correct["b"])
        assert own is not None
        found.append((own.one_seed, own.test_set))
    return Truth(difference, *map(float, np.mean(found, axis=0)))


def _separated(rng: np.random.Generator, studies: int, setting: Setting, difference: float) -> int:
    found = 0
    for _ in range(studies):
        seen = measure([_draw(rng, setting, difference).pair("a", "b")], 1 - ALPHA)
        assert seen is not None
        p = seen.p_value()
        found += p is not None and p < ALPHA and seen.difference > 0
    return found


def _guesses(
    rng: np.random.Generator, studies: int, setting: Setting, truth: Truth, words: dict[str, str]
) -> list[Finding]:
    bought, hopeless, asked = [], 0, 0
    for _ in range(studies):
        seen = measure([_draw(rng, setting, truth.difference).pair("a", "b")])
        if seen is None or seen.spread is None:
            continue
        asked += 1
        variance = seen.spread.likely_seed_variance * setting.seeds
        seeds = Truth(seen.difference, variance, seen.spread.test_variance).seeds
        if seeds is None:
            hopeless += 1
        else:
            bought.append(power_of(seeds, truth.difference, truth.one_seed, truth.test_set, ALPHA))
    return [
        *(
            share(
                "plans",
                words,
                f"buys a power of {100 * least:g} % or more",
                sum(b >= least for b in bought),
                asked,
            )
            for least in (POWER, 0.5)
        ),
        share("plans", words, "says that no number would do", hopeless, asked),
    ]


def _draw(rng: np.random.Generator, setting: Setting, difference: float) -> Column:
    return draw_column(rng, setting, {"a": BASE + difference, "b": BASE})
