"""Learning curves as inline SVG and reconstructions as PNG. Only the standard library, NumPy and Pillow."""

import html
import io
import math
from collections.abc import Iterable, Sequence

import numpy as np

from bench.report.captions import freeze_title
from bench.report.collect import Panel, RowRuns
from bench.report.model import Chart, Column, Line, Picture

# Okabe and Ito's colours, which the colour-blind can tell apart, then darker ones of the same hues.
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8a6d00", "#56b4e9",
    "#7b3294", "#a6611a", "#4d4d4d", "#d62728", "#1b7837", "#3f51b5",
)  # fmt: skip


def losses(panel: Panel) -> tuple[Chart, ...]:
    """Pretraining loss by epoch: a chart a row (their scales do not compare), a line a seed."""
    charts = []
    for number, row in enumerate(panel.rows.values()):
        lines = []
        for seed, run in sorted(row.pretrains.items()):
            points = _points(run.metrics(), "epoch", "loss")
            if points:
                xs, ys = zip(*points, strict=True)
                lines.append(Line(row.label, f"seed {seed}", False, number, xs, ys))
        if lines:
            charts.append(Chart(row.label, "epoch", "loss", tuple(lines)))
    return tuple(charts)


def accuracies(panel: Panel, columns: Sequence[Column]) -> tuple[Chart, ...]:
    """Test accuracy in percent by probe epoch: a chart a freeze point, a line a probe and one for their mean."""
    rows = list(enumerate(panel.rows.values()))
    charts = []
    for column in columns:
        lines = tuple(line for number, row in rows for line in _probe_lines(number, row, column.freeze))
        if lines:
            charts.append(Chart(freeze_title(column.freeze), "probe epoch", "test top-1, %", lines))
    return tuple(charts)


def _probe_lines(number: int, row: RowRuns, freeze: str) -> list[Line]:
    lines = []
    for (point, (seed, probe_seed)), run in sorted(row.probes.items()):
        if point in (freeze, "none") and run.result is not None:
            points = _points(run.result.get("epochs") or [], "epoch", "test_top1", 100.0)
            if points:
                xs, ys = zip(*points, strict=True)
                name = f"seed {seed}" if seed == probe_seed else f"seeds {seed}/{probe_seed}"
                lines.append(Line(row.label, name, False, number, xs, ys))
    if len(lines) > 1 and len({line.xs for line in lines}) == 1:
        means = tuple(math.fsum(ys) / len(lines) for ys in zip(*(line.ys for line in lines), strict=True))
        lines.append(Line(row.label, f"mean of {len(lines)}", True, number, lines[0].xs, means))
    return lines


def _points(rows: Iterable[dict], x: str, y: str, scale: float = 1.0) -> list[tuple[float, float]]:
    found = ((row.get(x), row.get(y)) for row in rows)
    pairs = [(a, b) for a, b in found if isinstance(a, int | float) and isinstance(b, int | float)]
    return [(float(a), scale * float(b)) for a, b in pairs if math.isfinite(b)]


def pictures(panel: Panel) -> tuple[Picture, ...]:
    """For every row that decodes, its lowest seed's test images above their reconstructions."""
    found = []
    for row in panel.rows.values():
        for seed, run in sorted(row.pretrains.items()):
            arrays = run.reconstructions()
            if arrays and {"images", "reconstructions"} <= arrays.keys() and len(arrays["images"]):
                found.append(_picture(row.label, seed, arrays["images"], arrays["reconstructions"]))
                break
    return tuple(found)


def _picture(label: str, seed: int, images: np.ndarray, reconstructions: np.ndarray) -> Picture:
    from PIL import Image

    pairs = np.concatenate([images, reconstructions], axis=2)
    n, channels, height, width = pairs.shape
    columns = min(8, n)
    rows = -(-n // columns)
    gap = 2
    canvas = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, pair in enumerate(pairs):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        canvas[top : top + height, left : left + width] = pair.transpose(1, 2, 0)
    out = io.BytesIO()
    Image.fromarray(canvas if channels == 3 else np.repeat(canvas[:, :, :1], 3, 2)).save(out, "PNG")
    return Picture(label, seed, out.getvalue(), canvas.shape[1], canvas.shape[0])


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
