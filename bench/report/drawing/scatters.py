"""Points with intervals, such as accuracy against cost."""

import html
import math

from bench.report.drawing.axes import Scale, bounds, frame, log_bounds, plain, text
from bench.report.drawing.palette import css_class, marker
from bench.report.model import Point, Scatter

WIDTH, HEIGHT = 430, 292
_LETTER = 5.4  # mean width of a letter of a point's label, in the drawing's units

Box = tuple[float, float, float, float]
"""(left, top, right, bottom)."""


def scatter(data: Scatter) -> str:
    """A scatter plot as an SVG element: markers, intervals, and a label beside each point that has room for one."""
    points = [
        p for p in data.points if math.isfinite(p.x) and math.isfinite(p.y) and (p.x > 0 or not data.log_x)
    ]
    xs = [p.x for p in points]
    low, high = log_bounds(xs) if data.log_x else bounds(xs, 0.08)
    bottom, top = bounds([p.y + side * (p.y_half or 0) for p in points for side in (-1, 1)], 0.08)
    x, y = Scale(low, high, 46, WIDTH - 10, data.log_x), Scale(bottom, top, HEIGHT - 36, 22)
    name = html.escape(f"{data.title}: {data.y_label} by {data.x_label}")
    parts = [f'<svg class="scatter" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">']
    parts += frame(x, y, data.x_label + (" (log scale)" if data.log_x else ""), data.y_label)
    taken = [_box(p, x, y) for p in points]
    for point in points:
        parts.append(_point(point, x, y, data, taken))
    parts.append("</svg>")
    return "".join(parts)


def _box(point: Point, x: Scale, y: Scale) -> Box:
    px, py = x(point.x), y(point.y)
    half = abs(y(point.y + point.y_half) - py) if point.y_half else 0.0
    return px - 5, py - max(5, half), px + 5, py + max(5, half)


def _point(point: Point, x: Scale, y: Scale, data: Scatter, taken: list[Box]) -> str:
    px, py = x(point.x), y(point.y)
    spread = f" ± {plain(float(f'{point.y_half:.4g}'))}" if point.y_half is not None else ""
    value = f"{plain(float(f'{point.y:.5g}'))}{spread} at {plain(float(f'{point.x:.4g}'))}"
    bars = ""
    if point.y_half:
        up, down = y(point.y + point.y_half), y(point.y - point.y_half)
        bars = f'<path class="bar" d="M{px - 3:.1f} {up:.1f}h6m-3 0V{down:.1f}m-3 0h6"/>'
    label = _label(point, px, py, taken)
    tip = html.escape(f"{point.label}: {data.y_label} {value} {data.x_label}")
    return (
        f'<g class="{css_class(point.colour)}" data-key="{point.colour}" data-tip="{tip}"><title>{tip}</title>'
        f'{bars}<path class="dot" d="{marker(point.colour, px, py, 4.2)}"/>{label}</g>'
    )


def _label(point: Point, px: float, py: float, taken: list[Box]) -> str:
    """The label right, left, above or below of its point, wherever it hides nothing; else none: the key has it."""
    width = _LETTER * len(point.label)
    places = (
        (px + 7, py + 3.5, "start"),
        (px - 7, py + 3.5, "end"),
        (px + 5, py - 7, "start"),
        (px + 5, py + 13, "start"),
        (px - 5, py - 7, "end"),
        (px - 5, py + 13, "end"),
    )
    for lx, ly, anchor in places:
        left = lx - (width if anchor == "end" else 0)
        box = (left, ly - 9, left + width, ly + 2)
        inside = box[0] > 46 and box[2] < WIDTH - 2 and box[1] > 14 and box[3] < HEIGHT - 38
        if inside and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            return text(lx, ly, point.label, anchor, "name")
    return ""


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
