"""A chart as inline SVG. Only the standard library."""

import html
import math
from collections.abc import Sequence

from bench.report.model import Chart

# Okabe and Ito's colours, which the colour-blind can tell apart, then darker ones of the same hues.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9",
    "#7b3294", "#a6611a", "#4d4d4d", "#d62728", "#1b7837", "#3f51b5",
)  # fmt: skip


def ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """About `wanted` round numbers from `low` to `high`."""
    if not high > low:
        return [low]
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _bounds(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or max(abs(high) * 0.05, 0.5)
    return low - room, high + room


def svg(chart: Chart, width: int = 300, height: int = 190) -> str:
    """A chart as an SVG element; lines carry `data-row` so that a page can light up one row."""
    left, right, top, bottom = 46, 8, 24, 30
    xs = [x for line in chart.lines for x in line.xs]
    ys = [y for line in chart.lines for y in line.ys]
    (x0, x1), (y0, y1) = _bounds(xs), _bounds(ys)
    if min(xs) < max(xs):
        x0, x1 = min(xs), max(xs)

    def px(x: float) -> float:
        return left + (x - x0) / (x1 - x0) * (width - left - right)

    def py(y: float) -> float:
        return height - bottom - (y - y0) / (y1 - y0) * (height - top - bottom)

    def text(x: float, y: float, words: str, anchor: str, cls: str = "") -> str:
        return (
            f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{cls}">{html.escape(words)}</text>'
        )

    parts = [
        f'<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{html.escape(f"{chart.title}: {chart.y_label} by {chart.x_label}")}">',
        text(left, 14, chart.title, "start", "title"),
    ]
    for y in ticks(y0, y1):
        parts.append(f'<path class="grid" d="M{left} {py(y):.1f}H{width - right}"/>')
        parts.append(text(left - 5, py(y) + 3.5, f"{y:,.6g}", "end"))
    for x in ticks(x0, x1):
        if x == int(x):
            parts.append(text(px(x), height - bottom + 14, f"{x:.0f}", "middle"))
    parts.append(text(width - right, height - 3, chart.x_label, "end"))
    parts.append(text(width - right, 14, chart.y_label, "end"))
    for line in chart.lines:
        colour = PALETTE[line.colour % len(PALETTE)]
        name = html.escape(f"{line.label}, {line.seed}: {line.ys[-1]:.5g}")
        faint = any(other.mean and other.colour == line.colour for other in chart.lines) and not line.mean
        if len(line.xs) == 1:
            shape = f'<circle cx="{px(line.xs[0]):.1f}" cy="{py(line.ys[0]):.1f}" r="2.5" fill="{colour}"'
        else:
            path = "L".join(f"{px(x):.1f} {py(y):.1f}" for x, y in zip(line.xs, line.ys, strict=True))
            dash = ' stroke-dasharray="5 3"' if line.colour >= 6 else ""
            kind = "line seed" if faint else "line"
            shape = f'<path class="{kind}" d="M{path}" stroke="{colour}"{dash}'
        parts.append(f'{shape} data-row="{line.colour}"><title>{name}</title></{shape[1:].split(" ", 1)[0]}>')
    parts.append("</svg>")
    return "".join(parts)
