"""The published data themselves, where they are at hand."""

import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest

from bench.data import indoor67, registry
from bench.data.listed import read_lines

ROOT = os.environ.get("BENCH_DATA")
LISTS = os.environ.get("BENCH_INDOOR67_LISTS")


def published(name: str):
    if ROOT is None:
        pytest.skip("BENCH_DATA is not set")
    if not registry.describe(name, Path(ROOT))["found"]:
        pytest.skip(f"{name} is not under BENCH_DATA")
    return registry.load(name, Path(ROOT))


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_cifar100_has_the_published_numbers():
    data = published("cifar100")
    assert np.bincount(data.train.labels).tolist() == [500] * 100
    assert np.bincount(data.test.labels).tolist() == [100] * 100
    assert data.classes[:2] == ("apple", "aquarium_fish")
    pixels = data.train.images.transpose(1, 0, 2, 3).reshape(3, -1)
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels]) / pixels.shape[1]
    values = np.arange(256) / 255
    mean = counts @ values
    std = np.sqrt(counts @ values**2 - mean**2)
    assert mean.round(4).tolist() == [0.5071, 0.4865, 0.4409]
    assert std.round(4).tolist() == [0.2673, 0.2564, 0.2762]


def test_cifar100_holds_26_images_twice():
    data = published("cifar100")
    images = {image.tobytes() for split in (data.train, data.test) for image in split.images}
    assert len(images) == 59_974


def test_miniplaces_has_80_and_20_images_a_class():
    data = published("miniplaces")
    assert data.train.images.shape == (8000, 3, 64, 64)
    assert np.bincount(data.train.labels).tolist() == [80] * 100
    assert np.bincount(data.test.labels).tolist() == [20] * 100
    assert data.classes[0] == "abbey"
    assert data.flip


@pytest.mark.skipif(
    LISTS is None, reason="BENCH_INDOOR67_LISTS does not name the folder of the official lists"
)
def test_the_official_lists_of_indoor67_leave_a_pool_of_14280(tmp_path, monkeypatch):
    monkeypatch.setitem(
        registry.DATASETS, "indoor67", dataclasses.replace(registry.spec("indoor67"), image_size=8)
    )
    where = tmp_path / "indoorCVPR_09"
    listed = {name: read_lines(Path(LISTS or "") / name) for name in indoor67.LISTS}
    lines = [*listed["TrainImages.txt"], *listed["TestImages.txt"]]
    classes = sorted({line.split("/")[0] for line in lines})
    lines += [f"{classes[i % 67]}/not_listed_{i}.jpg" for i in range(15_620 - len(lines))]
    for name in classes:
        (where / "Images" / name).mkdir(parents=True)
    for i, line in enumerate(lines):  # a portable pixmap, each of its own bytes, under the listed name
        (where / "Images" / line).write_bytes(b"P6 8 8 255\n" + i.to_bytes(3) * 64)
    for name, content in listed.items():
        (where / name).write_text("\n".join(content))
    data = registry.load("indoor67", tmp_path)
    assert (len(data.train), len(data.test), len(data.pool)) == (5_360, 1_340, 14_280)
    assert len(data.classes) == 67

    def numbers(split) -> set[int]:
        return {int.from_bytes(image.tobytes()) for image in split.images[:, :, 0, 0]}

    assert numbers(data.pool) == set(range(15_620)) - set(range(5_360, 6_700))
    assert numbers(data.test) == set(range(5_360, 6_700))
