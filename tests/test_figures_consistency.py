"""The numbers that stand for the paper's words about parts: over seeds, with intervals, against chance."""

import pytest

from bench.report.figures import consistency
from bench.report.model import Chart, Figure
from tests.left_runs import Left, on_dataset, row_runs
from tests.test_figures_parts import FACTS, PARTS, numbers


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path)


def metrics(alive, purity, **more):
    return {
        "parts_alive": alive,
        "purity_labels": purity,
        "purity_labels_chance": 0.1,
        "purity_pixels": 0.3,
        "purity_pixels_chance": 0.05,
        "coverage": 0.9,
        "overlap": 0.5,
        **more,
    }


def evaluations(left, *seeds, arrays=True, facts=FACTS):
    return {
        ("parts", number): left.evaluation(
            "parts", one, {"part_numbers": numbers(*known)} if arrays else {}, facts
        )
        for number, (one, *known) in enumerate(seeds)
    }


def drawn(*rows) -> Figure:
    figure = consistency.consistency(on_dataset(*rows))
    assert figure is not None
    return figure


def charts(figure: Figure) -> list[Chart]:
    found = [panel for panel in figure.panels if isinstance(panel, Chart)]
    assert len(found) == len(figure.panels)
    return found


def test_a_method_has_means_with_intervals_in_percent_and_its_number_of_seeds(left):
    runs = evaluations(left, (metrics(8.0, 0.20),), (metrics(10.0, 0.24),))
    (facts,) = drawn(row_runs("PatchVAE", evaluations=runs)).facts
    assert facts.columns == (
        "Method", "Parts alive", "Label purity (chance), %", "Pixel purity (chance), %", "Locations with a part, %",
        "Locations with two parts, %", "n",
    )  # fmt: skip
    # t(1) = 12.706; half the distance of two values is their standard error.
    assert facts.rows == (
        (
            "PatchVAE",
            "9.0 ± 12.7",
            "22.0 ± 25.4 (10.0)",
            "30.0 (5.0), seeds agree",
            "90.0, seeds agree",
            "50.0, seeds agree",
            "2",
        ),
    )


def test_one_seed_has_no_interval(left):
    (facts,) = drawn(row_runs("A", evaluations=evaluations(left, (metrics(8.0, 0.2),)))).facts
    assert facts.rows[0][:3] == ("A", "8.0", "20.0 (10.0)")


def test_a_number_that_some_seeds_lack_says_of_how_many_it_is(left):
    runs = evaluations(left, (metrics(8.0, 0.2, overlap_iou=0.1),), (metrics(0.0, 0.2),))
    (facts,) = drawn(row_runs("A", evaluations=runs)).facts
    assert dict(zip(facts.columns, facts.rows[0], strict=True))["IoU of two parts, %"] == "10.0, n=1"


def test_the_purity_of_the_parts_alive_falls_from_the_purest_beside_chance(left):
    runs = evaluations(left, (metrics(PARTS, 0.4), PARTS), (metrics(4, 0.3), 4, 0.1))
    labels, pixels = charts(drawn(row_runs("A", evaluations=runs)))
    assert (labels.y_label, pixels.y_label) == ("label purity, %", "pixel purity, %")
    first, second, mean, chance = labels.lines
    assert first.ys == pytest.approx(tuple(65.0 - 5 * i for i in range(PARTS)))
    assert second.ys == pytest.approx((45.0, 40.0, 35.0, 30.0))
    assert mean.mean
    assert mean.ys == pytest.approx((55.0, 50.0, 45.0, 40.0))
    assert chance.ys == pytest.approx((10.0, 10.0))
    assert chance.colour not in {line.colour for line in (first, second, mean)}


def test_published_records_have_the_numbers_without_the_pictures(left):
    runs = evaluations(left, (metrics(8.0, 0.2),), arrays=False)
    figure = drawn(row_runs("A", evaluations=runs))
    assert figure.panels == ()
    assert figure.facts[0].rows[0][1] == "8.0"


def test_the_caption_states_the_constants_and_says_where_they_differ(left):
    same = row_runs("A", evaluations=evaluations(left, (metrics(8.0, 0.2),)))
    other = row_runs("B", evaluations=evaluations(left, (metrics(8.0, 0.2),), facts={**FACTS, "top": 7}))
    assert "at least 1 % of the test images" in drawn(same).caption
    assert "differ" not in drawn(same).caption
    assert "These settings differ between the runs." in drawn(same, other).caption


def test_of_many_seeds_a_few_files_are_opened_and_all_are_in_the_table(left):
    number = consistency.MOST_SEEDS + 1
    runs = evaluations(left, *((metrics(float(s), 0.2),) for s in range(number)))
    left.spoil(runs["parts", number - 1], "part_numbers")
    figure = drawn(row_runs("A", evaluations=runs))
    assert figure.facts[0].rows[0][-1] == str(number)
    assert f"first {consistency.MOST_SEEDS} seeds are drawn" in figure.caption


def test_without_the_evaluation_there_is_no_figure():
    assert consistency.consistency(on_dataset(row_runs("A"))) is None
