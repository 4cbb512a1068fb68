"""Pictures of images: every pixel where it belongs, the same bytes twice, and named where they are missing."""

import io

import numpy as np
import pytest
from PIL import Image

from bench.report.figures import Absent, masks, raster, reconstructions, write_pictures
from bench.report.figures.rows import MOST_ROWS
from bench.report.model import Figure, Picture
from tests.left_runs import Left, on_dataset, row_runs


@pytest.fixture
def left(tmp_path):
    return Left(tmp_path)


def images(number=10, side=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (number, 3, side, side), dtype=np.uint8)


def decoded(seed=0, side=32, number=10):
    return {"images": images(number, side), "reconstructions": images(number, side, seed + 1)}


def weighed(number=10, side=32):
    rng = np.random.default_rng(3)
    shape = (number, 3, side, side)
    return {
        "images": images(number, side),
        "laplacian": rng.exponential(1, shape).astype(np.float32),
        "weights": rng.exponential(1, shape).astype(np.float32),
    }


def drawn(figure: Figure | Absent | None) -> list[Picture]:
    assert isinstance(figure, Figure)
    assert all(isinstance(panel, Picture) for panel in figure.panels)
    return [panel for panel in figure.panels if isinstance(panel, Picture)]


def opened(picture):
    image = Image.open(io.BytesIO(picture.png))
    assert image.size == (picture.width, picture.height)
    return np.asarray(image.convert("RGB"))


def packed(image):
    """Colours as one whole number each: uint32 [h, w]."""
    return image.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


def holds(picture, tile):
    """Whether a tile stands in a picture, unchanged."""
    whole, part = packed(opened(picture)), packed(tile)
    height, width = part.shape
    rows, columns = whole.shape[0] - height + 1, whole.shape[1] - width + 1
    corners = [(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1), (height // 2, width // 2)]
    fits = np.all([whole[y : y + rows, x : x + columns] == part[y, x] for y, x in corners], axis=0)
    return any(np.array_equal(whole[y : y + height, x : x + width], part) for y, x in np.argwhere(fits))


def test_pixels_are_repeated_and_never_mixed():
    image = raster.pixels(images(1)[0])
    large = raster.enlarge(image)
    assert large.shape == (96, 96, 3)
    assert np.array_equal(large[::3, ::3], image)
    assert np.array_equal(large[2::3, 1::3], image)


def test_a_grey_image_has_three_equal_channels():
    image = raster.pixels(images(1)[0][:1])
    assert image.shape == (32, 32, 3)
    assert (image[..., 0] == image[..., 2]).all()


@pytest.mark.parametrize(("side", "expected"), [(8, 12), (32, 3), (64, 2), (96, 1), (224, 1)])
def test_small_images_are_enlarged_a_whole_number_of_times(side, expected):
    assert raster.times(side) == expected


def test_a_row_of_pictures_stays_narrow_and_holds_at_least_four():
    assert raster.beside(32, 8) == 8
    assert raster.beside(224, 8) == 4
    assert raster.beside(224, 3) == 3


def test_a_map_colours_the_pixels_of_its_own_cells():
    values = np.array([[0.0, 1.0], [0.5, 0.0]])
    shown = raster.overlay(np.full((6, 6, 3), 128, np.uint8), values)
    assert len({tuple(shown[y, x]) for y in range(3) for x in range(3)}) == 1
    assert tuple(shown[0, 0]) == tuple(shown[5, 5])
    assert len({tuple(shown[y, x]) for y, x in ((0, 0), (0, 5), (5, 0))}) == 3


def test_a_value_has_the_colour_of_the_scale_whatever_stands_beside_it():
    scale, grey = raster.heat_scale("occurrence"), np.full((1, 1, 3), 128, np.uint8)
    alone = [raster.overlay(grey, np.full((1, 1), k / 95))[0, 0] for k in range(96)]
    assert np.array_equal(alone, scale.colours)


def test_colours_get_lighter_with_the_value():
    light = raster.heat(np.linspace(0, 1, 50)) @ (0.299, 0.587, 0.114)
    assert (np.diff(light) > 0).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("β-VAE", "beta-VAE"),
        ("image × weight", "image x weight"),
        ("Café", "Cafe"),
        ("日本", "??"),
        ("L_w", "L_w"),
    ],
)
def test_letters_that_the_font_lacks_are_spelled(text, expected):
    assert raster.spelled(text) == expected


def test_a_long_word_is_cut_and_says_so():
    assert raster.shortened("cat", 200) == "cat"
    assert raster.shortened("a very long class name", 40).endswith("…")


def test_each_method_stands_beneath_the_same_images(left):
    rows = [
        row_runs(label, pretrains={0: left.pretrain(pictures=decoded(seed))})
        for seed, label in enumerate("AB")
    ]
    (picture,) = drawn(reconstructions.reconstructions(on_dataset(*rows)))
    assert picture.label == "A, B"
    for seed in (0, 1):
        assert holds(picture, raster.enlarge(raster.pixels(decoded(seed)["reconstructions"][7])))
    assert holds(picture, raster.enlarge(raster.pixels(decoded()["images"][0])))
    assert not holds(picture, raster.enlarge(raster.pixels(decoded()["images"][8])))


def test_only_the_lowest_seed_that_is_done_is_opened(left):
    runs = {0: left.pretrain(pictures=decoded(0), done=False), 2: left.pretrain(pictures=decoded(2))}
    broken = left.pretrain()
    left.spoil(broken, "reconstructions")
    (picture,) = drawn(
        reconstructions.reconstructions(on_dataset(row_runs("A", pretrains={**runs, 5: broken})))
    )
    assert picture.seed == 2


def test_rows_beyond_a_stated_number_are_not_opened(left):
    rows = [
        row_runs(f"row {i}", pretrains={0: left.pretrain(pictures=decoded(number=1))})
        for i in range(MOST_ROWS)
    ]
    beyond = left.pretrain()
    left.spoil(beyond, "reconstructions")
    figure = reconstructions.reconstructions(on_dataset(*rows, row_runs("beyond", pretrains={0: beyond})))
    assert "beyond" not in drawn(figure)[0].label
    assert isinstance(figure, Figure)
    assert f"first {MOST_ROWS} rows" in figure.caption


def test_records_without_pictures_say_so(left):
    rows = on_dataset(row_runs("A", pretrains={0: left.pretrain()}))
    figure = reconstructions.reconstructions(rows)
    assert isinstance(figure, Absent)
    assert figure.reason == "pictures are not in these records"
    weights = on_dataset(
        row_runs("A", weighted=True, evaluations={("reconstruction", 0): left.evaluation("r")})
    )
    assert isinstance(masks.masks(weights), Absent)


def test_what_has_no_decoder_misses_no_pictures(left):
    rows = on_dataset(row_runs("Supervised", "supervised", pretrains={0: left.pretrain()}))
    assert reconstructions.reconstructions(rows) is None
    assert (
        masks.masks(on_dataset(row_runs("A", evaluations={("reconstruction", 0): left.evaluation("r")})))
        is None
    )


def test_methods_that_weigh_alike_share_a_picture(left):
    def row(label, arrays):
        runs = {("reconstruction", 0): left.evaluation("reconstruction", arrays={"masks": arrays})}
        return row_runs(label, weighted=True, evaluations=runs)

    other = weighed()
    other["weights"] = other["weights"] * 2
    figure = masks.masks(on_dataset(row("A", weighed()), row("B", weighed()), row("C", other)))
    assert [picture.label for picture in drawn(figure)] == ["A, B", "C"]
    assert isinstance(figure, Figure)
    assert [line[0] for line in figure.facts[0].rows] == ["A, B", "C"]


def test_a_mask_is_drawn_on_the_scale_that_stands_beneath_it(left):
    arrays = weighed(1)
    arrays["weights"][:] = 0.0
    arrays["weights"][0, :, :8, :8] = 4.0
    runs = {("reconstruction", 0): left.evaluation("reconstruction", arrays={"masks": arrays})}
    (picture,) = drawn(masks.masks(on_dataset(row_runs("A", weighted=True, evaluations=runs))))
    mask, product = np.zeros((32, 32, 3), np.uint8), np.zeros((32, 32, 3), np.uint8)
    mask[:8, :8] = 255
    product[:8, :8] = raster.pixels(arrays["images"][0])[:8, :8]
    assert holds(picture, raster.enlarge(mask))
    assert holds(picture, raster.enlarge(product))


def test_the_same_records_give_the_same_bytes_and_names(left, tmp_path):
    rows = on_dataset(row_runs("β-VAE + L_w", pretrains={0: left.pretrain(pictures=decoded())}))
    once, twice = (reconstructions.reconstructions(rows) for _ in range(2))
    assert isinstance(once, Figure)
    assert isinstance(twice, Figure)
    assert once == twice
    paths = write_pictures([once, once], tmp_path / "out")
    stem = "table-1-digits-reconstructions-beta-vae-l-w-seed0"
    assert [path.name for path in paths] == [f"{stem}.png", f"{stem}-2.png"]
    assert paths[0].read_bytes() == drawn(once)[0].png
    assert write_pictures([], tmp_path / "none") == []
    assert not (tmp_path / "none").exists()
