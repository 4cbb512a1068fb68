"""What got slower or faster than an earlier measurement, in ratios alone: a time of another day tells nothing.

Compared are the ratio of the plain way to each way, and the share of a step that its convolutions alone would take
(which also sees the plain way get slower). Each was taken within rounds, whose scatter says how well it is known.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bench.commands.options import table
from bench.errors import UsageError
from bench.perf.facts import ratios

Verdict = Literal["slower", "faster", "as before"]

# Two measurements of one source on one shared machine differ by some percent, more than their own rounds tell:
# docs/performance.md has how much.
FLOOR = 0.10
# Standard errors of a difference, of some twenty that are looked at.
ERRORS = 3.0
# Of a median, in units of a mean's, where values are normal.
MEDIAN = math.sqrt(math.pi / 2)
ROUNDS = 3
# What must be alike for ratios to compare: part -> settings.
SAME = {
    "pretrain": ("batch", "size", "precision", "beside"),
    "probe": ("dataset", "backbone", "precision", "images", "tested", "epochs", "epochs_run"),
}
# What measurements meant before they could say so.
IMPLIED = {"beside": 1, "backbone": "resnet9", "precision": "auto"}


@dataclass(frozen=True)
class Change:
    """One ratio, then and now; larger is faster.

    Attributes:
        what: such as "beta-vae fast".
        ratio: of what.
        before: the earlier median.
        now: the later one.
        tolerance: how far their ratio may be from one, as a share.
        verdict: what to make of it.
    """

    what: str
    ratio: str
    before: float
    now: float
    tolerance: float
    verdict: Verdict


def compare(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """Every ratio that both have.

    Raises:
        UsageError: they were taken in unlike circumstances, in too few rounds, or have nothing in common.
    """
    refuse_unlike(before, now)
    earlier = dict(ratios(before))
    changes = [_change(key, earlier[key], values) for key, values in ratios(now) if key in earlier]
    if not changes:
        raise UsageError("the earlier measurement has no method and no way in common with this one")
    return changes


def refuse_unlike(before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse what could not be compared, whether or not `now` has been measured yet.

    Args:
        before: a measurement.
        now: its machine's device and threads, and settings by part.

    Raises:
        UsageError: they differ.
    """
    if not any(part in before and part in now for part in SAME):
        raise UsageError("the earlier measurement has no part in common with this one")
    for name in ("device", "threads"):
        _refuse_if(name, before["machine"][name], now["machine"][name])
    implied = {**IMPLIED, "dataset": before.get("dataset")}
    shared = {part: names for part, names in SAME.items() if part in before and part in now}
    for part, names in shared.items():
        for name in names:
            if name in now[part]:
                then = before[part].get(name, implied[name]) if name in implied else before[part][name]
                _refuse_if(name, then, now[part][name])
    for _, values in ratios({part: before[part] for part in shared}):
        refuse_few(len(values), "the earlier measurement")


def refuse_few(rounds: int, whose: str = "this measurement") -> None:
    """Refuse what has no spread.

    Raises:
        UsageError: there are too few rounds.
    """
    if rounds < ROUNDS:
        raise UsageError(
            f"to be compared takes {ROUNDS} rounds or more, and {whose} has {rounds}: their spread is needed"
        )


def as_facts(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """For JSON."""
    return [asdict(change) for change in changes]


def slower(changes: Sequence[Change]) -> bool:
    """Whether anything is, beyond its tolerance."""
    return any(change.verdict == "slower" for change in changes)


def text(changes: Sequence[Change], before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """For a terminal."""
    then = before["machine"]
    source = str(then["source"].get("commit") or then["source"]["hash"])[:12]
    words = f"Against {source}, taken {then['taken']}. Ratios; larger is faster."
    if then["name"] != now["machine"]["name"]:
        words += f" It was taken on another device ({then['name']}), whose ratios may differ by nature."
    rows = [
        [
            change.what,
            change.ratio,
            f"{change.before:.2f}",
            f"{change.now:.2f}",
            f"{100 * (change.now / change.before - 1):+.0f} %",
            f"{100 * change.tolerance:.0f} %",
            change.verdict,
        ]
        for change in changes
    ]
    return words + "\n\n" + table(["what", "ratio", "then", "now", "change", "tolerance", ""], rows)


def _change(key: tuple[str, str], before: Sequence[float], now: Sequence[float]) -> Change:
    errors = []
    for values in (before, now):
        refuse_few(len(values))
        logs = [math.log(value) for value in values]
        errors.append(MEDIAN * statistics.stdev(logs) / math.sqrt(len(logs)))
    tolerance = max(FLOOR, math.expm1(ERRORS * math.hypot(*errors)))
    then, today = statistics.median(before), statistics.median(now)
    verdict: Verdict = "as before"
    # As far down as up: a tolerance of 10 % allows a ratio from 1 / 1.1 to 1.1.
    if today * (1 + tolerance) < then:
        verdict = "slower"
    elif today > then * (1 + tolerance):
        verdict = "faster"
    return Change(*key, then, today, tolerance, verdict)


def _refuse_if(name: str, then: Any, today: Any) -> None:
    if then != today:
        raise UsageError(f"the earlier measurement has {name.replace('_', ' ')} {then}, this one {today}")
