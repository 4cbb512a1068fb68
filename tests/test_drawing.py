"""Drawings say the numbers that they were given, in colours that can be told apart."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from bench.report import drawing
from bench.report.drawing import axes, palette
from bench.report.model import Chart, Line, Point, Scatter

GROUNDS = {"light": (drawing.PALETTE, "#fffefb"), "dark": (drawing.DARK, "#17181a")}
# Machado, Oliveira and Fernandes 2009, at full severity, on linear RGB.
EYES = {
    "normal": np.eye(3),
    "deuteranope": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    ),
    "protanope": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
}


def linear(colour):
    v = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ np.clip(
        rgb, 0, 1
    )
    f = [math.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz / (0.9505, 1, 1.089)]
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("ground", GROUNDS)
def test_every_colour_stands_out_from_its_page(ground):
    colours, paper = GROUNDS[ground]
    for colour in colours:
        a, b = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (colour, paper)), reverse=True)
        assert (a + 0.05) / (b + 0.05) >= 3


@pytest.mark.parametrize("eyes", EYES)
@pytest.mark.parametrize("ground", GROUNDS)
def test_colours_of_one_dash_can_be_told_apart_by_every_eye(ground, eyes):
    seen = [lab(EYES[eyes] @ linear(colour)) for colour in GROUNDS[ground][0]]
    for some, least in ((seen[:6], 14), (seen[6:], 11)):
        assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(some, 2)) >= least


def test_rows_that_share_a_colour_differ_in_dash_and_marker():
    looks = {(palette.css_class(i), palette.dash(i), palette.marker(i, 0, 0)) for i in range(24)}
    assert len(looks) == 24
    assert palette.dash(0) != palette.dash(12)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 10, [0, 2.5, 5, 7.5, 10]),
        (-1.2, 3.9, [0, 2]),
        (28.1, 28.2, [28.1, 28.125, 28.15, 28.175, 28.2]),
        (3, 3, [3]),
    ],
)
def test_ticks_are_round_numbers_within_the_range(low, high, wanted):
    assert axes.ticks(low, high) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0.5, 2e4, [1, 10, 100, 1000, 10000]),
        (20, 900, [30, 100, 300]),
        (40, 320, [50, 100, 200]),
        (50, 52, None),
    ],
)
def test_a_logarithmic_axis_has_ticks_in_every_range(low, high, wanted):
    found = axes.log_ticks(low, high)
    assert len(found) >= 2
    assert all(low <= tick <= high for tick in found)
    assert wanted is None or found == pytest.approx(wanted)


def lines(svg):
    return [group for group in ET.fromstring(svg).iter() if group.get("data-key")]


def test_a_chart_holds_every_number_of_the_lines_that_can_be_asked():
    ys = (12.345678, 13.5, math.nan, 14.25)
    seeds = [Line("A & B", f"seed {s}", False, 3, (1, 2, 3, 4), tuple(y + s for y in ys)) for s in (0, 1)]
    mean = Line("A & B", "mean of 2", True, 3, (1, 2, 3, 4), ys)
    apart = Line("C", "seed 0", False, 4, (10, 20), (1.0, -2.0))
    found = lines(drawing.chart(Chart("<T>", "epoch", "top-1, %", (mean, *seeds, apart))))
    asked = {group.get("data-label"): group for group in found if group.get("data-y")}
    assert set(asked) == {"A & B, mean of 2", "C, seed 0"}
    assert asked["A & B, mean of 2"].get("data-y") == "12.346 13.5 14.25"
    assert asked["A & B, mean of 2"].get("data-x") == "1 2 4"
    assert asked["C, seed 0"].get("data-x") == "10 20"
    assert [group.get("class") for group in found].count("c3 faint") == 2


def test_a_line_of_consecutive_epochs_says_its_first_alone():
    (group,) = lines(
        drawing.chart(Chart("T", "x", "y", (Line("A", "seed 0", False, 0, (3, 4, 5), (1.0, 2.0, 3.0)),)))
    )
    assert (group.get("data-from"), group.get("data-x")) == ("3", None)


@pytest.mark.parametrize("ys", [(), (math.nan,), (5.0,), (0.0, 0.0), (1e9, -1e9), (math.inf, 1.0)])
def test_a_chart_of_whatever_numbers_is_drawn(ys):
    xs = tuple(range(len(ys)))
    svg = drawing.chart(Chart("T", "x", "y", (Line("A", "seed 0", False, 0, xs, ys),)))
    ET.fromstring(svg)
    assert "nan" not in svg
    assert "inf" not in svg


def test_a_point_stands_at_its_logarithm_with_its_interval():
    points = tuple(
        Point(name, i, x, 30.0, 1.5) for i, (name, x) in enumerate((("A", 10), ("B", 100), ("C", 1000)))
    )
    svg = drawing.scatter(Scatter("T", "seconds", "top-1, %", points, log_x=True))
    places = [
        float(re.findall(r'class="dot" d="M([\d.]+)', ET.tostring(g, "unicode").replace("ns0:", ""))[0])
        for g in lines(svg)
    ]
    assert places[1] - places[0] == pytest.approx(places[2] - places[1], abs=6)
    assert "A: top-1, % 30 ± 1.5 at 10 seconds" in svg


def test_labels_of_points_never_lie_on_one_another():
    rng = np.random.default_rng(0)
    points = tuple(
        Point(f"method number {i}", i, float(x), float(y))
        for i, (x, y) in enumerate(rng.uniform(1, 9, (40, 2)))
    )
    root = ET.fromstring(drawing.scatter(Scatter("T", "x", "y", points)))
    boxes = []
    for label in (node for node in root.iter("text") if node.get("class") == "name"):
        width = 5.4 * len(label.text or "")
        left = float(label.get("x", 0)) - (width if label.get("text-anchor") == "end" else 0)
        boxes.append((left, float(label.get("y", 0)) - 9, left + width, float(label.get("y", 0)) + 2))
    assert len(boxes) >= 5
    for a, b in itertools.combinations(boxes, 2):
        assert not (a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3])


def test_a_strip_puts_mean_interval_seeds_and_paper_where_they_are():
    axis = drawing.Axis(-1.0, 3.0, (-1, 0, 1, 2, 3))
    root = ET.fromstring(drawing.strip(axis, 1.0, 0.5, (0.0, 2.0), published=3.0))
    (bar,) = (node for node in root.iter("line") if node.get("class") == "bar")
    assert (bar.get("x1"), bar.get("x2")) == ("37.50%", "62.50%")
    assert [node.get("cx") for node in root.iter("circle")] == ["25.00%", "75.00%"]
    assert [node.get("x") for node in root.iter("svg") if node.get("x")] == ["50.00%", "100.00%"]
    assert [node.get("x1") for node in root.iter("line") if node.get("class") == "zero"] == ["25.00%"]


def test_without_an_interval_a_strip_draws_none():
    assert 'class="bar"' not in drawing.strip(drawing.axis_of([1.0, 2.0]), 1.0, None, (1.0,))


def test_an_axis_of_differences_holds_zero():
    axis = drawing.axis_of([2.0, 3.0, None, math.inf])
    assert axis.low < 0 < 3 < axis.high
