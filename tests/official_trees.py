"""Small trees in the official layouts of data sets, for tests: two or three classes of random images.

Each builder makes a tree below `root` and lets the data set's row promise the tree's numbers.
"""

import csv
import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.data import registry, stl10

WNIDS = ("n01440764", "n01443537", "n02110341")  # sorted, as the classes are


def write_image(path: Path, seed: int, size: tuple[int, int] = (80, 72)) -> None:
    """A photograph of nothing: smooth, so that a JPEG of it is what it is of."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)
    image.save(path, "PNG" if path.suffix == ".png" else "JPEG")


def promise(monkeypatch: pytest.MonkeyPatch, name: str, train: int, test: int, classes: int) -> None:
    """Let the row of a data set promise a small tree's numbers."""
    row = dataclasses.replace(registry.DATASETS[name], num_train=train, num_test=test, num_classes=classes)
    monkeypatch.setitem(registry.DATASETS, name, row)


def imagenet_train(where: Path, per_class: int = 3) -> None:
    for c, wnid in enumerate(WNIDS):
        for i in range(per_class):
            write_image(where / "train" / wnid / f"{wnid}_{i + 1}.JPEG", 100 * c + i)


def devkit(where: Path, ids: list[int]) -> None:
    """The development kit: ILSVRC2012_ID is not the place in sorted order, and inner nodes of WordNet are there."""
    from scipy.io import savemat

    rows = np.zeros((4, 1), [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")])
    for row, (number, wnid, children) in zip(
        rows[:, 0],
        ((1, WNIDS[2], 0), (2, WNIDS[0], 0), (3, WNIDS[1], 0), (1001, "n00001740", 3)),
        strict=True,
    ):
        row["ILSVRC2012_ID"], row["WNID"], row["words"], row["num_children"] = number, wnid, "word", children
    data = where / "ILSVRC2012_devkit_t12" / "data"
    data.mkdir(parents=True)
    savemat(data / "meta.mat", {"synsets": rows})
    (data / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{i}\n" for i in ids))


def build_imagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat validation images and the kit. Labels by the sorted wnids: 2, 0, 1, 2."""
    where = root / "imagenet"
    imagenet_train(where)
    devkit(where, [1, 2, 3, 1])
    for i in range(4):
        write_image(where / "val" / f"ILSVRC2012_val_{i + 1:08d}.JPEG", 1000 + i)
    promise(monkeypatch, "imagenet", 9, 4, 3)


def build_imagenet_sorted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As torchvision wants it."""
    where = root / "imagenet"
    imagenet_train(where)
    for i, wnid in enumerate((WNIDS[2], WNIDS[0], WNIDS[1], WNIDS[2])):
        write_image(where / "val" / wnid / f"ILSVRC2012_val_{i + 1:08d}.JPEG", 1000 + i)
    promise(monkeypatch, "imagenet", 9, 4, 3)


def build_imagenet_kaggle(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`ILSVRC/Data/CLS-LOC`, with the labels beside ILSVRC/."""
    where = root / "imagenet" / "ILSVRC" / "Data" / "CLS-LOC"
    imagenet_train(where)
    with (root / "imagenet" / "LOC_val_solution.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["ImageId", "PredictionString"])
        for i, wnid in reversed(list(enumerate((WNIDS[2], WNIDS[0], WNIDS[1], WNIDS[2])))):
            write_image(where / "val" / f"ILSVRC2012_val_{i + 1:08d}.JPEG", 1000 + i)
            table.writerow([f"ILSVRC2012_val_{i + 1:08d}", f"{wnid} 85 1 499 272 {wnid} 0 0 9 9 "])
    promise(monkeypatch, "imagenet", 9, 4, 3)


def build_places205(root: Path, monkeypatch: pytest.MonkeyPatch, per_class: int = 3) -> None:
    where = root / "places205"
    images = where / "data" / "vision" / "torralba" / "deeplearning" / "images256"
    split = where / "trainvalsplit_places205"
    split.mkdir(parents=True)
    lines: dict[str, list[str]] = {"train": [], "val": []}
    for label, folder in enumerate(("a/abbey", "a/apartment_building/outdoor", "b/bar")):
        for i in range(per_class + 1):
            path = f"{folder}/gsun_{label}{i}.jpg"
            write_image(images / path, 10 * label + i, (256, 256))
            lines["train" if i < per_class else "val"].append(f"{path} {label}")
    for name, text in lines.items():
        (split / f"{name}_places205.csv").write_text("\n".join(text[::-1]) + "\n")
    promise(monkeypatch, "places205", 3 * per_class, 3, 3)


def build_miniplaces_full(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = root / "miniplaces"
    kit = where / "development_kit" / "data"
    kit.mkdir(parents=True)
    lines: dict[str, list[str]] = {"train": [], "val": [], "categories": []}
    for label, folder in enumerate(("a/abbey", "b/bar")):
        lines["categories"].append(f"/{folder} {label}")
        for i in range(1, 4):
            lines["train"].append(f"train/{folder}/{i:08d}.jpg {label}")
        lines["val"].append(f"val/{2 - label:08d}.jpg {label}")
    for name, text in lines.items():
        (kit / f"{name}.txt").write_text("\n".join(text) + "\n")
        for i, line in enumerate(text if name != "categories" else ()):
            write_image(where / "images" / line.split()[0], 10 * i + (name == "val"), (128, 128))
    promise(monkeypatch, "miniplaces-full", 6, 2, 2)


def build_tinyimagenet(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = root / "tiny-imagenet-200"
    where.mkdir()
    (where / "wnids.txt").write_text("\n".join(WNIDS[::-1]) + "\n")
    for c, wnid in enumerate(WNIDS):
        for i in range(3):
            write_image(where / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 10 * c + i, (64, 64))
        (where / "train" / wnid / f"{wnid}_boxes.txt").write_text(f"{wnid}_0.JPEG\t0\t0\t62\t62\n")
    lines = []
    for i, wnid in enumerate((WNIDS[1], WNIDS[0])):
        write_image(where / "val" / "images" / f"val_{i}.JPEG", 1000 + i, (64, 64))
        lines.append(f"val_{i}.JPEG\t{wnid}\t0\t32\t44\t62\n")
    (where / "val" / "val_annotations.txt").write_text("".join(lines))
    promise(monkeypatch, "tinyimagenet", 9, 2, 3)


def stl10_pixels(seed: int, count: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)


def build_stl10(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images are stored by columns, labels from 1."""
    where = root / "stl10_binary"
    where.mkdir()
    monkeypatch.setattr(stl10, "NUM_UNLABELLED", 5)
    (where / "class_names.txt").write_text("airplane\nbird\n")
    for seed, (name, count) in enumerate({"train": 4, "test": 2, "unlabeled": 5}.items()):
        pixels = stl10_pixels(seed, count).transpose(0, 1, 3, 2)
        (where / f"{name}_X.bin").write_bytes(np.ascontiguousarray(pixels).tobytes())
        if name != "unlabeled":
            (where / f"{name}_y.bin").write_bytes(bytes(1 + i % 2 for i in range(count)))
    for path in where.glob("*.bin"):
        monkeypatch.setitem(stl10.MD5, path.name, hashlib.md5(path.read_bytes()).hexdigest())
    promise(monkeypatch, "stl10", 4, 2, 2)


def six_classes(where: Path, per_class: int = 2) -> Path:
    """A part of ImageNet in the sorted layout, with classes enough for top-5."""
    for c in range(6):
        wnid = f"n0144076{c}"
        for i in range(per_class):
            write_image(where / "train" / wnid / f"{wnid}_{i}.JPEG", 100 * c + i)
        write_image(where / "val" / wnid / f"ILSVRC2012_val_{c + 1:08d}.JPEG", 1000 + c)
    return where
