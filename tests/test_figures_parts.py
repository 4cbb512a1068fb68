"""Figures 3 to 5 show what the arrays hold, by a rule that the caption states; a report pictures a run once."""

import numpy as np
import pytest

from bench.report.figures import Absent, Album, TableRows, draw, parts, raster
from bench.report.model import Figure, Picture
from tests.left_runs import Left, on_dataset, row_runs
from tests.test_figures_charts import table
from tests.test_figures_pictures import decoded, drawn, holds, images

PARTS, GRID, TOP = 10, 4, 12


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path)


def arrays(number=16):
    rng = np.random.default_rng(5)
    occurrence = rng.uniform(0.4, 0.6, (number, PARTS, GRID, GRID)).astype(np.float32)
    occurrence[:, [0, 9]] = 0.5  # two parts that are the same everywhere
    return {
        "images": images(number),
        "occurrence": occurrence,
        "patches": rng.integers(0, 256, (PARTS, TOP, 3, 16, 16), dtype=np.uint8),
        "scores": np.sort(rng.uniform(0.5, 1, (PARTS, TOP)))[:, ::-1].astype(np.float32),
        "labels": rng.integers(0, 3, (PARTS, TOP)),
        "classes": np.array(["cat", "lawn_mower", "fig"]),
        "swap": np.array([(0, 1, 2, 3), (0, 1, 4, 3), (5, 2, 6, 3)]),
        "before": images(3, seed=8),
        "after": images(3, seed=9),
    }


def with_parts(left, label="PatchVAE", values=None):
    return row_runs(
        label, evaluations={("parts", 0): left.evaluation("parts", arrays={"parts": values or arrays()})}
    )


def facts(figure: Figure | Absent | None):
    assert isinstance(figure, Figure)
    return figure.facts


def test_a_map_lies_over_its_image_for_the_parts_that_vary_most(left):
    values = arrays()
    (picture,) = drawn(parts.occurrence(on_dataset(with_parts(left))))
    whole = raster.enlarge(raster.pixels(values["images"][3]))
    for part in range(PARTS):
        map_ = raster.overlay(whole, values["occurrence"][3, part])
        assert holds(picture, map_) == (part not in (0, 9)), part


def test_a_map_uses_the_whole_scale_and_not_its_own_range(left):
    low = arrays()
    low["occurrence"] = low["occurrence"] * 0.1
    (picture,) = drawn(parts.occurrence(on_dataset(with_parts(left, values=low))))
    whole = raster.enlarge(raster.pixels(low["images"][0]))
    assert holds(picture, raster.overlay(whole, low["occurrence"][0, 1]))
    assert not holds(picture, raster.overlay(whole, low["occurrence"][0, 1] * 10))


def test_patches_stand_in_order_with_the_classes_of_all_of_them(left):
    values = arrays()
    figure = parts.patches(on_dataset(with_parts(left)))
    (picture,) = drawn(figure)
    shown = [holds(picture, raster.enlarge(raster.pixels(p), parts.PATCH)) for p in values["patches"][2]]
    assert shown == [True] * parts.MOST_PATCHES + [False] * (TOP - parts.MOST_PATCHES)
    (fact,) = facts(figure)
    assert fact.columns == ("PatchVAE", "Probability", f"Classes of its {TOP} surest patches")
    counts = {
        name: int((values["labels"][2] == i).sum()) for i, name in enumerate(("cat", "lawn mower", "fig"))
    }
    name, _, classes = fact.rows[2]
    assert name == "part 2"
    assert all((f"{key} ({n})" if n > 1 else key) in classes for key, n in counts.items() if n)


def test_a_swap_shows_what_changed(left):
    values = arrays()
    (picture,) = drawn(parts.swaps(on_dataset(with_parts(left))))
    for i in range(3):
        source, part, target, own = values["swap"][i]
        for image, shown in ((source, part), (target, own)):
            whole = raster.enlarge(raster.pixels(values["images"][image]))
            assert holds(picture, whole)
            assert holds(picture, raster.overlay(whole, values["occurrence"][image, shown]))
        assert holds(picture, raster.enlarge(raster.pixels(values["before"][i])))
        assert holds(picture, raster.enlarge(raster.pixels(values["after"][i])))
    change = np.abs(values["after"].astype(float) - values["before"]).mean(1)
    assert holds(picture, raster.enlarge(raster.grey(change[1], change.max())))


@pytest.mark.parametrize("figure", [parts.occurrence, parts.patches, parts.swaps])
def test_records_without_the_arrays_say_so_and_methods_without_parts_do_not(left, figure):
    bare = row_runs("PatchVAE", evaluations={("parts", 0): left.evaluation("parts", {"parts_alive": 3})})
    assert isinstance(figure(on_dataset(bare)), Absent)
    assert figure(on_dataset(row_runs("β-VAE"))) is None


def test_of_many_methods_a_few_are_opened_and_the_others_named(left):
    rows = [with_parts(left, f"row {i}") for i in range(parts.MOST_ROWS + 1)]
    last = rows[-1].evaluations["parts", 0]
    left.spoil(last, "parts")
    figure = parts.patches(on_dataset(*rows))
    assert len(drawn(figure)) == parts.MOST_ROWS
    assert isinstance(figure, Figure)
    assert f"beyond the first {parts.MOST_ROWS} rows: row {parts.MOST_ROWS}." in figure.caption


def pictured(figures):
    return [panel.label for figure in figures for panel in figure.panels if isinstance(panel, Picture)]


def test_a_pretraining_is_pictured_in_one_table_only(left):
    album = Album()
    first, second = (row_runs(name, pretrains={0: left.pretrain(pictures=decoded())}) for name in "AB")
    behind = [TableRows(table(), (), (on_dataset(*rows),)) for rows in ((first,), (first, second), (first,))]
    one, two, three = (draw(each, album) for each in behind)
    assert pictured(one.figures) == ["A"]
    assert pictured(two.figures) == ["B"]
    assert "Under Table 1: A." in next(f for f in two.figures if f.name.endswith("reconstructions")).caption
    assert pictured(three.figures) == []
    assert three.absent == ()


def test_a_report_stops_at_a_stated_number_of_pictures(left):
    album = Album(left=1)
    rows = [row_runs(name, pretrains={0: left.pretrain(pictures=decoded())}) for name in "AB"]
    one, two = (draw(TableRows(table(), (), (on_dataset(row),)), album) for row in rows)
    assert pictured(one.figures) == ["A"]
    assert pictured(two.figures) == []
    assert two.absent == ("Pictures of Table 1, Digits: the report has 30 pictures already",)
