"""Images that stay compressed read like the array that they would be."""

import dataclasses
import threading
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.data import compressed, registry
from bench.data.compressed import CompressedImages, stays_compressed
from bench.data.decode import decode
from bench.errors import DataError
from tests import official_trees as trees
from tests.official_trees import WNIDS, write_image

SIZE = 32
PATHS = [f"{i}.jpg" for i in range(6)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for i, path in enumerate(PATHS):
        write_image(folder / path, i, (90 + 10 * i, 64))
    return folder


@pytest.fixture
def images(where: Path) -> CompressedImages:
    return CompressedImages(where, PATHS, SIZE)


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    trees.build_imagenet(root, monkeypatch)
    return root


def spoil(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:400])


def test_they_have_the_shape_type_and_size_of_the_array(where, images):
    array = decode(where, PATHS, SIZE).images
    assert (images.shape, images.dtype, images.nbytes, len(images)) == (
        array.shape,
        array.dtype,
        array.nbytes,
        len(array),
    )


@pytest.mark.parametrize(
    "key",
    [
        0,
        -1,
        np.int64(3),
        slice(None),
        slice(4, 1, -2),
        slice(2, 100),
        [5, 0, 5],
        np.array([2, -1]),
        np.array([], np.int64),
        np.arange(6) % 2 == 0,
    ],
    ids=str,
)
def test_they_are_indexed_as_the_array_is(key, where, images):
    array = decode(where, PATHS, SIZE).images
    found = images[key]
    assert found.dtype == np.uint8
    assert found.shape == array[key].shape
    assert np.array_equal(found, array[key])


def test_they_end_where_the_array_ends(images):
    assert len(list(images)) == len(PATHS)
    with pytest.raises(IndexError):
        images[6]
    with pytest.raises(IndexError, match="by a number, a slice or a list of numbers"):
        images[np.zeros((2, 2), int)]


def test_several_threads_may_ask_at_once(images):
    whole, found = np.asarray(images), {}

    def ask(i: int) -> None:
        found[i] = images[np.roll(np.arange(6), i)]

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(np.array_equal(found[i], np.roll(whole, i, axis=0)) for i in range(6))


def test_nothing_is_decoded_or_written_when_they_are_opened(tree, monkeypatch):
    monkeypatch.setattr(compressed, "read_image", lambda *_: pytest.fail("an image was opened"))
    data = registry.load("imagenet", tree)
    assert data.train.images.shape == (9, 3, 224, 224)
    assert data.pool is data.train
    assert not (tree / ".bench").exists()
    assert any("fingerprint is over paths, sizes, labels and classes" in note for note in data.notes)


def test_a_broken_file_is_named_when_it_is_met(tree):
    path = tree / "imagenet/train" / WNIDS[1] / f"{WNIDS[1]}_2.JPEG"
    spoil(path)
    data = registry.load("imagenet", tree)
    data.train.images[:4]
    with pytest.raises(DataError) as error:
        data.train.images[3:6]
    assert str(path) in str(error.value)
    assert "--skip-corrupt" in str(error.value)
    path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        data.train.images[3:6]


def test_broken_files_are_left_out_before_an_order_is_drawn_and_looked_for_once(tree, monkeypatch):
    spoil(tree / "imagenet/train" / WNIDS[1] / f"{WNIDS[1]}_2.JPEG")
    spoil(tree / "imagenet/val/ILSVRC2012_val_00000003.JPEG")
    seen: list[tuple[int, int]] = []
    unchecked = registry.load("imagenet", tree).fingerprint
    data = registry.load("imagenet", tree, skip_corrupt=True, progress=lambda *at: seen.append(at))
    assert seen[-1] == (13, 13)
    assert len(data.corrupt) == 2
    assert (len(data.train), len(data.test)) == (8, 3)
    assert data.test.labels.tolist() == [2, 0, 2]
    assert np.asarray(data.train.images).shape == (8, 3, 224, 224)
    with monkeypatch.context() as m:
        m.setattr(compressed, "read_image", lambda *_: pytest.fail("an image was opened"))
        again = registry.load("imagenet", tree, skip_corrupt=True)
    assert (again.corrupt, again.fingerprint) == (data.corrupt, data.fingerprint)
    assert data.fingerprint != unchecked
    # What is known to be broken is not left to be met in the middle of an epoch.
    with pytest.raises(DataError, match=r"2 corrupt images .*--skip-corrupt"):
        registry.load("imagenet", tree)


def test_preparing_them_is_decoding_each_once_and_nothing_is_kept_but_what_is_broken(tree, capsys):
    assert main(["data", "prepare", "imagenet", "--data", str(tree)]) == 0
    out, err = capsys.readouterr()
    assert "13 files decoded" in out
    assert "decoding 13 files" in err
    assert main(["data", "prepare", "imagenet", "--data", str(tree)]) == 0
    assert "nothing to decode" in capsys.readouterr().out
    spoil(tree / "imagenet/val/ILSVRC2012_val_00000003.JPEG")
    assert main(["data", "prepare", "imagenet", "--data", str(tree)]) == 2
    assert "1 corrupt image under" in capsys.readouterr().err.splitlines()[-1]
    assert main(["data", "prepare", "imagenet", "--data", str(tree), "--skip-corrupt"]) == 0
    assert "1 left out" in capsys.readouterr().out


def test_a_class_of_broken_files_alone_is_refused(tree):
    for path in (tree / "imagenet/train" / WNIDS[1]).iterdir():
        spoil(path)
    with pytest.raises(DataError, match=f"class '{WNIDS[1]}' has no readable image"):
        registry.load("imagenet", tree, skip_corrupt=True)


def test_the_fingerprint_is_that_of_paths_sizes_labels_and_classes(tree, tmp_path):
    first = registry.load("imagenet", tree).fingerprint
    moved = tmp_path / "moved"
    tree.rename(moved)
    assert registry.load("imagenet", moved).fingerprint == first
    truth = moved / "imagenet/ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt"
    truth.write_text("2\n1\n3\n1\n")
    relabelled = registry.load("imagenet", moved).fingerprint
    assert relabelled != first
    write_image(moved / "imagenet/val/ILSVRC2012_val_00000001.JPEG", 5, (300, 200))
    assert registry.load("imagenet", moved).fingerprint != relabelled


def test_a_fraction_of_them_is_not_decoded(tree, monkeypatch):
    monkeypatch.setattr(compressed, "read_image", lambda *_: pytest.fail("an image was opened"))
    part = registry.load("imagenet@34%", tree)
    assert part.train.images.shape == (3, 3, 224, 224)


def test_what_is_small_or_few_is_prepared_and_what_is_large_and_many_is_not(tree):
    row = registry.spec("folder:x@224")
    assert not stays_compressed(row, 50_000)
    assert stays_compressed(row, 60_000)
    assert not stays_compressed(registry.spec("places205"), 2_448_873)
    assert stays_compressed(registry.spec("imagenet:x"), 10)
    assert not stays_compressed(registry.spec("imagenet:x@64"), 1_281_167)
    assert stays_compressed(registry.spec("imagenet:x@224@10%"), 10)
    assert not stays_compressed(dataclasses.replace(registry.spec("imagenet"), compressed=False), 1_281_167)
    data = registry.load("imagenet:imagenet@64", tree)
    assert isinstance(data.train.images, np.ndarray)
