"""Official layouts: which image gets which label, what a wrong tree says, a part of a data set by its path."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import registry
from bench.data.decode import read_image
from bench.errors import BenchError, DataError, UsageError
from bench.protocols import PRESETS, preset_epochs
from bench.selection import select
from models.registry import resolve_config
from tests import official_trees as trees
from tests.official_trees import WNIDS

Build = Callable[[Path, pytest.MonkeyPatch], None]

# layout -> (data set, its builder, its folder below the root)
LAYOUTS: dict[str, tuple[str, Build, str]] = {
    "imagenet": ("imagenet", trees.build_imagenet, "imagenet"),
    "imagenet sorted": ("imagenet", trees.build_imagenet_sorted, "imagenet"),
    "imagenet kaggle": ("imagenet", trees.build_imagenet_kaggle, "imagenet"),
    "places205": ("places205", trees.build_places205, "places205"),
    "miniplaces-full": ("miniplaces-full", trees.build_miniplaces_full, "miniplaces"),
    "tinyimagenet": ("tinyimagenet", trees.build_tinyimagenet, "tiny-imagenet-200"),
}
KIT = "imagenet/ILSVRC2012_devkit_t12/data"
IMAGES256 = "places205/data/vision/torralba/deeplearning/images256"
SPLIT205 = "places205/trainvalsplit_places205"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.exit_code == 2
    return text


def pixels(path: Path, size: int) -> np.ndarray:
    return read_image(path, size)[0].transpose(2, 0, 1)


@pytest.mark.parametrize(
    "build", [trees.build_imagenet, trees.build_imagenet_sorted, trees.build_imagenet_kaggle]
)
def test_every_layout_of_imagenet_gives_the_same_labels_by_sorted_wnid(build, root, monkeypatch):
    build(root, monkeypatch)
    data = registry.load("imagenet", root)
    assert data.classes == WNIDS
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    (folder,) = root.rglob("val")
    wanted = {
        pixels(path, 224).tobytes(): label
        for path in folder.rglob("*.JPEG")
        for label in [[2, 0, 1, 2][int(path.stem[-8:]) - 1]]
    }
    assert len(wanted) == 4
    # In one order too: predictions of two machines are compared image by image.
    assert data.test.labels.tolist() == [2, 0, 1, 2]
    assert {
        x.tobytes(): y for x, y in zip(data.test.images, data.test.labels.tolist(), strict=True)
    } == wanted


def test_places205_has_the_labels_of_its_lists_and_classes_by_folder(root, monkeypatch):
    trees.build_places205(root, monkeypatch)
    data = registry.load("places205", root)
    assert data.classes == ("abbey", "apartment_building/outdoor", "bar")
    assert data.train.labels.tolist() == [2, 2, 2, 1, 1, 1, 0, 0, 0]  # in the order of the list
    assert data.test.labels.tolist() == [2, 1, 0]
    for image, line in zip(
        data.test.images, (root / SPLIT205 / "val_places205.csv").read_text().split("\n"), strict=False
    ):
        assert np.array_equal(image, pixels(root / IMAGES256 / line.split()[0], 64))


def test_miniplaces_in_its_authors_layout_has_the_names_of_its_kit(root, monkeypatch):
    trees.build_miniplaces_full(root, monkeypatch)
    data = registry.load("miniplaces-full", root)
    assert data.classes == ("abbey", "bar")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 1])
    assert np.array_equal(data.test.images[0], pixels(root / "miniplaces/images/val/00000002.jpg", 64))


def test_tiny_imagenet_has_the_labels_of_its_annotations(root, monkeypatch):
    trees.build_tinyimagenet(root, monkeypatch)
    data = registry.load("tinyimagenet", root)
    assert data.classes == WNIDS
    assert data.test.labels.tolist() == [1, 0]
    assert np.array_equal(data.test.images[0], pixels(root / "tiny-imagenet-200/val/images/val_0.JPEG", 64))


def test_stl10_has_its_columns_turned_and_its_unlabelled_images_in_the_pool(root, monkeypatch):
    trees.build_stl10(root, monkeypatch)
    data = registry.load("stl10", root)
    assert data.classes == ("airplane", "bird")
    assert np.array_equal(data.train.images, trees.stl10_pixels(0, 4))
    assert np.array_equal(data.test.images, trees.stl10_pixels(1, 2))
    assert np.array_equal(data.pool.images, np.concatenate([data.train.images, trees.stl10_pixels(2, 5)]))
    assert data.train.labels.tolist() == [0, 1, 0, 1]
    assert data.pool.labels.tolist() == [0, 1, 0, 1, -1, -1, -1, -1, -1]


def write(root: Path, path: str, text: str) -> None:
    (root / path).write_text(text)


# layout, what is done to the tree, what the one line says
WRONG: dict[str, tuple[Build, Callable[[Path], object], tuple[str, ...]]] = {
    "imagenet: an image is lost": (
        trees.build_imagenet,
        lambda r: (r / f"imagenet/train/{WNIDS[0]}/{WNIDS[0]}_1.JPEG").unlink(),
        ("holds 8 training images, not 9", "unpack it again"),
    ),
    "imagenet: a class is lost": (
        trees.build_imagenet,
        lambda r: shutil.rmtree(r / "imagenet/train" / WNIDS[1]),
        ("is of the class n01443537, which", "lacks: unpack it again"),
    ),
    "imagenet: no validation images": (
        trees.build_imagenet,
        lambda r: shutil.rmtree(r / "imagenet/val"),
        ("lacks its validation images", "ILSVRC2012_img_val.tar"),
    ),
    "imagenet: no kit": (
        trees.build_imagenet,
        lambda r: shutil.rmtree(r / "imagenet/ILSVRC2012_devkit_t12"),
        ("not sorted into classes", "ILSVRC2012_devkit_t12.tar.gz", "https://image-net.org"),
    ),
    "imagenet: the kit lacks meta.mat": (
        trees.build_imagenet,
        lambda r: (r / KIT / "meta.mat").unlink(),
        ("meta.mat is missing", "unpack ILSVRC2012_devkit_t12.tar.gz again"),
    ),
    "imagenet: meta.mat is cut": (
        trees.build_imagenet,
        lambda r: (r / KIT / "meta.mat").write_bytes((r / KIT / "meta.mat").read_bytes()[:200]),
        ("meta.mat cannot be read", "unpack ILSVRC2012_devkit_t12.tar.gz again"),
    ),
    "imagenet: a strange label": (
        trees.build_imagenet,
        lambda r: write(r, f"{KIT}/ILSVRC2012_validation_ground_truth.txt", "1\n2\n77\n1\n"),
        ("line 3 is '77', no ILSVRC2012_ID of meta.mat",),
    ),
    "imagenet: a validation image too many": (
        trees.build_imagenet,
        lambda r: trees.write_image(r / "imagenet/val/ILSVRC2012_val_00000009.JPEG", 1),
        ("ILSVRC2012_val_00000009.JPEG is not among the 4",),
    ),
    "imagenet: Kaggle's table is another": (
        trees.build_imagenet_kaggle,
        lambda r: write(r, "imagenet/LOC_val_solution.csv", "ImageId,PredictionString\nval_1,dog\n"),
        ("'val_1,dog' is not an image and its class", "download it again"),
    ),
    "places205: an image is lost": (
        trees.build_places205,
        lambda r: (r / IMAGES256 / "b/bar/gsun_20.jpg").unlink(),
        ("1 of 12 listed images are not in", "b/bar/gsun_20.jpg", "unpack it again"),
    ),
    "places205: no images": (
        trees.build_places205,
        lambda r: shutil.rmtree(r / "places205/data"),
        ("lacks its images", "imagesPlaces205_resize.tar.gz"),
    ),
    "places205: a list is lost": (
        trees.build_places205,
        lambda r: (r / SPLIT205 / "val_places205.csv").unlink(),
        ("cannot read", "val_places205.csv", "unpack it again"),
    ),
    "places205: a list is cut": (
        trees.build_places205,
        lambda r: write(r, f"{SPLIT205}/val_places205.csv", "a/abbey/gsun_03.jpg 0\n"),
        ("holds 1 test images, not 3: unpack it again",),
    ),
    "places205: a list ends in the middle of a line": (
        trees.build_places205,
        lambda r: write(r, f"{SPLIT205}/val_places205.csv", "a/abbey/gsun_03.jpg 0\na/abbey/gs"),
        ("line 2 is 'a/abbey/gs', not a path and a label",),
    ),
    "places205: a label of two folders": (
        trees.build_places205,
        lambda r: write(r, f"{SPLIT205}/train_places205.csv", "a/abbey/gsun_00.jpg 0\nb/bar/gsun_20.jpg 0\n"),
        ("gives the label 0 to a/abbey and to b/bar",),
    ),
    "miniplaces-full: no kit": (
        trees.build_miniplaces_full,
        lambda r: shutil.rmtree(r / "miniplaces/development_kit"),
        ("miniplaces-full not found", "github.com/CSAILVision/miniplaces"),
    ),
    "miniplaces-full: an image is lost": (
        trees.build_miniplaces_full,
        lambda r: (r / "miniplaces/images/train/b/bar/00000003.jpg").unlink(),
        ("1 of 8 listed images are not in", "train/b/bar/00000003.jpg"),
    ),
    "miniplaces-full: a class without a name": (
        trees.build_miniplaces_full,
        lambda r: write(r, "miniplaces/development_kit/data/categories.txt", "/a/abbey 0\n"),
        ("the label 1 is in train.txt or val.txt but not in categories.txt",),
    ),
    "tinyimagenet: a class is lost": (
        trees.build_tinyimagenet,
        lambda r: shutil.rmtree(r / "tiny-imagenet-200/train" / WNIDS[2]),
        (f"lacks train/{WNIDS[2]}, which wnids.txt names: unpack it again",),
    ),
    "tinyimagenet: annotations of another": (
        trees.build_tinyimagenet,
        lambda r: write(r, "tiny-imagenet-200/val/val_annotations.txt", "val_0.JPEG\tn9\t0\t0\t1\t1\n"),
        ("names no class of wnids.txt",),
    ),
    "stl10: a file is cut": (
        trees.build_stl10,
        lambda r: (r / "stl10_binary/unlabeled_X.bin").write_bytes(b"12345"),
        ("unlabeled_X.bin has 5 bytes, not 138240: unpack it again",),
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_tree_is_told_in_one_line_before_an_image_is_opened(fault, root, monkeypatch):
    build, spoil, words = WRONG[fault]
    build(root, monkeypatch)
    spoil(root)
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    with pytest.raises(DataError) as error:
        registry.locate(fault.partition(":")[0], root)
    text = one_line(error)
    for word in words:
        assert word in text


def test_stl10_of_other_bytes_is_refused(root, monkeypatch):
    trees.build_stl10(root, monkeypatch)
    path = root / "stl10_binary/test_X.bin"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataError) as error:
        registry.load("stl10", root)
    assert "not the published" in one_line(error)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_part_of_a_data_set_is_read_by_its_path_without_the_published_numbers(layout, root, monkeypatch):
    name, build, folder = LAYOUTS[layout]
    with pytest.MonkeyPatch.context() as promised:
        build(root, promised)
    with pytest.raises(DataError):  # the published numbers
        registry.locate(name, root)
    part, row = f"{name}:{root / folder}", registry.spec(f"{name}:{root / folder}")
    assert (row.paper, row.num_train, row.num_test, row.num_classes) == (None, None, None, None)
    assert row.image_size == registry.spec(name).image_size
    data = registry.load(f"{part}@24", None)
    assert data.train.images.shape[1:] == (3, 24, 24)
    assert set(data.train.labels.tolist()) == set(range(len(data.classes)))
    assert registry.load(f"{part}@24@50%", None).test.images.shape == data.test.images.shape
    about = registry.identity(part, None)
    assert about["name"] == f"{name}:{folder}"
    assert str(root) not in str(about)
    assert registry.identity(f"{name}:{folder}", root) == about
    spoiled = next(path for path in sorted((root / folder).rglob("*")) if path.suffix in (".jpg", ".JPEG"))
    spoiled.write_bytes(b"more")
    assert registry.identity(part, None)["listing"] != about["listing"]


@pytest.mark.parametrize("build", [trees.build_imagenet, trees.build_imagenet_sorted])
def test_a_part_of_imagenet_leaves_out_validation_images_of_classes_that_it_lacks(build, root, monkeypatch):
    build(root, monkeypatch)
    shutil.rmtree(root / "imagenet/train" / WNIDS[2])
    data = registry.load("imagenet:imagenet@24", root)
    assert data.classes == WNIDS[:2]
    assert data.test.labels.tolist() == [0, 1]


def test_a_part_has_the_epochs_and_settings_of_the_whole():
    assert preset_epochs("full", "imagenet:~/few@64") == PRESETS["full"]["imagenet"]
    config = resolve_config("patchvae", "imagenet:few")
    assert (config.num_parts, config.part_dim) == (64, 16)
    assert resolve_config("patchvae", "folder:imagenet") == resolve_config("patchvae")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("imagnet:/x", ("'imagnet:/x'", "did you mean 'imagenet:PATH'?", "folder:PATH")),
        ("cifar100:/x", ("'cifar100' takes no path", "--data DIR")),
        ("imagenet:", ("lacks a path: imagenet:PATH or imagenet:PATH@SIZE",)),
        ("places205:/x@4", ("image size 4 is below",)),
    ],
)
def test_a_name_with_a_path_that_means_nothing_is_answered_with_what_does(name, words):
    with pytest.raises(UsageError) as error:
        registry.spec(name)
    text = one_line(error)
    for word in words:
        assert word in text


def test_a_path_without_the_layout_says_what_is_missing(root):
    (root / "empty").mkdir()
    with pytest.raises(DataError) as error:
        registry.locate("places205:empty", root)
    assert "has no trainvalsplit_places205: it must lie as in" in one_line(error)
    with pytest.raises(DataError) as error:
        registry.locate("places205:nowhere", root)
    assert "there is no folder nowhere" in one_line(error)


def test_a_selection_takes_names_with_paths():
    names = select("data set", ["imagenet:/a@64,digits"], registry.DATASETS, registry.open_prefixes())
    assert names == ["imagenet:/a@64", "digits"]
