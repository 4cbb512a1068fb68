"""How often each interval contains the truth."""

import numpy as np

from bench.stats.components import variance_components
from bench.stats.contrasts import measure
from bench.stats.distributions import LEVEL
from bench.stats.intervals import Estimate, estimate, paired_difference, wilson
from bench.stats.simulation.findings import Finding, mean, share
from bench.stats.simulation.synthetic import Setting, draw_column, image_variance

SEEDS = (2, 3, 5, 10)
A, B = 0.32, 0.30


def same_images(rng: np.random.Generator, studies: int, seeds: int) -> list[Finding]:
    """The t intervals over seeds, for other seeds on the same test images: scores normal, half their luck shared."""
    hits = {"t interval of a mean": 0, "paired difference": 0}
    for _ in range(studies):
        luck = rng.normal(0, 0.007, seeds)
        a, b = ({(s, 0): true + luck[s] + rng.normal(0, 0.007) for s in range(seeds)} for true in (A, B))
        difference = paired_difference(a, b)
        assert difference is not None
        hits["t interval of a mean"] += _holds(estimate(a), A)
        hits["paired difference"] += _holds(difference.estimate, A - B)
    setting = {"seeds": str(seeds), "for": "other seeds, the same images"}
    return [share("coverage", setting, name, n, studies, "at least", LEVEL) for name, n in hits.items()]


def other_images(rng: np.random.Generator, studies: int, seeds: int, images: int) -> list[Finding]:
    """The same intervals and that of a claim, for other seeds and other images, from predictions.

    The intervals over seeds alone do not promise this and do not hold it: it is why a claim has one of its own.
    """
    setting = Setting(seed_sd=0.01, seeds=seeds, images=images)
    hits = {"t interval of a mean": 0, "paired difference": 0, "claim": 0}
    for _ in range(studies):
        column = draw_column(rng, setting, {"a": A, "b": B})
        difference = paired_difference(column.scores["a"], column.scores["b"])
        claim = measure([column.pair("a", "b")])
        assert difference is not None
        assert claim is not None
        assert claim.half is not None
        hits["t interval of a mean"] += _holds(estimate(column.scores["a"]), A)
        hits["paired difference"] += _holds(difference.estimate, A - B)
        hits["claim"] += abs(claim.difference - (A - B)) <= claim.half
    words = {"seeds": str(seeds), "for": f"other seeds, other images ({images:,})"}
    promised = share("coverage", words, "claim", hits.pop("claim"), studies, "at least", LEVEL)
    return [*(share("coverage", words, name, n, studies) for name, n in hits.items()), promised]


def components(rng: np.random.Generator, studies: int, seeds: int, probes: int) -> list[Finding]:
    """Variance components of an accuracy and of a paired difference, as a multiple of the truth."""
    setting = Setting(seed_sd=0.02, seeds=seeds, images=10_000, shared=0.5, probes=probes, probe_sd=0.01)
    seed, probe, image = setting.seed_sd**2, setting.probe_sd**2, image_variance(B, setting)
    # One probe a pretraining: its variance cannot be told from the pretraining's.
    alone, paired = (seed, seed) if probes > 1 else (seed + probe, seed + 2 * probe)
    found: dict[str, list[float]] = {}

    def note(name: str, estimated: float | None, truth: float) -> None:
        if estimated is not None:
            found.setdefault(name, []).append(estimated / truth)

    for _ in range(studies):
        column = draw_column(rng, setting, {"a": B, "b": B})
        own = variance_components(column.correct["a"])
        difference = variance_components(column.correct["a"], column.correct["b"])
        assert own is not None
        assert difference is not None
        note("pretraining seed, of an accuracy", own.pretrain_seed, alone)
        note("probe seed, of an accuracy", own.probe_seed, probe)
        note("test image, of an accuracy", own.test_image, image)
        note("pretraining seed, of a difference", difference.pretrain_seed, paired)
        note("probe seed, of a difference", difference.probe_seed, 2 * probe)
    words = {"seeds": str(seeds), "probes": str(probes)}
    return [mean("components", words, name, values, 1.0) for name, values in found.items()]


def one_accuracy(rng: np.random.Generator, studies: int, images: int, accuracy: float) -> list[Finding]:
    """Wilson's interval of one accuracy."""
    found = [wilson(int(correct), images) for correct in rng.binomial(images, accuracy, studies)]
    hits = sum(low <= accuracy <= high for low, high in found)
    setting = {"seeds": "1", "for": f"other images ({images:,}), accuracy {100 * accuracy:g} %"}
    return [share("coverage", setting, "Wilson's interval", hits, studies, "about", LEVEL)]


def _holds(interval: Estimate, truth: float) -> bool:
    return interval.low <= truth <= interval.high
