"""FLOP/s against FLOP per byte, under the ceilings that were measured beside them (Williams et al. 2009)."""

import io
import math
from collections.abc import Mapping
from typing import Any

from bench.report.drawing.palette import PALETTE

INK, GRID, PAPER = "#333333", "#d9d6d0", "#fffefb"
MARKERS = "osD^vPX*hp<>"
# Widths of the axes in decades beyond what they must show.
_ROOM = 0.1
# By how much the dots of a method stand apart.
_APART = 1.035
_COPY = "copied_bytes_per_second"


def roofline(facts: Mapping[str, Any]) -> dict[str, bytes]:
    """The plot as SVG and as PNG, by the ending of a file's name.

    Args:
        facts: a measurement with a part "pretrain".
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    part = facts["pretrain"]
    settings: Any = {
        "font.family": "sans-serif", "font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "bench perf",
        "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK, "ytick.color": INK,
    }  # fmt: skip
    with rc_context(settings):
        figure = Figure(figsize=(7.2, 4.4), facecolor=PAPER, layout="constrained")
        axes = figure.add_subplot(facecolor=PAPER)
        _ceilings(axes, part)
        _points(axes, part)
        _frame(axes, facts)
        files = {}
        for ending in ("svg", "png"):
            file = io.BytesIO()
            # No date: the same numbers give the same file.
            figure.savefig(file, format=ending, dpi=160, metadata={"Date": None} if ending == "svg" else None)
            files[ending] = file.getvalue()
    return files


def _intensity(row: Mapping[str, Any]) -> float:
    return row["flop"] / row["touched_bytes"]


def _limits(part: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """Of the axes: (left, right, bottom, top)."""
    product = part["product"]["flops"]
    xs = [_intensity(row) for row in part["rows"]]
    if _COPY in part:
        xs.append(product / part[_COPY])
    ys = [product]
    for row in part["rows"]:
        ys += [row["convolutions"]["flops"], *(way["flops"] for way in row["ways"])]
    wide = 10**_ROOM
    return min(xs) / wide**2, max(xs) * wide**2, min(ys) / wide, max(ys) * wide


def _ceilings(axes: Any, part: Mapping[str, Any]) -> None:
    left, right, bottom, _ = _limits(part)
    product, rate = part["product"]["flops"], part.get(_COPY, math.inf)
    # Without a copy's rate the product's is the only ceiling.
    ridge = max(left, product / rate)
    first = max(left, bottom / rate)
    axes.plot(
        [first, ridge, right], [min(product, first * rate), product, product],
        color=INK, linewidth=1.4, zorder=2,
    )  # fmt: skip
    # Beside the dots, not among them.
    left_of_dots = ridge < min(_intensity(row) for row in part["rows"]) / 2
    axes.annotate(
        f"a large product, {part['product']['dtype']}: {product / 1e9:,.0f} GFLOP/s",
        (ridge if left_of_dots else right, product),
        (4 if left_of_dots else -4, 4),
        textcoords="offset points",
        ha="left" if left_of_dots else "right",
    )
    if _COPY in part:
        axes.annotate(
            f"a copy: {rate / 1e9:,.0f} GB/s", (first, first * rate), (14, 4), textcoords="offset points"
        )
    for number, row in enumerate(part["rows"]):
        x, y = _intensity(row), row["convolutions"]["flops"]
        half = _APART ** (len(row["ways"]) / 2 + 0.5)
        axes.plot([x / half, x * half], [y, y], color=PALETTE[number % len(PALETTE)], linewidth=2.2, zorder=3)


def _points(axes: Any, part: Mapping[str, Any]) -> None:
    names = list(dict.fromkeys(way["way"] for row in part["rows"] for way in row["ways"]))
    for number, row in enumerate(part["rows"]):
        look = {
            "color": PALETTE[number % len(PALETTE)],
            "markersize": 6.5,
            "markeredgecolor": PAPER,
            "zorder": 4,
        }
        for k, way in enumerate(row["ways"]):
            x = _intensity(row) * _APART ** (k - (len(row["ways"]) - 1) / 2)
            axes.plot(x, way["flops"], MARKERS[names.index(way["way"]) % len(MARKERS)], **look)
    keys = [
        axes.plot([], [], "-", color=PALETTE[n % len(PALETTE)], linewidth=3)[0]
        for n in range(len(part["rows"]))
    ]
    keys += [axes.plot([], [], MARKERS[n % len(MARKERS)], color=INK)[0] for n in range(len(names))]
    keys.append(axes.plot([], [], "-", color="#6f6f6f", linewidth=2.2)[0])
    labels = [*(row["method"] for row in part["rows"]), *names, "its convolutions alone"]
    axes.legend(keys, labels, loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, borderaxespad=0)


def _frame(axes: Any, facts: Mapping[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator

    part, machine = facts["pretrain"], facts["machine"]
    left, right, bottom, top = _limits(part)
    axes.set(xscale="log", yscale="log", xlim=(left, right), ylim=(bottom, top))
    for axis, unit in ((axes.xaxis, 1.0), (axes.yaxis, 1e9)):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _, unit=unit: f"{value / unit:,g}"))
        axis.set_minor_formatter("")
    axes.grid(color=GRID, linewidth=0.6)
    axes.tick_params(which="both", length=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.set_xlabel(
        "FLOP per byte that the plain step reads and writes (estimated from its tensors' sizes);\n"
        "a method's dots have one and the same, and stand side by side to be seen"
    )
    beside = part.get("beside", 1)
    processes = f"{beside} processes of " if beside > 1 else ""
    axes.set_title(
        f"GFLOP/s of a step; each way is credited with the plain path's FLOP\n{machine['name']},"
        f" {processes}{machine['threads']} thread{'s' * (machine['threads'] != 1)}, batch {part['batch']},"
        f" {part['size']}x{part['size']}",
        loc="left", fontsize=9,
    )  # fmt: skip
