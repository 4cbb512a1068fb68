"""Curves that share their axes."""

import html
import math

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
    xs = [value for line in data.lines for value in line.xs if math.isfinite(value)]
    low, high = (min(xs), max(xs)) if xs and min(xs) < max(xs) else bounds(xs)
    bottom, top = bounds(value for line in data.lines for value in line.ys)
    return Scale(low, high, 44, WIDTH - 8), Scale(bottom, top, HEIGHT - 36, 22)


def _line(line: Line, x: Scale, y: Scale, faint: bool) -> str:
    points = [(a, b) for a, b in zip(line.xs, line.ys, strict=True) if math.isfinite(a) and math.isfinite(b)]
    if not points:
        return ""
    label = html.escape(f"{line.label}, {line.seed}")
    start = f'class="{css_class(line.colour)}{" faint" if faint else ""}" data-key="{line.colour}"'
    if not faint:
        start += f' data-label="{label}" {_numbers(points)}'
    title = f"<title>{label}: {plain(float(f'{points[-1][1]:.5g}'))}</title>"
    # The scales are written out: a report draws a million points.
    kx, ky = (x.end - x.start) / (x.high - x.low), (y.end - y.start) / (y.high - y.low)
    x0, y0 = x.start - x.low * kx, y.start - y.low * ky
    path = "L".join([f"{x0 + a * kx:.1f} {y0 + b * ky:.1f}" for a, b in points])
    drawn = f'<path class="line" d="M{path}"{dash(line.colour)}/>' if len(points) > 1 else ""
    if len(points) == 1 or not faint:
        drawn += f'<path class="dot" d="{marker(line.colour, x(points[-1][0]), y(points[-1][1]), 3)}"/>'
    return f"<g {start}>{title}{drawn}</g>"


def _numbers(points: list[tuple[float, float]]) -> str:
    ys = " ".join([f"{b:.5g}" for _, b in points])
    first = points[0][0]
    if all(a == first + i for i, (a, _) in enumerate(points)) and first == int(first):
        return f'data-from="{first:.0f}" data-y="{ys}"'
    xs = " ".join([f"{a:.5g}" for a, _ in points])
    return f'data-x="{xs}" data-y="{ys}"'
