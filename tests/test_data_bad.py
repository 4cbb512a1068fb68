"""Data that cannot be used: one line that says why, exit code 2, nothing written."""

import pickle
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from bench.data import registry
from bench.errors import DataError, UsageError
from tests.test_data import (
    build_cifar100,
    build_cifar100_python,
    build_indoor67,
    class_tree,
    one_line,
    publish,
    write_image,
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def refusal(name: str, root: Path | None, **options) -> str:
    """The line with which a data set is refused; the data folder is as before."""
    before = [] if root is None else sorted(root.rglob("*"))
    with pytest.raises(UsageError) as error:
        registry.load(name, root, **options)
    if root is not None:
        assert sorted(root.rglob("*")) == before
    return one_line(error)


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    class_tree(tmp_path / "mine")
    return tmp_path / "mine"


def test_a_folder_that_is_not_there(tmp_path):
    assert "there is no folder" in refusal("folder:mine", tmp_path)
    assert "there is no folder" in refusal(f"folder:{tmp_path}/mine", None)
    assert "lacks a path" in refusal("folder:", tmp_path)


def test_a_folder_without_splits(tmp_path, mine):
    (mine / "val").rename(mine / "other")
    assert "neither test/ nor val/" in refusal("folder:mine", tmp_path)
    (mine / "train").rename(mine / "another")
    assert "no folder train/" in refusal("folder:mine", tmp_path)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_folder_without_images(tmp_path, mine, split):
    for path in (mine / split).rglob("*.png"):
        path.rename(path.with_suffix(".txt"))
    assert f"no images in {mine / split}" in refusal("folder:mine", tmp_path)
    with pytest.raises(DataError, match="no images"):
        registry.locate("folder:mine", tmp_path)


def test_a_class_without_images(tmp_path, mine):
    (mine / "train/empty").mkdir()
    assert "class 'empty' has no image" in refusal("folder:mine", tmp_path)


def test_a_class_in_val_that_train_lacks(tmp_path, mine):
    write_image(mine / "val/desert/0.png", 5)
    assert "class 'desert' is in val/ but not in train/" in refusal("folder:mine", tmp_path)
    with pytest.raises(DataError, match="desert"):
        registry.locate("folder:mine", tmp_path)


def test_corrupt_images_are_named_and_counted(tmp_path, mine):
    truncated = mine / "train/attic/truncated.jpg"
    Image.open(mine / "train/attic/000.png").save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:600])
    (mine / "train/attic/text.jpg").write_text("not an image")
    (mine / "val/cave/empty.png").touch()
    text = refusal("folder:mine", tmp_path)
    assert "3 corrupt images" in text
    for name in ("train/attic/truncated.jpg", "train/attic/text.jpg", "val/cave/empty.png", "--skip-corrupt"):
        assert name in text


def test_many_corrupt_images_still_make_one_short_line(tmp_path, mine):
    for i in range(20):
        (mine / f"train/attic/broken{i:02d}.jpg").write_text("no")
    text = refusal("folder:mine", tmp_path)
    assert "20 corrupt images" in text
    assert "and 17 more" in text
    assert len(text) < 600


def test_corrupt_images_are_dropped_and_listed_when_asked(tmp_path, mine):
    (mine / "train/attic/000.png").write_text("not an image")
    (mine / "val/cave/empty.png").touch()
    data = registry.load("folder:mine", tmp_path, skip_corrupt=True)
    assert data.corrupt == ("train/attic/000.png", "val/cave/empty.png")
    assert (len(data.train), len(data.test)) == (8, 9)
    assert data.train.labels.tolist() == [0, 0, 1, 1, 1, 2, 2, 2]
    assert registry.load("folder:mine", tmp_path, skip_corrupt=True).corrupt == data.corrupt
    with pytest.raises(DataError, match="2 corrupt images"):
        registry.load("folder:mine", tmp_path)


def test_corrupt_images_are_dropped_from_the_unlabelled_pool_too(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    (tmp_path / "indoorCVPR_09/Images/bar/4.png").write_text("no")
    (tmp_path / "indoorCVPR_09/Images/bar/0.png").write_text("no")
    data = registry.load("indoor67", tmp_path, skip_corrupt=True)
    assert (len(data.train), len(data.test), len(data.pool)) == (3, 2, 8)
    assert (data.pool.labels >= 0).sum() == 3


def test_a_class_of_corrupt_images_only_is_refused_even_when_skipping(tmp_path, mine):
    for path in (mine / "train/attic").iterdir():
        path.write_text("no")
    assert "'attic' has no readable image" in refusal("folder:mine", tmp_path, skip_corrupt=True)


def test_images_smaller_than_the_stride(tmp_path, mine):
    write_image(mine / "train/attic/tiny.png", 0, (40, 7))
    text = refusal("folder:mine", tmp_path)
    assert "train/attic/tiny.png has only 7 pixels" in text
    assert len(registry.load("folder:mine", tmp_path, min_side=7).train) == 10
    with pytest.raises(DataError, match="tiny"):  # prepared by now
        registry.load("folder:mine", tmp_path)
    assert "below the backbone's stride" in refusal_of_spec("folder:mine@4")


def refusal_of_spec(name: str) -> str:
    with pytest.raises(UsageError) as error:
        registry.spec(name)
    return one_line(error)


def test_a_broken_link_is_named(tmp_path, mine):
    (mine / "train/attic/link.png").symlink_to(tmp_path / "nowhere.png")
    assert "link.png" in refusal("folder:mine", tmp_path)


def test_a_half_unpacked_tree_of_known_size(tmp_path):
    class_tree(tmp_path / "miniplaces64")
    assert "9 train images, not 8000" in refusal("miniplaces", tmp_path)


def test_a_truncated_binary_is_found_before_it_is_read(tmp_path, monkeypatch):
    build_cifar100(tmp_path, monkeypatch)
    path = tmp_path / "cifar-100-binary/train.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="download it again"):
        registry.locate("cifar100", tmp_path)
    (tmp_path / "cifar-100-binary/test.bin").unlink()
    assert "test.bin" in refusal("cifar100", tmp_path)


@pytest.mark.parametrize("build", [build_cifar100, build_cifar100_python])
def test_bytes_that_are_not_the_published_ones(tmp_path, monkeypatch, build):
    build(tmp_path, monkeypatch)
    path = next(tmp_path.glob("cifar-*/train*"))
    content = bytearray(path.read_bytes())
    content[-10] ^= 1
    path.write_bytes(content)
    assert "not the published" in refusal("cifar100", tmp_path)


class Harmful:
    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def test_a_pickle_cannot_call_anything(tmp_path, monkeypatch):
    build_cifar100_python(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cifar-100-python/train"
    path.write_bytes(pickle.dumps({"data": Harmful(), "fine_labels": [0]}, protocol=2))
    publish(monkeypatch, path)
    assert "is not one of the published pickles" in refusal("cifar100", tmp_path)
    assert not (tmp_path / "harm").exists()


def test_indoor67_without_its_lists(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    (tmp_path / "indoorCVPR_09/TestImages.txt").unlink()
    text = refusal("indoor67", tmp_path)
    assert "http://web.mit.edu/torralba/www/TestImages.txt" in text
    assert str(tmp_path / "indoorCVPR_09") in text


def test_indoor67_with_a_listed_image_absent(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    (tmp_path / "indoorCVPR_09/Images/bar/2.png").unlink()
    assert "1 of 2 images listed in TestImages.txt" in refusal("indoor67", tmp_path)


def test_indoor67_with_an_image_in_both_lists(tmp_path, monkeypatch):
    build_indoor67(tmp_path, monkeypatch)
    (tmp_path / "indoorCVPR_09/TestImages.txt").write_text("bar/2.png\nBar/1.png\n")
    assert "listed for training and for testing" in refusal("indoor67", tmp_path)


def test_a_download_that_cannot_be_done(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="cannot be downloaded by program"):
        registry.download("indoor67", tmp_path)
    with pytest.raises(DataError, match="--data DIR"):
        registry.download("cifar100", None)

    def offline(*_, **__):
        raise OSError("no network")

    reader = SimpleNamespace(url="https://nowhere", filename="cifar.tar.gz", tgz_md5="")
    datasets = SimpleNamespace(CIFAR10=reader, CIFAR100=reader)
    monkeypatch.setitem(sys.modules, "torchvision", SimpleNamespace(datasets=datasets))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", datasets)
    monkeypatch.setitem(sys.modules, "torchvision.datasets.utils", SimpleNamespace(download_url=offline))
    with pytest.raises(DataError) as error:
        registry.download("cifar100", tmp_path)
    assert "no network" in one_line(error)
    assert f"{tmp_path}/cifar-100-binary/train.bin" in str(error.value)
