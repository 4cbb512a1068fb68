"""What holds for every data set, whichever reader it has; small trees stand in for the published data."""

import dataclasses
import hashlib
import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.contract import check_dataset
from bench.data import cifar, registry
from bench.data.arrays import Dataset
from bench.errors import BenchError, DataError, UsageError
from tests import official_trees as trees


def write_image(path: Path, seed: int, size: tuple[int, int] = (64, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def class_tree(where: Path, test: str = "val", per_class: int = 3, size: tuple[int, int] = (64, 64)) -> None:
    for split, offset in (("train", 0), (test, 1000)):
        for c, name in enumerate(("beach", "attic", "cave")):
            for i in range(per_class):
                write_image(where / split / name / f"{i:03d}.png", offset + 10 * c + i, size)


def shrink(monkeypatch: pytest.MonkeyPatch, name: str, train: int, test: int, classes: int) -> None:
    """Let the row of a data set promise a small tree's numbers."""
    row = dataclasses.replace(registry.DATASETS[name], num_train=train, num_test=test, num_classes=classes)
    monkeypatch.setitem(registry.DATASETS, name, row)


def publish(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    """Let the bytes of a small file be the published ones."""
    key = f"{path.parent.name}/{path.name}"
    monkeypatch.setitem(cifar.PUBLISHED, key, "sha1:" + hashlib.sha1(path.read_bytes()).hexdigest())


def cifar_images(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3072), dtype=np.uint8)


def build_cifar100(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = root / "cifar-100-binary"
    where.mkdir()
    (where / "fine_label_names.txt").write_text("apple\nbear\n")
    for name, seed, count in (("train.bin", 0, 8), ("test.bin", 1, 4)):
        labels = np.arange(count, dtype=np.uint8) % 2
        records = np.column_stack([labels * 0 + 7, labels, cifar_images(seed, count)])
        (where / name).write_bytes(records.tobytes())
        publish(monkeypatch, where / name)
    shrink(monkeypatch, "cifar100", 8, 4, 2)


def build_cifar100_python(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = root / "cifar-100-python"
    where.mkdir()
    for name, seed, count in (("train", 0, 8), ("test", 1, 4)):
        content = {"data": cifar_images(seed, count), "fine_labels": [i % 2 for i in range(count)]}
        (where / name).write_bytes(pickle.dumps(content, protocol=2))
    (where / "meta").write_bytes(pickle.dumps({"fine_label_names": ["apple", "bear"]}, protocol=2))
    for name in ("train", "test", "meta"):
        publish(monkeypatch, where / name)
    shrink(monkeypatch, "cifar100", 8, 4, 2)


def build_cifar10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = root / "cifar-10-batches-py"
    where.mkdir()
    for seed, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        content = {"data": cifar_images(seed, 2), "labels": [0, 1]}
        (where / name).write_bytes(pickle.dumps(content, protocol=2))
        publish(monkeypatch, where / name)
    (where / "batches.meta").write_bytes(
        pickle.dumps({"label_names": ["airplane", "automobile"]}, protocol=2)
    )
    publish(monkeypatch, where / "batches.meta")
    shrink(monkeypatch, "cifar10", 10, 2, 2)


def build_miniplaces(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class_tree(root / "miniplaces64")
    shrink(monkeypatch, "miniplaces", 9, 9, 3)


def build_indoor67(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two classes of six images: 0, 1 listed for training, 2 for testing, 3, 4, 5 not listed."""
    where = root / "indoorCVPR_09"
    lists: dict[str, list[str]] = {"TrainImages.txt": [], "TestImages.txt": []}
    for c, name in enumerate(("bar", "attic")):
        for i in range(6):
            write_image(where / "Images" / name / f"{i}.png", 10 * c + i, (90, 70))
        lists["TrainImages.txt"] += [f"{name}/0.png", f"{name}/1.png"]
        lists["TestImages.txt"] += [f"{name}/2.png"]
    for name, lines in lists.items():
        (where / name).write_text("\n".join(lines))
    shrink(monkeypatch, "indoor67", 4, 2, 2)


BUILDERS: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "digits": lambda root, monkeypatch: None,
    "cifar100": build_cifar100,
    "cifar10": build_cifar10,
    "miniplaces": build_miniplaces,
    "indoor67": build_indoor67,
    "places205": trees.build_places205,
    "imagenet": trees.build_imagenet,
    "tinyimagenet": trees.build_tinyimagenet,
    "stl10": trees.build_stl10,
    "miniplaces-full": trees.build_miniplaces_full,
    "folder:mine": lambda root, monkeypatch: class_tree(root / "mine"),
    "folder:mine@32": lambda root, monkeypatch: class_tree(root / "mine", test="test", size=(50, 40)),
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(params=BUILDERS)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    root = tmp_path / "root"
    root.mkdir()
    BUILDERS[request.param](root, monkeypatch)
    return request.param, root


def same(a: Dataset, b: Dataset) -> bool:
    pairs = [(a.train, b.train), (a.test, b.test), (a.pool, b.pool)]
    return a.classes == b.classes and all(
        np.array_equal(x.images, y.images) and np.array_equal(x.labels, y.labels) for x, y in pairs
    )


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.exit_code == 2
    return text


def test_every_registered_data_set_is_held_to_the_contract():
    assert set(registry.DATASETS) <= set(BUILDERS)


def test_every_data_set_keeps_the_contract(case):
    """`bench.contract.datasets` says what is promised; `tests/test_contract_data.py` breaks each promise."""
    name, root = case
    check_dataset(name, root=root)


def test_arrays_have_the_promised_shapes_types_and_labels(case):
    name, root = case
    row, data = registry.spec(name), registry.load(name, root)
    for split in (data.train, data.test, data.pool):
        assert split.images.dtype == np.uint8
        assert split.images.shape == (len(split), 3, row.image_size, row.image_size)
        assert split.labels.dtype == np.int64
        assert split.labels.shape == (len(split),)
        assert split.labels.max() < len(data.classes)
    assert data.name == name
    assert data.flip is row.flip
    assert set(data.train.labels.tolist()) == set(range(len(data.classes)))
    assert data.test.labels.min() >= 0
    assert data.pool.labels.min() >= -1
    assert len(set(data.classes)) == len(data.classes) == (row.num_classes or len(data.classes))
    assert (row.num_train or len(data.train), row.num_test or len(data.test)) == (
        len(data.train),
        len(data.test),
    )
    assert not data.corrupt


def test_loading_twice_gives_the_same_arrays_and_fingerprint(case):
    name, root = case
    first, second = registry.load(name, root), registry.load(name, root)
    assert same(first, second)
    assert first.fingerprint == second.fingerprint
    assert len(first.fingerprint) == 64


def test_the_arrays_cannot_be_written_to(case):
    name, root = case
    with pytest.raises((ValueError, TypeError), match=r"read-only|item assignment"):
        registry.load(name, root).train.images[0] = 0


def test_the_pool_is_the_training_split_unless_there_is_more(case):
    name, root = case
    data = registry.load(name, root)
    assert (data.pool is data.train) == (len(data.pool) == len(data.train))


def test_no_test_image_is_in_the_pool(case):
    name, root = case
    data = registry.load(name, root)
    tested = {image.tobytes() for image in data.test.images}
    assert name == "digits" or not any(image.tobytes() in tested for image in data.pool.images)


def test_the_identity_is_json_without_a_path_and_survives_a_move(case):
    name, root = case
    about = registry.identity(name, root)
    assert json.loads(json.dumps(about)) == about
    assert str(root) not in json.dumps(about)
    assert "skip_corrupt" not in about
    skipping = {"skip_corrupt": True} if registry.spec(name).files else {}
    assert registry.identity(name, root, skip_corrupt=True) == {**about, **skipping}
    moved = root.parent / "moved"
    root.rename(moved)
    assert registry.identity(name, moved) == about


def test_data_that_moved_are_not_decoded_again(case, monkeypatch):
    name, root = case
    first = registry.load(name, root)
    moved = root.parent / "moved"
    root.rename(moved)
    before = {path.name for path in (moved / ".bench").glob("*")}
    assert before or registry.spec(name).compressed
    again = registry.load(name, moved)
    assert again.fingerprint == first.fingerprint
    # What stays compressed is read where it was found.
    assert registry.spec(name).compressed or same(first, again)
    assert {path.name for path in (moved / ".bench").glob("*")} == before


def test_locating_and_describing_write_nothing_and_read_no_image(case, monkeypatch):
    name, root = case
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("an image was opened"))
    before = sorted(root.rglob("*"))
    assert registry.locate(name, root)["name"] == name
    assert registry.describe(name, root)["found"] is True
    assert sorted(root.rglob("*")) == before


@pytest.mark.parametrize("name", [n for n, row in registry.DATASETS.items() if row.needs_root])
def test_missing_data_say_in_one_line_what_to_download_into_which_folder(name, tmp_path):
    for root, wanted in (
        (tmp_path, str(tmp_path)),
        (None, "--data DIR"),
        (tmp_path / "no", "does not exist"),
    ):
        for look in (registry.locate, registry.load):
            with pytest.raises(DataError) as error:
                look(name, root)
            text = one_line(error)
            assert name in text
            assert wanted in text
            assert "BENCH_DATA" in text
            assert "download" in text
            assert "http" in text
        assert registry.describe(name, root)["problem"] == text
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError) as error:
        registry.spec("cifar1000")
    assert "'cifar100'" in one_line(error)
    assert "folder:PATH" in str(error.value)


def test_describing_all_imports_neither_torch_nor_scikit_learn_nor_numpy(tmp_path):
    script = (
        "import sys, time, pathlib; from bench.data import registry; start = time.perf_counter();"
        "[registry.describe(name, pathlib.Path(sys.argv[1])) for name in registry.DATASETS];"
        "assert not {'torch', 'sklearn', 'numpy', 'PIL'} & set(sys.modules), sorted(sys.modules);"
        "print(time.perf_counter() - start)"
    )
    seconds = subprocess.check_output(
        [sys.executable, "-c", script, str(tmp_path)], text=True, cwd=Path.cwd()
    )
    assert float(seconds) < 0.5


def test_digits_are_1437_and_360_with_36_test_images_a_class():
    data = registry.load("digits", None)
    assert (len(data.train), len(data.test)) == (1437, 360)
    assert np.bincount(data.test.labels).tolist() == [36] * 10
    assert np.array_equal(data.train.images[:, 0], data.train.images[:, 2])
    assert data.train.images.max() == 255


def test_both_layouts_of_cifar100_give_the_same_arrays(tmp_path, monkeypatch):
    for build in (build_cifar100, build_cifar100_python):
        (tmp_path / build.__name__).mkdir()
        build(tmp_path / build.__name__, monkeypatch)
    binary, python = (registry.load("cifar100", p) for p in sorted(tmp_path.glob("build_*")))
    assert same(binary, python)
    assert binary.fingerprint == python.fingerprint
    assert np.array_equal(binary.train.images[3].reshape(-1), cifar_images(0, 8)[3])


def test_folder_images_keep_their_order_and_pixels(tmp_path):
    class_tree(tmp_path / "mine")
    data = registry.load("folder:mine", tmp_path)
    assert data.classes == ("attic", "beach", "cave")
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    wanted = np.asarray(Image.open(tmp_path / "mine/train/attic/001.png")).transpose(2, 0, 1)
    assert np.array_equal(data.train.images[1], wanted)


def test_folder_prefers_test_over_val_and_takes_absolute_paths(tmp_path):
    class_tree(tmp_path / "mine")
    write_image(tmp_path / "mine/test/attic/0.png", 77)
    assert len(registry.load(f"folder:{tmp_path}/mine", None).test) == 1
    about = registry.identity(f"folder:{tmp_path}/mine", None)
    assert about["name"] == "folder:mine"


def test_every_mode_that_an_image_may_have_becomes_rgb(tmp_path):
    class_tree(tmp_path / "mine")
    grey = np.arange(4096, dtype=np.uint16).reshape(64, 64) * 16
    palette = Image.fromarray((grey >> 8).astype(np.uint8)).convert("P")
    images = {
        "l.jpg": Image.fromarray((grey >> 8).astype(np.uint8)),
        "cmyk.jpg": Image.new("CMYK", (80, 64), (10, 20, 30, 40)),
        "rgba.png": Image.new("RGBA", (64, 80), (200, 100, 50, 128)),
        "la.png": Image.new("LA", (64, 64), (7, 9)),
        "1.png": Image.new("1", (64, 64), 1),
        "deep.png": Image.fromarray(grey),
        "p.gif": palette,
    }
    for name, image in images.items():
        image.save(tmp_path / "mine/train/cave" / name)
    palette.save(tmp_path / "mine/train/cave/transparent.png", transparency=bytes(range(256)))
    (tmp_path / "mine/train/cave/png_in_fact.jpg").write_bytes(
        (tmp_path / "mine/train/cave/000.png").read_bytes()
    )
    (tmp_path / "mine/train/cave/Thumbs.db").write_bytes(b"not an image, and not called one")
    (tmp_path / "mine/train/cave/._l.jpg").write_bytes(b"what a file system leaves beside an image")
    data = registry.load("folder:mine", tmp_path)
    cave = data.train.images[data.train.labels == 2]
    assert len(cave) == 3 + len(images) + 2
    deep = cave[["000.png", "001.png", "002.png", "1.png", "cmyk.jpg", "deep.png"].index("deep.png")]
    assert np.array_equal(deep[0], grey >> 8)


def test_a_wide_image_is_cropped_at_its_centre(tmp_path):
    class_tree(tmp_path / "mine")
    pixels = np.zeros((64, 192, 3), np.uint8)
    pixels[:, 64:128] = 255
    Image.fromarray(pixels).save(tmp_path / "mine/train/attic/000.png")
    image = registry.load("folder:mine@32", tmp_path).train.images[0]
    assert image[:, :, 1:-1].min() == 255


def test_a_small_image_is_enlarged(tmp_path):
    class_tree(tmp_path / "mine", size=(12, 9))
    assert registry.load("folder:mine", tmp_path).train.images.shape == (9, 3, 64, 64)


def test_the_pool_of_indoor67_is_the_tree_without_the_test_split(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    data = registry.load("indoor67", tmp_path)
    assert (len(data.train), len(data.test), len(data.pool)) == (4, 2, 10)
    assert data.train.labels.tolist() == [1, 1, 0, 0]
    assert np.array_equal(data.pool.images[:4], data.train.images)
    assert (data.pool.labels[4:] == -1).all()


def test_a_copy_of_a_test_image_is_left_out_of_the_pool_whatever_its_name(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    images = tmp_path / "indoorCVPR_09/Images"
    (images / "attic/another_name.jpg").write_bytes((images / "bar/2.png").read_bytes())
    (images / "bar/1.png").write_bytes((images / "attic/2.png").read_bytes())  # listed for training
    data = registry.load("indoor67", tmp_path)
    assert (len(data.train), len(data.test), len(data.pool)) == (4, 2, 9)
    tested = {image.tobytes() for image in data.test.images}
    assert not any(image.tobytes() in tested for image in data.pool.images)
    assert data.notes == ("2 byte-equal copies of test images are left out of the pool",)
    assert sorted(data.train.labels.tolist()) == [0, 0, 1, 1]


def test_the_lists_of_indoor67_may_spell_paths_differently(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    where = tmp_path / "indoorCVPR_09"
    (where / "TestImages.txt").write_bytes(b"\xef\xbb\xbfBAR/2.PNG\r\n Images/attic\\2.png \r\n\r\n")
    data = registry.load("indoor67", tmp_path)
    assert (len(data.test), len(data.pool)) == (2, 10)
    assert data.test.labels.tolist() == [1, 0]


def test_indoor67_may_lie_under_its_short_name_with_the_lists_in_the_root(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    first = registry.load("indoor67", tmp_path)
    (tmp_path / "indoorCVPR_09").rename(tmp_path / "indoor67")
    for name in ("TrainImages.txt", "TestImages.txt"):
        (tmp_path / "indoor67" / name).rename(tmp_path / name)
    assert same(first, registry.load("indoor67", tmp_path))
