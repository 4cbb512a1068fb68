"""Scales of an axis, where its ticks stand, and how numbers are written on it."""

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """From values to a coordinate: linear, or of the decimal logarithm.

    Attributes:
        low: value at `start`.
        high: value at `end`.
        start: coordinate of `low`.
        end: coordinate of `high`.
        log: whether the axis is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Coordinate of a value."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.end - self.start)

    def ticks(self, wanted: int = 4) -> list[float]:
        """Where its labels stand."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high, wanted)


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from `low` to `high`; with 2 and 5 times them where that leaves too few."""
    for steps in ((1,), (1, 3), (1, 2, 5)):
        powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        found = [10.0**power * step for power in powers for step in steps]
        found = [value for value in found if low * 0.999 <= value <= high * 1.001]
        if len(found) >= 3:
            return found
    return ticks(low, high, 3) if len(found) < 2 else found


def bounds(values: Iterable[float], room: float = 0.05, at_least: float = 0.0) -> tuple[float, float]:
    """The range that holds finite values with some room; (0, 1) where there are none.

    Args:
        values: to be shown.
        room: share of the range that is left free at each end.
        at_least: room in the values' unit.
    """
    known = list(values)
    if not math.isfinite(sum(known)):
        known = [value for value in known if math.isfinite(value)]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    margin = max((high - low) * room or max(abs(high) * 0.05, 0.5), at_least)
    return low - margin, high + margin


def log_bounds(values: Sequence[float]) -> tuple[float, float]:
    """The same for a logarithmic axis; only positive values count."""
    finite = [value for value in values if math.isfinite(value) and value > 0]
    if not finite:
        return 1.0, 10.0
    low, high = min(finite), max(finite)
    margin = max((high / low) ** 0.07, 1.15)
    return low / margin, high * margin


def plain(value: float) -> str:
    """A number on an axis: six digits at most, a true minus sign, thousands apart."""
    text = f"{value:,.6g}" if abs(value) < 1e7 else f"{value:.3g}"
    return text.replace("-", "−")


def text(x: float, y: float, words: str, anchor: str = "start", cls: str = "") -> str:
    """A line of text."""
    kind = f' class="{cls}"' if cls else ""
    where = f' text-anchor="{anchor}"' if anchor != "start" else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{where}{kind}>{html.escape(words)}</text>'


def frame(x: Scale, y: Scale, x_label: str, y_label: str, whole_x: bool = False) -> list[str]:
    """Grid, tick labels and axis titles of a plot; `y.start` is its bottom, as SVG counts downwards."""
    parts = []
    lines = "".join(f"M{x.start:g} {y(value):.1f}H{x.end:g}" for value in y.ticks())
    parts.append(f'<path class="grid" d="{lines}"/>')
    parts += [text(x.start - 5, y(value) + 3.5, plain(value), "end") for value in y.ticks()]
    places = [value for value in x.ticks(5) if not whole_x or value == int(value)]
    stems = "".join(f"M{x(value):.1f} {y.start:g}v4" for value in places)
    parts.append(f'<path class="axis" d="M{x.start:g} {y.start:g}H{x.end:g}{stems}"/>')
    parts += [text(x(value), y.start + 15, plain(value), "middle") for value in places]
    parts.append(text(x.end, y.start + 29, x_label, "end", "what"))
    parts.append(text(x.start, y.end - 8, y_label, "start", "what"))
    return parts
