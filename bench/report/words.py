"""Seeds, counts and half widths in words."""

import re
from collections.abc import Iterable

from bench.stats import SeedPair


def number_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as "0-2, 5"."""
    parts: list[list[int]] = []
    for n in sorted(set(numbers)):
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def seeds_named(text: str) -> str:
    """Seeds with their noun: "seed 0", "seeds 0-2", "seed 0 (probe seed 1)"."""
    return f"seed {text}" if re.fullmatch(r"\d+( \([^()]*\))?", text) else f"seeds {text}"


def seed_text(pairs: Iterable[SeedPair], among: Iterable[SeedPair]) -> str:
    """Pretraining seeds as a range; with their probe seeds where several probes share one pretraining.

    Args:
        pairs: the seeds to name.
        among: all seeds there are, which tell whether several probes share one pretraining.
    """
    found, every = sorted(set(pairs)), set(among) | set(pairs)
    if len({seed for seed, _ in every}) == len(every):
        return number_ranges(seed for seed, _ in found)
    probes: dict[int, list[int]] = {}
    for seed, probe in found:
        probes.setdefault(seed, []).append(probe)
    return ", ".join(f"{seed} (probe {seeds_named(number_ranges(ps))})" for seed, ps in probes.items())


def count(n: int, what: str) -> str:
    """A number with its noun: "1 epoch", "2 epochs"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def rounded(half: float, digits: int) -> str:
    """A half width in its printed unit with at least so many digits."""
    while half > 0 and float(f"{half:.{digits}f}") == 0:
        digits += 1
    return f"{half:.{digits}f}"
