"""Why the runs say neither yes nor no to a claim: what is missing, else what the noise hides."""

from collections.abc import Sequence

from bench import stats
from bench.report.model import Comparison
from bench.report.words import count

NOT_RUN = "not run"
NO_SHARED_SEED = "no seed in common"


def adjusted_p(result: stats.ClaimResult) -> float | None:
    """The claim's p; None where what is missing decided, and the p = 1 that stands for it is of no test."""
    tested = _tested(result)
    opposed = any(one.p is not None and one.as_expected is False for one in tested)
    whole = all(one.p is not None for one in tested)
    return result.p_adjusted if opposed or whole else None


def reason(own: Sequence[Comparison], result: stats.ClaimResult, places: Sequence[str]) -> str:
    """Why there is no verdict for or against a claim, in one line; "" where there is one.

    Args:
        own: its comparisons.
        result: as it was judged.
        places: what it speaks of and no column shows, such as "indoor67" or "cifar100 at Conv1".
    """
    if result.verdict in ("supported", "contradicted"):
        return ""
    missing = _missing(own, places)
    return "; ".join(part for part in (_doubt(own, result, bool(missing)), *missing) if part)


def _tested(result: stats.ClaimResult) -> tuple[stats.Contrast, ...]:
    return result.contrasts if result.average is None else (result.average,)


def _missing(own: Sequence[Comparison], places: Sequence[str]) -> list[str]:
    parts = [f"it speaks of {', '.join(places)}, and nothing was run there"] if places else []
    begun = [one for one in own if not one.elsewhere]
    for kind, whole, some in (
        (NOT_RUN, "the rows that it compares were not run", "not run"),
        (NO_SHARED_SEED, "the rows that it compares have no seed in common", "without a seed in common"),
    ):
        number = sum(one.missing == kind for one in begun)
        if number:
            every = number == len(begun)
            parts.append(whole if every else f"{number} of {count(len(own), 'comparison')} {some}")
    return parts


def _doubt(own: Sequence[Comparison], result: stats.ClaimResult, missing: bool) -> str:
    if not any(one.n for one in own):
        return ""
    if result.average is not None and not result.average.n:
        if missing:
            return "the mean is taken only where all of its differences are there"
        return "no seed is common to all of the differences in the mean"
    run = [one for one in _tested(result) if one.n]
    lone = sum(one.n == 1 for one in run)
    if lone:
        every = lone == len(run)
        return (
            "one seed in common decides nothing"
            if every
            else f"{lone} of {count(len(run), 'comparison')} {'has' if lone == 1 else 'have'} one seed in common,"
            " which decides nothing"
        )
    if any(one.half is None for one in run):
        return "seeds that agree to the last image show no spread"
    if any(not one.as_expected for one in run):
        return "what goes the other way is within the noise"
    return "" if missing else _advice(run)


def _advice(run: Sequence[stats.Contrast]) -> str:
    if any(one.test_set_forbids for one in run):
        return "no number of seeds would tell at the differences seen: the test set is too small"
    if any(one.seeds_needed is None for one in run):
        return "no number of seeds would tell at the differences seen"
    more = [one.seeds_needed for one in run if one.seeds_needed is not None and one.seeds_needed > one.n]
    if more:
        what = "" if len(run) == 1 else " each difference"
        return f"about {count(max(more), 'seed')} would tell{what}, at the differences seen"
    return "what is seen is as expected, and still within the noise"
