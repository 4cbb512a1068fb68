"""Typed figures drawn as SVG that a page holds inline. Standard library only; colours are classes of the page's."""

from bench.report.drawing.charts import chart, consecutive, finite
from bench.report.drawing.palette import DARK, PALETTE, colour_rules, swatch
from bench.report.drawing.scatters import scatter
from bench.report.drawing.strips import Axis, axis_of, ruler, strip

__all__ = [
    "DARK",
    "PALETTE",
    "Axis",
    "axis_of",
    "chart",
    "colour_rules",
    "consecutive",
    "finite",
    "ruler",
    "scatter",
    "strip",
    "swatch",
]
