"""What timm reads becomes a data set: folders, tars, torchvision's, the hub's and WebDataset's, without a network."""

import dataclasses
import importlib.util
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import names, registry, timm_readers
from bench.data.entries import entries
from bench.errors import BenchError, DataError, UsageError
from bench.packed.scrub import scrub_text

CLASSES = ("cat", "dog")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (40, 48, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


def build_folder(root: Path) -> None:
    for split, count in (("train", 3), ("validation", 2)):
        for c, name in enumerate(CLASSES):
            for i in range(count):
                path = root / "pets" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(png(100 * (split == "train") + 10 * c + i))


def build_tars(root: Path) -> None:
    build_folder(root)
    for split in ("train", "validation"):
        with tarfile.open(root / "pets" / f"{split}.tar", "w") as archive:
            archive.add(root / "pets" / split, "pets")
        (root / "pets" / split).rename(root / f"unpacked-{split}")


def build_shards(root: Path, info: bool = False) -> None:
    (root / "shards").mkdir()
    splits = {}
    for split, count in (("train", 6), ("val", 4)):
        path = root / "shards" / f"pets-{split}-000000.tar"
        with tarfile.open(path, "w") as archive:
            for i in range(count):
                for suffix, data in (("png", png(i)), ("cls", str(i % 2).encode())):
                    member = tarfile.TarInfo(f"{i:04d}.{suffix}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        splits[split] = {
            "name": split,
            "num_samples": count,
            "filenames": [path.name],
            "shard_lengths": [count],
        }
    if info:
        (root / "shards" / "info.json").write_text(json.dumps({"splits": splits}))


def build_fashion(root: Path) -> None:
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for split, count in (("train", 20), ("t10k", 10)):
        values = np.random.default_rng(count).integers(0, 256, (count, 28, 28), dtype=np.uint8)
        labels = bytes(i % 10 for i in range(count))
        (raw / f"{split}-images-idx3-ubyte").write_bytes(
            struct.pack(">IIII", 2051, count, 28, 28) + values.tobytes()
        )
        (raw / f"{split}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, count) + labels)


def needs(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")


def one_line(error: pytest.ExceptionInfo[BenchError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert error.value.exit_code == 2
    return text


# timm leaves its tars open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("build", [build_folder, build_tars])
def test_a_folder_or_tars_of_class_folders_are_read_with_the_names_of_their_classes(build, tmp_path):
    build(tmp_path)
    data = registry.load("timm:pets@40", tmp_path)
    assert data.classes == CLASSES
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 0, 0, 1, 1, 1], [0, 0, 1, 1])
    wanted = np.asarray(
        Image.fromarray(pixels(110)).resize((40, 40), Image.Resampling.BILINEAR, (4, 0, 44, 40))
    )
    assert np.array_equal(data.train.images[3], wanted.transpose(2, 0, 1))
    about = registry.identity("timm:pets@40", tmp_path)
    assert about["name"] == "timm:pets"
    assert len(about["listing"]) == 16
    assert registry.spec("timm:pets").image_size == 64


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("build", [build_folder, build_tars])
def test_a_class_that_is_not_tested_does_not_move_the_labels_of_others(build, tmp_path):
    (tmp_path / "pets/train/ant").mkdir(parents=True)
    for folder in ("train/ant", "train/bee", "validation/bee"):
        (tmp_path / "pets" / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / "pets" / folder / "0.png").write_bytes(png(len(folder)))
    build(tmp_path)
    data = registry.load("timm:pets", tmp_path)
    assert data.classes == ("ant", "bee", "cat", "dog")
    assert sorted(data.test.labels.tolist()) == [1, 2, 2, 3, 3]
    assert registry.load("timm:pets", tmp_path).fingerprint == data.fingerprint


def test_a_class_that_is_tested_and_not_trained_on_is_refused(tmp_path):
    build_folder(tmp_path)
    (tmp_path / "pets/validation/eel").mkdir()
    (tmp_path / "pets/validation/eel/0.png").write_bytes(png(7))
    with pytest.raises(DataError) as error:
        registry.load("timm:pets", tmp_path)
    assert "class 'eel' of the test split is not in the training split" in one_line(error)


@pytest.mark.parametrize(
    ("path", "split", "is_its"),
    [
        ("latest/train-000.tar", "test", False),
        ("interval-train.tar", "val", False),
        ("pets-val-000.tar", "val", True),
        ("test/000.tar", "test", True),
        ("Test_000.tar", "test", True),
    ],
)
def test_a_shard_is_of_a_split_whose_name_is_a_word_of_its_path(path, split, is_its):
    assert timm_readers._names(Path(path), split) is is_its


def test_what_is_prepared_of_one_is_not_shown_as_another_s(tmp_path):
    build_fashion(tmp_path)
    registry.load("timm:torch/fashion_mnist@32", tmp_path)
    row = registry.spec("timm:torch/fashion_mnist@32")
    source = registry.find(row.name, tmp_path)
    assert len(entries(row, source, tmp_path)) == 1
    other = dataclasses.replace(source, settings=("timm:torch/mnist",))
    assert entries(row, other, tmp_path) == []


def test_torchvisions_data_sets_are_read_from_the_data_folder(tmp_path):
    build_fashion(tmp_path)
    name = "timm:torch/fashion_mnist@32"
    data = registry.load(name, tmp_path)
    assert data.classes[0] == "T-shirt/top"
    assert data.train.images.shape == (20, 3, 32, 32)
    assert data.test.labels.tolist() == list(range(10))
    assert registry.identity(name, tmp_path) == {"name": "timm:torch/fashion_mnist", "version": 1}


@pytest.mark.parametrize("info", [False, True])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
def test_a_webdataset_is_read_with_or_without_its_info(info, tmp_path):
    needs("webdataset")
    build_shards(tmp_path, info)
    data = registry.load("timm:wds/shards@40", tmp_path)
    assert data.classes == ("0", "1")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 0, 1, 0, 1], [0, 1, 0, 1])
    assert registry.identity("timm:wds/shards", tmp_path)["name"] == "timm:wds/shards"


@pytest.mark.filterwarnings("ignore")
def test_a_folder_is_read_by_the_hubs_library(tmp_path):
    needs("datasets")
    build_folder(tmp_path)
    name = f"timm:hfds/{tmp_path}/pets@40"
    data = registry.load(name, None)
    assert (data.classes, len(data.train), len(data.test)) == (CLASSES, 6, 4)
    about = registry.identity(name, None)
    assert about["name"] == "timm:hfds/pets"
    assert len(about["listing"]) == 16


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("timm:torch/cifar11", UsageError, ("did you mean 'timm:torch/cifar10'?",)),
        ("timm:torch/cifar10", DataError, ("cannot open its split 'train'", "--download")),
        ("timm:hfd/x", DataError, ("there is no folder or .tar file hfd/x", "timm:hfds/NAME")),
        ("timm:empty", DataError, ("has neither train/ nor train.tar",)),
        ("timm:", UsageError, ("lacks a path: timm:PATH",)),
    ],
)
def test_what_timm_cannot_read_ends_in_one_line(name, kind, words, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(kind) as error:
        registry.load(name, tmp_path)
    text = one_line(error)
    for word in words:
        assert word in text


@pytest.mark.parametrize(
    ("name", "package"),
    [("hfds/x", "datasets"), ("wds/pets", "webdataset"), ("tfds/mnist", "tensorflow_datasets")],
)
def test_a_package_that_is_absent_is_named_with_how_to_install_it(name, package, tmp_path, monkeypatch):
    build_folder(tmp_path)
    monkeypatch.setattr(timm_readers.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DataError) as error:
        registry.locate(f"timm:{name}", tmp_path)
    assert f"pip install {package}" in one_line(error)


def test_nothing_is_fetched_without_consent(tmp_path, monkeypatch):
    from timm.data import dataset_factory

    asked: list[bool] = []

    def create(*_: object, download: bool, **__: object) -> object:
        from huggingface_hub import constants

        asked.append(download)
        assert constants.HF_HUB_OFFLINE is not download
        return object()

    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(dataset_factory, "create_dataset", create)
    registry.locate("timm:torch/cifar10", tmp_path)
    registry.download("timm:torch/cifar10", tmp_path)
    assert asked == [False, True, True]
    assert constants.HF_HUB_OFFLINE is False


def test_a_broken_image_is_refused_or_left_out(tmp_path):
    build_folder(tmp_path)
    path = tmp_path / "pets/train/dog/1.png"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match="image 4 of the split 'train' is corrupt"):
        registry.load("timm:pets", tmp_path)
    data = registry.load("timm:pets", tmp_path, skip_corrupt=True)
    assert data.train.labels.tolist() == [0, 0, 0, 1, 1]
    assert data.corrupt == ("train/4",)


def test_names_lose_their_paths_and_keep_their_readers(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert names.known_name("timm:torch/cifar10@32") == "timm:torch/cifar10"
    assert names.known_name("timm:hfds/user/name@32") == "timm:hfds/user/name"
    assert names.known_name("timm:wds//home/ada/shards@32") == "timm:wds/shards"
    assert names.known_name("timm:/home/ada/pets") == "timm:pets"
    assert names.absolute_source("timm:torch/cifar10@32") == "timm:torch/cifar10@32"
    assert names.absolute_source("timm:pets@32") == f"timm:{tmp_path}/pets@32"
    assert names.absolute_source("timm:wds/shards") == f"timm:wds/{tmp_path}/shards"
    assert scrub_text("timm:wds//home/ada/shards@32") == "timm:wds/shards@32"
    assert scrub_text("imagenet:/home/ada/few@64") == "imagenet:few@64"
