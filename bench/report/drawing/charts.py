"""Curves that share their axes."""

import html
import itertools
from collections.abc import Sequence
from math import isfinite

from bench.report.drawing.axes import Scale, bounds, frame, plain
from bench.report.drawing.palette import css_class, dash, marker
from bench.report.model import Chart, Line

WIDTH, HEIGHT = 340, 222


def chart(data: Chart) -> str:
    """A chart as an SVG element.

    Lines carry `data-key`, the number of their row, so that a page can light one up, and those that a pointer can
    ask (not the seeds under a mean) their numbers as `data-y`, with `data-x` or, where they are consecutive whole
    numbers, the first as `data-from`.
    """
    x, y = _scales(data)
    means = {line.colour for line in data.lines if line.mean}
    name = html.escape(f"{data.title}: {data.y_label} by {data.x_label}")
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}" '
        f'data-axes="{html.escape(data.x_label)}|{html.escape(data.y_label)}">'
    ]
    parts += frame(x, y, data.x_label, data.y_label, whole_x=True)
    ordered = sorted(data.lines, key=lambda line: line.colour not in means or line.mean)
    parts += [_line(line, x, y, line.colour in means and not line.mean) for line in ordered]
    parts.append("</svg>")
    return "".join(parts)


def _scales(data: Chart) -> tuple[Scale, Scale]:
    ends = [end for line in data.lines if line.xs for end in (min(line.xs), max(line.xs)) if isfinite(end)]
    low, high = (min(ends), max(ends)) if ends and min(ends) < max(ends) else bounds(ends)
    bottom, top = bounds(itertools.chain.from_iterable(line.ys for line in data.lines))
    return Scale(low, high, 44, WIDTH - 8), Scale(bottom, top, HEIGHT - 36, 22)


def consecutive(xs: Sequence[float]) -> bool:
    """Whether they are whole numbers, one after another, so that the first says them all."""
    first = xs[0]
    return (
        first == int(first)
        and xs[-1] - first == len(xs) - 1
        and list(xs) == list(range(int(first), int(first) + len(xs)))
    )


def finite(line: Line) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """A line's points without those that are no numbers, as (xs, ys)."""
    if isfinite(sum(line.xs)) and isfinite(sum(line.ys)):
        return line.xs, line.ys
    points = [(a, b) for a, b in zip(line.xs, line.ys, strict=True) if isfinite(a) and isfinite(b)]
    return tuple(a for a, _ in points), tuple(b for _, b in points)


def _line(line: Line, x: Scale, y: Scale, faint: bool) -> str:
    xs, ys = finite(line)
    if not xs:
        return ""
    last = x(xs[-1]), y(ys[-1])
    label = html.escape(f"{line.label}, {line.seed}")
    start = f'class="{css_class(line.colour)}{" faint" if faint else ""}" data-key="{line.colour}"'
    if not faint:
        start += f' data-label="{label}" {_numbers(xs, ys)}'
    title = f"<title>{label}: {plain(float(f'{ys[-1]:.5g}'))}</title>"
    drawn = ""
    if len(xs) > 1:
        # The scales are written out, and all numbers are written at once: a report draws a million points.
        kx, ky = (x.end - x.start) / (x.high - x.low), (y.end - y.start) / (y.high - y.low)
        x0, y0 = x.start - x.low * kx, y.start - y.low * ky
        places = tuple([c for a, b in zip(xs, ys, strict=True) for c in (x0 + a * kx, y0 + b * ky)])
        path = "L".join(["%.1f %.1f"] * len(xs)) % places
        drawn = f'<path class="line" d="M{path}"{dash(line.colour)}/>'
    if len(xs) == 1 or not faint:
        drawn += f'<path class="dot" d="{marker(line.colour, *last, 3)}"/>'
    return f"<g {start}>{title}{drawn}</g>"


def _numbers(xs: tuple[float, ...], ys: tuple[float, ...]) -> str:
    y = " ".join(["%.5g"] * len(ys)) % ys
    if consecutive(xs):
        return f'data-from="{xs[0]:.0f}" data-y="{y}"'
    return f'data-x="{" ".join(["%.5g"] * len(xs)) % xs}" data-y="{y}"'
