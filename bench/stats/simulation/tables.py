"""Tables of claims: how often one is decided where there is nothing to be found, and found where there is."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.stats.claims import (
    HIGHER,
    LOWER,
    ClaimData,
    ClaimResult,
    ContrastData,
    Over,
    Region,
    conclude,
    decide,
    stand,
)
from bench.stats.contrasts import Measured
from bench.stats.crossed import spread_of
from bench.stats.simulation.findings import Finding, share
from bench.stats.simulation.synthetic import Column, Latent, Setting, draw
from bench.stats.simulation.verdicts import ALPHA, BASE, POINT

ROWS = ("a", "b", "c", "d")


class Said(NamedTuple):
    """A claim of the table: of which rows, in which columns (two of one data set, then one of another)."""

    name: str
    a: str
    b: str
    columns: tuple[int, ...]
    region: Region = HIGHER
    over: Over = "each"


CLAIMS = (
    Said("one column", "a", "b", (0,)),
    Said("every column", "a", "b", (0, 1, 2)),
    Said("on average", "a", "b", (0, 1, 2), over="average"),
    Said("another pair", "c", "d", (2,)),
    Said("lower", "d", "c", (1,), LOWER),
    Said("similar", "c", "d", (0,), POINT),
)


def tables(
    rng: np.random.Generator,
    studies: int,
    seeds: int,
    images: int,
    seed_sds: Sequence[float] = (0.01, 0.02),
    shared: Sequence[float] = (0.0, 0.5),
) -> list[Finding]:
    """Studies of four methods on two data sets, and the table of six claims made of each.

    Methods a, b, c and d are equal, or a is better than the others by two standard deviations over seeds in every
    column. Each claim is judged in its table, and one of them once more alone. Each study is drawn once and given
    every spread over seeds in turn, so that the findings of several spreads are not independent of each other.
    """
    settings = [(Setting(sd, seeds, images, part), n) for n in (0, 2) for part in shared for sd in seed_sds]
    counts = [Counter[str]() for _ in settings]
    for _ in range(studies):
        latents = draw(rng, settings[0][0], 2, len(ROWS)), draw(rng, settings[0][0], 1, len(ROWS))
        for (setting, sds), count in zip(settings, counts, strict=True):
            results, alone = judged(latents, setting, sds)
            count.update(f"{result.name} {result.verdict}" for result in results)
            count[f"alone {alone.verdict}"] += 1
            count["false in the table"] += any(map(_false if sds else _false_of_equals, results))
    return [
        finding
        for (setting, sds), count in zip(settings, counts, strict=True)
        for finding in _found(setting, sds, count, studies)
    ]


def judged(latents: Sequence[Latent], setting: Setting, sds: float) -> tuple[list[ClaimResult], ClaimResult]:
    """The verdicts that `judge` gives on `data_of` the same study, and the first claim's as a table of its own.

    A tenth of its work: no interval, no plan, and a difference that several claims speak of is measured once.
    """
    accuracies = [_accuracies(setting, sds)] * 2
    right = [table[:, :, 0] for latent in latents for table in latent.right(setting, accuracies)]
    differences: dict[tuple[str, str, int], np.ndarray] = {}
    measured: dict[tuple[str, str, tuple[int, ...]], Measured] = {}

    def measure(said: Said, columns: tuple[int, ...]) -> Measured:
        key = said.a, said.b, columns
        if key not in measured:
            parts = []
            for column in columns:
                if (said.a, said.b, column) not in differences:
                    a, b = (right[column][ROWS.index(row)].astype(np.float64) for row in (said.a, said.b))
                    differences[said.a, said.b, column] = a - b
                parts.append(differences[said.a, said.b, column] / len(columns))
            difference, spread = spread_of([sum(parts[1:], parts[0])])
            known = spread if spread.measured else None
            measured[key] = Measured(difference, setting.seeds, None, known, known is not None)
        return measured[key]

    concluded = []
    for said in CLAIMS:
        contrasts = [stand(str(column), said.region, measure(said, (column,))) for column in said.columns]
        average = (
            stand(said.name, said.region, measure(said, said.columns)) if said.over == "average" else None
        )
        concluded.append(conclude(said.name, contrasts, average))
    return decide(concluded, ALPHA), decide(concluded[:1], ALPHA)[0]


def data_of(latents: Sequence[Latent], setting: Setting, sds: float) -> list[ClaimData]:
    """The study as the records of runs would give it."""
    columns: list[Column] = [
        column for latent in latents for column in latent.columns(setting, [_accuracies(setting, sds)] * 2)
    ]
    return [
        ClaimData(
            said.name,
            tuple(
                ContrastData(str(column), *columns[column].pair(said.a, said.b), region=said.region)
                for column in said.columns
            ),
            said.over,
        )
        for said in CLAIMS
    ]


def _accuracies(setting: Setting, sds: float) -> dict[str, float]:
    return {row: BASE + (sds * setting.seed_sd if row == "a" else 0.0) for row in ROWS}


def _found(setting: Setting, sds: int, counts: Counter[str], studies: int) -> list[Finding]:
    words = {
        "seed sd, points": f"{100 * setting.seed_sd:g}",
        "luck shared": f"{100 * setting.shared:g} %",
        "seeds": str(setting.seeds),
        "images": f"{setting.images:,}",
    }

    def found(experiment: str, measure: str, what: str, *promise) -> Finding:
        return share(experiment, words, measure, counts[what], studies, *promise)

    right = ("one column", "every column", "on average")
    if sds:
        return [
            *(found("claims", f"power: {name}", f"{name} supported") for name in ("alone", *right)),
            found("claims", "then any false verdict", "false in the table", "at most", ALPHA),
        ]
    return [
        found("claims", "alone: supported", "alone supported", "at most", ALPHA / 2),
        found("claims", "alone: contradicted", "alone contradicted", "at most", ALPHA / 2),
        found("claims", "table: any false verdict", "false in the table", "at most", ALPHA),
        *(
            found("each claim", f"{name}: {verdict}", f"{name} {verdict}", "at most", ALPHA / 2)
            for name in (*right, "another pair", "lower")
            for verdict in ("supported", "contradicted")
        ),
    ]


def _false_of_equals(result: ClaimResult) -> bool:
    decided = result.verdict in ("supported", "contradicted")
    return result.verdict == "contradicted" if result.name == "similar" else decided


def _false(result: ClaimResult) -> bool:
    """Where a is better than the rest: of c and d nothing may be decided, of a and b not the contrary."""
    if result.name in ("another pair", "lower"):
        return _false_of_equals(result)
    return result.verdict == "contradicted"
