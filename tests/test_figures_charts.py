"""Curves, accuracy against cost and differences: what is drawn of the runs, and in which unit."""

import math
from typing import TypeVar

import pytest

from bench.report.figures import (
    PER_DATASET,
    PER_TABLE,
    PICTURES,
    Absent,
    TableRows,
    cost,
    curves,
    differences,
    draw,
)
from bench.report.model import (
    Against,
    Cell,
    Chart,
    Claim,
    Column,
    Comparison,
    Cost,
    Figure,
    Forest,
    Row,
    Scatter,
    Table,
)
from bench.report.model.tables import RowGroup
from bench.stats import Estimate
from tests.left_runs import Left, on_dataset, row_runs


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path)


def column(freeze: str | None = "conv1-5", metric="top1", dataset="digits", title="Conv[1-5]"):
    return Column(dataset, freeze, metric, title, group=dataset.title())


def cell(mean, half=0.01, values=(), **more):
    return Cell(
        "done", Estimate(mean, half, 3, 0.01), values, seeds=tuple((s, s) for s in range(len(values))), **more
    )


def row(label, *cells, seconds: float | None = 60.0, group: RowGroup = "methods"):
    costs = {} if seconds is None else {"digits": Cost(seconds, None)}
    return Row(label, "patchvae", "", group, "", cells, costs)


def table(*rows, columns=None, baseline=""):
    return Table(
        name="table-1", number="1", title="Ten methods", facts=(), caption="", legend=(), protocol="paper",
        seeds=(0, 1, 2), usual_n=3, baseline=baseline, columns=columns or (column(),), rows=rows,
    )  # fmt: skip


PanelT = TypeVar("PanelT")


def panels(figure: Figure | Absent | None, kind: type[PanelT]) -> list[PanelT]:
    assert isinstance(figure, Figure)
    found = [panel for panel in figure.panels if isinstance(panel, kind)]
    assert len(found) == len(figure.panels)
    return found


def caption(figure: Figure | Absent | None) -> str:
    assert isinstance(figure, Figure)
    return figure.caption


def test_the_loss_of_each_method_has_a_chart_of_its_own_with_a_line_a_seed(left):
    patch = row_runs("PatchVAE", pretrains={1: left.pretrain(losses=(4.0, 3.0)), 0: left.pretrain()})
    figure = curves.losses(on_dataset(patch, row_runs("BiGAN", pretrains={0: left.pretrain(losses=(1.0,))})))
    first, second = panels(figure, Chart)
    assert (first.title, second.title) == ("PatchVAE", "BiGAN")
    assert [(line.seed, line.xs, line.ys, line.colour) for line in first.lines] == [
        ("seed 0", (1.0, 2.0), (3.0, 2.0), 0),
        ("seed 1", (1.0, 2.0), (4.0, 3.0), 0),
    ]
    assert second.lines[0].colour == 1
    assert figure is not None
    assert figure.keys == {0: "PatchVAE", 1: "BiGAN"}


def test_a_loss_that_is_not_finite_is_not_drawn(left):
    run = left.pretrain(losses=(3.0, math.nan, 2.0, math.inf))
    (chart,) = panels(curves.losses(on_dataset(row_runs("A", pretrains={0: run}))), Chart)
    assert chart.lines[0].xs == (1.0, 3.0)


def test_accuracies_are_percent_by_freeze_point_with_a_mean(left):
    probes = {
        ("conv1-5", (0, 0)): left.probe((0.1, 0.2)),
        ("conv1-5", (1, 7)): left.probe((0.3, 0.4)),
        ("conv1", (0, 0)): left.probe((0.5, 0.6)),
    }
    shallow, deep = panels(curves.accuracies(on_dataset(row_runs("A", probes=probes))), Chart)
    assert (shallow.title, deep.title) == ("Conv1", "Conv[1-5]")
    assert len(shallow.lines) == 1
    assert [line.seed for line in deep.lines] == ["seed 0", "seeds 1/7", "mean of 2"]
    assert deep.lines[-1].mean
    assert deep.lines[-1].ys == pytest.approx((20.0, 30.0))


def test_probes_of_different_lengths_have_no_mean(left):
    probes = {("conv1", (0, 0)): left.probe((0.1, 0.2)), ("conv1", (1, 1)): left.probe((0.3,))}
    (chart,) = panels(curves.accuracies(on_dataset(row_runs("A", probes=probes))), Chart)
    assert not any(line.mean for line in chart.lines)


def test_a_row_that_is_trained_end_to_end_stands_in_every_chart(left):
    frozen = row_runs("A", probes={("conv1", (0, 0)): left.probe(), ("conv1-5", (0, 0)): left.probe()})
    whole = row_runs("Scratch", probes={("none", (0, 0)): left.probe()})
    charts = panels(curves.accuracies(on_dataset(frozen, whole)), Chart)
    assert [{line.label for line in chart.lines} for chart in charts] == [{"A", "Scratch"}] * 2


def test_of_many_seeds_a_few_are_drawn_and_all_are_in_the_mean(left):
    number = curves.MOST_LINES + 3
    probes = {("conv1", (s, s)): left.probe((s / 100,)) for s in range(number)}
    figure = curves.accuracies(on_dataset(row_runs("A", probes=probes)))
    (chart,) = panels(figure, Chart)
    assert len(chart.lines) == curves.MOST_LINES + 1
    assert chart.lines[-1].ys[0] == pytest.approx(sum(range(number)) / number)
    assert f"Of {number} runs of a row the first {curves.MOST_LINES} are drawn" in caption(figure)


def test_nothing_run_gives_no_figure(left):
    empty = on_dataset(row_runs("A"))
    assert {figure(empty) for figure in (*PER_DATASET, *PICTURES)} == {None}
    behind = TableRows(table(row("A", Cell("missing"), seconds=None)), (), (empty,))
    assert {figure(behind) for figure in PER_TABLE} == {None}
    assert draw(behind).figures == ()


def test_cost_is_percent_against_seconds_and_names_the_device(left):
    shown = table(
        row("A", cell(0.3), seconds=100.0), row("Random", cell(0.2), seconds=None, group="controls")
    )
    runs = on_dataset(row_runs("A", pretrains={0: left.pretrain(device={"type": "cuda", "name": "H100"})}))
    figure = cost.cost(TableRows(shown, (), (runs,)))
    (panel,) = panels(figure, Scatter)
    assert panel.log_x
    assert [(p.label, p.colour, p.x, p.y, p.y_half) for p in panel.points] == [("A", 0, 100.0, 30.0, 1.0)]
    assert "All times were taken on H100 with 1 thread." in caption(figure)
    assert "without a point: Random" in caption(figure)


def test_times_of_two_devices_are_said_not_to_compare(left):
    shown = table(row("A", cell(0.3)), row("B", cell(0.2)))
    rows = (
        row_runs("A", pretrains={0: left.pretrain(device="cpu", threads=2)}),
        row_runs("B", pretrains={0: left.pretrain(device="H100")}),
    )
    figure = cost.cost(TableRows(shown, (), (on_dataset(*rows),)))
    assert figure is not None
    assert (
        "H100 with 1 thread (B); cpu with 2 threads (A): times of different devices do not compare"
        in caption(figure)
    )


def test_times_of_a_machine_that_others_shared_are_said_to_be(left):
    rows = (
        row_runs("A", pretrains={0: left.pretrain(device="cpu", workers=2)}),
        row_runs("B", pretrains={0: left.pretrain(device="cpu", workers=1)}),
    )
    figure = cost.cost(TableRows(table(row("A", cell(0.3)), row("B", cell(0.2))), (), (on_dataset(*rows),)))
    assert figure is not None
    assert "cpu with 1 thread (B); cpu with 1 thread, 2 processes at once (A)" in caption(figure)


def test_only_accuracies_stand_against_cost():
    shown = table(row("A", cell(20.0)), columns=(column(None, "psnr", title="PSNR"),))
    assert cost.cost(TableRows(shown, (), ())) is None


def claim(*comparisons, table="table-1", **more):
    return Claim(
        "c", table, "A beats B.", "", "", "", "a above b", "supported", 0.01, "", comparisons, **more
    )


def test_a_claim_is_drawn_in_points_with_every_seed_and_the_papers_difference():
    one = Comparison(
        "A",
        "B",
        "Digits Conv1",
        "top1",
        3,
        0.02,
        0.01,
        by_seed={1: 0.03, 0: 0.01},
        published=0.015,
        by_image=True,
    )
    absent = Comparison("A", "B", "Digits Conv[1-5]", "top1", 0)
    figure = differences.claims(TableRows(table(), (claim(one, absent), claim(one, table="table-2")), ()))
    (panel,) = panels(figure, Forest)
    assert "supported" in panel.title
    assert panel.x_label == "difference in top-1, points"
    (line,) = panel.lines
    assert (line.label, line.group) == ("A − B", "Digits Conv1")
    assert (line.centre, line.half, line.published) == pytest.approx((2.0, 1.0, 1.5))
    assert line.dots == pytest.approx((1.0, 3.0))
    assert "test images as a sample" in caption(figure)


def test_a_claim_about_two_units_has_two_axes():
    psnr = Comparison("A", "B", "Digits", "psnr", 3, 1.5, 0.5, by_seed={0: 1.5})
    ssim = Comparison("A", "B", "Digits", "ssim", 3, 0.1, 0.05, by_seed={0: 0.1})
    first, second = panels(differences.claims(TableRows(table(), (claim(psnr, ssim),), ())), Forest)
    assert (first.x_label, second.x_label) == ("difference in PSNR, dB", "difference in SSIM")
    assert (first.lines[0].centre, second.lines[0].centre) == (1.5, 0.1)


def test_a_claim_about_the_mean_shows_it_below_what_it_is_the_mean_of():
    parts = [
        Comparison("A", "B", name, "top1", 2, d) for name, d in (("one", 0.01), ("two", 0.03), ("one", 0.05))
    ]
    overall = Comparison("A", "B", "", "top1", 2, 0.02)
    (panel,) = panels(
        differences.claims(TableRows(table(), (claim(*parts, average=True, overall=overall),), ())), Forest
    )
    assert [line.group for line in panel.lines] == ["one", "one", "two", "Mean"]
    assert panel.lines[-1].label == "all of the above"


def test_the_difference_from_a_baseline_is_paired_by_seed():
    base = row("B", cell(0.20, values=(0.19, 0.21, 0.9), published=0.25))
    other = row("A", cell(0.30, values=(0.27, 0.33), published=0.28, against=Against(0.1, 0.02, 0.01, False)))
    figure = differences.baseline(TableRows(table(base, other, baseline="B"), (), ()))
    (panel,) = panels(figure, Forest)
    (line,) = panel.lines
    assert (line.label, line.group) == ("A", "Digits, Conv[1-5]")
    assert (line.centre, line.half) == pytest.approx((10.0, 2.0))
    assert line.dots == pytest.approx((8.0, 12.0))
    assert line.published == pytest.approx(3.0)


def test_probes_that_share_a_pretraining_are_one_dot():
    seeds = ((0, 0), (0, 1), (1, 0), (1, 1))
    cells = [
        Cell("done", Estimate(0.2, None, 2, None), values, seeds=seeds, against=against)
        for values, against in (
            ((0.1, 0.1, 0.1, 0.1), None),
            ((0.2, 0.4, 0.1, 0.3), Against(0.15, 0.1, None, False)),
        )
    ]
    figure = differences.baseline(
        TableRows(table(row("B", cells[0]), row("A", cells[1]), baseline="B"), (), ())
    )
    (panel,) = panels(figure, Forest)
    assert panel.lines[0].dots == pytest.approx((20.0, 10.0))
