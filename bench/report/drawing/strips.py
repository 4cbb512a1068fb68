"""One difference on one line: its interval, its seeds, zero, and what the paper has. Many share an axis.

Horizontal places are percentages, so a strip is as wide as its box while its marks keep their shape.
"""

import html
import math
from collections.abc import Iterable
from dataclasses import dataclass

from bench.report.drawing.axes import Scale, bounds, plain, ticks

HEIGHT = 22


@dataclass(frozen=True)
class Axis:
    """The range that strips share.

    Attributes:
        low: value at the left end.
        high: value at the right end.
        places: where its labels stand.
    """

    low: float
    high: float
    places: tuple[float, ...]

    def at(self, value: float) -> str:
        """Place of a value in percent; what lies outside is put at the end."""
        share = Scale(self.low, self.high, 0, 100)(value)
        return f"{min(max(share, 0.0), 100.0):.2f}%"


def axis_of(values: Iterable[float | None], zero: bool = True) -> Axis:
    """An axis that holds all values and, where differences are shown, zero."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    low, high = bounds([*known, 0.0] if zero else known, 0.06)
    return Axis(low, high, tuple(ticks(low, high, 4)))


def _line(axis: Axis, value: float, cls: str) -> str:
    at = axis.at(value)
    return f'<line class="{cls}" x1="{at}" x2="{at}" y1="0" y2="{HEIGHT}"/>'


def _mark(axis: Axis, value: float, cls: str, path: str) -> str:
    return f'<svg x="{axis.at(value)}" y="{HEIGHT / 2:g}"><path class="{cls}" d="{path}"/></svg>'


def strip(
    axis: Axis,
    centre: float | None,
    half: float | None,
    dots: Iterable[float] = (),
    published: float | None = None,
    label: str = "",
    zero: bool = True,
) -> str:
    """A strip as an SVG element.

    Args:
        axis: shared with the other strips of a figure.
        centre: the mean; None draws the seeds alone.
        half: half width of its interval; None draws none.
        dots: one a seed.
        published: the paper's own, drawn as a hollow diamond.
        label: for those who cannot see it; "" where the numbers stand beside it.
        zero: mark zero.
    """
    named = f'role="img" aria-label="{html.escape(label)}"' if label else 'aria-hidden="true"'
    parts = [f'<svg class="strip" width="100%" height="{HEIGHT}" {named}>']
    parts += [_line(axis, place, "grid") for place in axis.places if place or not zero]
    if zero and axis.low <= 0 <= axis.high:
        parts.append(_line(axis, 0.0, "zero"))
    middle = f"{HEIGHT / 2:g}"
    if centre is not None and half is not None:
        ends = axis.at(centre - half), axis.at(centre + half)
        parts.append(f'<line class="bar" x1="{ends[0]}" x2="{ends[1]}" y1="{middle}" y2="{middle}"/>')
    parts += [f'<circle class="seed" cx="{axis.at(value)}" cy="{middle}" r="3"/>' for value in dots]
    if centre is not None:
        parts.append(_mark(axis, centre, "centre", "M0-6.5V6.5"))
    if published is not None:
        parts.append(_mark(axis, published, "published", "M0-5.5L5.5 0L0 5.5L-5.5 0z"))
    parts.append("</svg>")
    return "".join(parts)


def ruler(axis: Axis) -> str:
    """The labels of the strips' axis."""
    parts = ['<svg class="ruler" width="100%" height="16" aria-hidden="true">']
    for place in axis.places:
        at = axis.at(place)
        parts.append(f'<line class="grid" x1="{at}" x2="{at}" y1="0" y2="3"/>')
        parts.append(f'<text x="{at}" y="14" text-anchor="middle">{plain(place)}</text>')
    parts.append("</svg>")
    return "".join(parts)
