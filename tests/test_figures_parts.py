"""Figures 3 to 5 show what the arrays hold, by a rule that the caption states; a report pictures a run once."""

import numpy as np
import pytest

from bench.report.figures import Absent, Album, TableRows, consistency, draw, masks, parts, raster
from bench.report.model import Chart, Figure, Picture
from tests.evaluating import judge, pretrained
from tests.left_runs import Left, on_dataset, row_runs
from tests.test_figures_charts import table
from tests.test_figures_pictures import decoded, drawn, holds, images

PARTS, SHOWN, GRID, TOP = 10, 9, 4, 12
NAMES = ["cat", "lawn_mower", "fig"]


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path)


def arrays():
    """As the evaluation leaves them: the patches in the order of `shown`, part 4 in none of them."""
    rng = np.random.default_rng(5)
    occurrence = rng.uniform(0.4, 0.6, (12, PARTS, GRID, GRID)).astype(np.float16)
    occurrence[:, 9] = 0.5  # the same everywhere
    return {
        "images": images(12),
        "occurrence": occurrence,
        "shown": np.array([9, 8, 7, 6, 5, 3, 2, 1, 0], np.int16),
        "patches": rng.integers(0, 256, (SHOWN, TOP, 3, 16, 16), dtype=np.uint8),
        "swap_source": images(4, seed=6),
        "swap_source_part": np.array([1, 2, 3, 4]),
        "swap_source_map": rng.uniform(0, 1, (4, GRID, GRID)).astype(np.float16),
        "swap_target": images(12, seed=7).reshape(4, 3, 3, 32, 32),
        "swap_target_part": np.arange(12).reshape(4, 3),
        "swap_target_map": rng.uniform(0, 1, (4, 3, GRID, GRID)).astype(np.float16),
        "swap_before": images(12, seed=8).reshape(4, 3, 3, 32, 32),
        "swap_after": images(12, seed=9).reshape(4, 3, 3, 32, 32),
    }


def numbers(alive=PARTS, shift=0.0):
    rng = np.random.default_rng(4)
    return {
        "alive": np.arange(PARTS) < alive,
        "purity_labels": np.linspace(0.2, 0.65, PARTS) + shift,
        "purity_pixels": np.linspace(0.65, 0.2, PARTS),
        "top_probability": np.sort(rng.uniform(0.5, 1, (PARTS, TOP)))[:, ::-1].astype(np.float32),
        "top_label": rng.integers(-1, 3, (PARTS, TOP)).astype(np.int16),
    }


FACTS = {"threshold": 0.5, "alive_share": 0.01, "top": TOP, "clusters": 50, "patch": 16}


def with_parts(left, label="PatchVAE", values=None, names=NAMES):
    saved = {"parts": values or arrays(), "part_numbers": numbers()}
    probe = left.run({"kind": "probe"}, {"kind": "probe", "classes": names})
    return row_runs(
        label,
        evaluations={("parts", 0): left.evaluation("parts", arrays=saved)},
        probes={("conv1-5", (0, 0)): probe},
    )


def facts(figure: Figure | Absent | None):
    assert isinstance(figure, Figure)
    return figure.facts


def test_a_map_lies_over_its_image_for_the_parts_with_patches_that_vary_most(left):
    values = arrays()
    (picture,) = drawn(parts.occurrence(on_dataset(with_parts(left))))
    whole = raster.enlarge(raster.pixels(values["images"][3]))
    for part in range(PARTS):
        map_ = raster.overlay(whole, values["occurrence"][3, part])
        assert holds(picture, map_) == (part not in (4, 9)), part


def test_patches_stand_in_order_with_the_classes_of_all_of_them(left):
    values, known = arrays(), numbers()
    figure = parts.patches(on_dataset(with_parts(left)))
    (picture,) = drawn(figure)
    own = values["patches"][values["shown"].tolist().index(2)]
    shown = [holds(picture, raster.enlarge(raster.pixels(patch), parts.PATCH)) for patch in own]
    assert shown == [True] * parts.MOST_PATCHES + [False] * (TOP - parts.MOST_PATCHES)
    (fact,) = facts(figure)
    assert fact.columns == ("PatchVAE", "Probability", f"Classes of its {TOP} surest patches")
    assert [row[0] for row in fact.rows] == [f"part {part}" for part in (0, 1, 2, 3, 5, 6, 7, 8)]
    _, probability, classes = fact.rows[2]
    highest = known["top_probability"][2]
    assert probability == f"{highest[0]:.3f} to {highest[-1]:.3f}"
    counts = {
        name: int((known["top_label"][2] == i).sum()) for i, name in enumerate(("cat", "lawn mower", "fig"))
    }
    expected = {f"{name} ({n})" if n > 1 else name for name, n in counts.items() if n}
    assert set(classes.split(", ")) == expected


def test_classes_without_names_are_numbered(left):
    (fact,) = facts(parts.patches(on_dataset(with_parts(left, names=None))))
    assert "class 2" in fact.rows[0][2]


def test_a_swap_shows_what_changed(left):
    values = arrays()
    (picture,) = drawn(parts.swaps(on_dataset(with_parts(left))))

    def stands(image, map_=None):
        whole = raster.enlarge(raster.pixels(image))
        return holds(picture, whole if map_ is None else raster.overlay(whole, map_))

    change = np.abs(values["swap_after"].astype(float) - values["swap_before"]).mean(2)
    for s in range(4):
        shown = s < parts.MOST_SOURCES
        assert stands(values["swap_source"][s]) == shown
        assert stands(values["swap_source"][s], values["swap_source_map"][s]) == shown
        for t in range(3):
            assert stands(values["swap_target"][s, t], values["swap_target_map"][s, t]) == shown
            assert stands(values["swap_before"][s, t]) == stands(values["swap_after"][s, t]) == shown
    most = change[: parts.MOST_SOURCES].max()
    assert holds(picture, raster.enlarge(raster.grey(change[1, 2], most)))


@pytest.mark.parametrize("figure", [parts.occurrence, parts.patches, parts.swaps])
def test_records_without_the_arrays_say_so_and_methods_without_parts_do_not(left, figure):
    bare = row_runs("PatchVAE", evaluations={("parts", 0): left.evaluation("parts", {"parts_alive": 3})})
    assert isinstance(figure(on_dataset(bare)), Absent)
    assert figure(on_dataset(row_runs("β-VAE"))) is None


def test_parts_that_no_decoder_makes_images_of_are_not_swapped(left):
    values = {name: array for name, array in arrays().items() if not name.startswith("swap")}
    rows = on_dataset(with_parts(left, values=values))
    assert parts.swaps(rows) is None
    assert isinstance(parts.occurrence(rows), Figure)


def test_of_many_methods_a_few_are_opened_and_the_others_named(left):
    rows = [with_parts(left, f"row {i}") for i in range(parts.MOST_ROWS + 1)]
    left.spoil(rows[-1].evaluations["parts", 0], "parts")
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


def test_the_figures_read_what_the_evaluations_save(left, tmp_path):
    pretrain, weights, _ = pretrained("patchvae-lw", tmp_path)
    evaluations = {}
    for evaluation in ("parts", "reconstruction"):
        result, attempt = judge(evaluation, pretrain, weights, tmp_path / evaluation)
        run = left.evaluation(evaluation, result["metrics"], attempt.arrays, result["facts"])
        evaluations[evaluation, 0] = run
    rows = on_dataset(row_runs("PatchVAE + L_w", "patchvae-lw", weighted=True, evaluations=evaluations))
    assert result["classes"] == list(map(str, range(10)))
    for figure in (parts.occurrence, parts.patches, parts.swaps, masks.masks):
        assert len(drawn(figure(rows))) == 1
    numbers = consistency.consistency(rows)
    assert numbers is not None
    assert "exceeds 0.5" in numbers.caption
    assert numbers.facts[0].columns[1] == "Parts alive"
    charts = [panel.title for panel in numbers.panels if isinstance(panel, Chart)]
    assert charts == list(consistency.PURITIES.values())
