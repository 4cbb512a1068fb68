"""What timm reads: `timm:torch/cifar10`, `timm:hfds/NAME`, `timm:wds/FOLDER`, `timm:tfds/NAME`, `timm:PATH`.

timm's `create_dataset` finds the images and their labels; here they become uint8 arrays like any other data set.
A folder, or a tar with one folder a class, is read where no reader of timm's is named. All images are in memory while
they are decoded. Of what is read by a name, not by a path, the identity has the name alone: whether it is still what
it was the fingerprint tells, which every record keeps.
"""

import contextlib
import importlib.util
import logging
import re
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.names import READERS, parse, reader_of, resolve
from bench.data.source import DatasetSpec, File, Progress, Source, stat_files
from bench.errors import DataError, choice_error

if TYPE_CHECKING:
    from bench.data.arrays import Decoded

PACKAGES = {"hfds": "datasets", "hfids": "datasets", "wds": "webdataset", "tfds": "tensorflow_datasets"}
TORCH = (
    "cifar10",
    "cifar100",
    "mnist",
    "kmnist",
    "fashion_mnist",
    "qmnist",
    "places365",
    "imagenet",
    "inaturalist",
    "image_folder",
)
# A test split whose labels are hidden is passed over.
TEST = ("test", "validation", "val", "valid")


def timm(spec: DatasetSpec, root: Path | None) -> Source:
    """The source of `timm:...`, whose images are decoded into arrays by this process."""
    found = _Timm(spec, root)
    return Source(found.where, found.files, found.read, settings=(spec.name.rpartition("@")[0] or spec.name,))


class _Timm:
    def __init__(self, spec: DatasetSpec, root: Path | None) -> None:
        self.spec, self.root = spec, root
        self.reader, self.rest = reader_of(parse(spec.name).path or "")
        self.where: Path | None = None
        if self.reader in ("", "wds"):
            self.where = self._path()
        elif self.reader in ("torch", "tfds"):
            if root is None:
                raise DataError(
                    f"{spec.name} needs a data folder, in which its files are or will be (--data DIR or BENCH_DATA)"
                )
            self.where = root
        elif self.rest.startswith(("/", "~", ".")):
            self.where = Path(self.rest).expanduser().absolute()
        package = PACKAGES.get(self.reader)
        if package is not None and importlib.util.find_spec(package) is None:
            raise DataError(
                f"{spec.name}: timm reads it by the package {package}, which is not here: pip install {package}"
            )
        if self.reader == "torch" and self.rest.lower() not in TORCH:
            raise choice_error("data set", spec.name, [f"timm:torch/{name}" for name in TORCH])

    def _path(self) -> Path:
        path = Path(self.rest).expanduser()
        folder = resolve(self.rest, self.root)
        file = next(
            (p for p in ((self.root or Path()) / path, path) if p.is_file() and p.suffix == ".tar"), None
        )
        if folder is None and file is None:
            readers = ", ".join(f"timm:{name}/NAME" for name in READERS)
            raise DataError(
                f"{self.spec.name}: there is no folder or .tar file {self.rest}, and timm's own readers are {readers}"
            )
        return folder or Path(file or path).resolve()

    def files(self) -> list[File]:
        """What lies in a folder of the user's. What timm finds by a name it is asked for, and nothing is listed.

        Raises:
            DataError: timm cannot read it.
        """
        if self.reader not in ("", "wds"):
            self.open("train")
        if self.where is None or self.reader in ("torch", "tfds"):
            return []
        if self.where.is_file():
            return stat_files(self.where.parent, [self.where.name])
        found = (path for path in self.where.rglob("*") if path.is_file() and path.name[0] != ".")
        return stat_files(self.where, [path.relative_to(self.where).as_posix() for path in found])

    def open(self, split: str, download: bool = False) -> Any:
        """Timm's dataset of a split.

        Raises:
            DataError: it cannot be had; says why and what to do.
        """
        from timm.data.dataset_factory import create_dataset

        name, root = f"{self.reader}/{self.rest}" if self.reader else "", self.where
        if self.reader in ("hfds", "hfids"):
            name, root = f"{self.reader}/{self.where or self.rest}", None
        more: dict[str, Any] = {}
        if self.reader == "wds":
            name, (split, num_samples) = "wds/", self._shards(split)
            more["num_samples"] = num_samples
        elif self.reader == "":
            assert root is not None
            if root.is_dir():
                beside = [root / split, root / f"{split}.tar"]
                root = next((path for path in beside if path.exists()), None)
                if root is None:
                    raise DataError(f"{self.spec.name}: {self.where} has neither {split}/ nor {split}.tar")
        with _network(download):
            try:
                return create_dataset(
                    name, root=None if root is None else str(root), split=split, download=download, **more
                )
            except Exception as error:  # timm and what it reads by raise nearly anything
                text = (str(error) or type(error).__name__).splitlines()[0]
                hint = "; bench run --download (or bench data prepare --download) fetches it"
                raise DataError(
                    f"{self.spec.name}: timm cannot open its split {split!r}: {text}{'' if download else hint}"
                ) from error

    def _shards(self, split: str) -> tuple[str, int | None]:
        """A WebDataset's split as timm wants it: its name in info.json, or its tars and their number of samples."""
        assert self.where is not None
        if any((self.where / name).is_file() for name in ("_info.json", "info.json")):
            return split, None
        every = sorted(path.relative_to(self.where) for path in self.where.rglob("*.tar"))
        tars = [path for path in every if _names(path, split)]
        both = [path for path in tars if split != "train" and _names(path, "train")]
        if both:
            raise DataError(
                f"{self.spec.name}: {self.where / both[0]} is named for both train and {split}: rename it"
            )
        if not tars:
            raise DataError(
                f"{self.spec.name}: {self.where} has no info.json and no .tar with {split!r} in its name"
            )
        count = sum(name.endswith(".cls") for path in tars for name in _members(self.where / path))
        names = "::".join(path.as_posix() for path in tars)
        return names, count

    def read(self, skip_corrupt: bool, progress: Progress | None) -> "Decoded":
        """Decode the training split and the first test split there is."""
        import numpy as np

        from bench.data.arrays import Decoded
        from bench.data.timm_samples import class_names, decode_split, relabelled

        train = self.open("train")
        images, labels, lost = decode_split(self.spec, "train", train, skip_corrupt, progress)
        tried: list[str] = []
        for name in TEST:
            try:
                test = self.open(name)
            except DataError as error:
                tried.append(str(error))
                continue
            test_images, test_labels, more_lost = decode_split(self.spec, name, test, skip_corrupt, None)
            if len(test_labels) and test_labels.min() >= 0:
                break
        else:
            raise DataError(f"{self.spec.name}: no test split with labels ({', '.join(TEST)}): {tried[-1:]}")
        test_labels = relabelled(self.spec, test_labels, train, test)
        classes = class_names(train, int(max(labels.max(), test_labels.max())) + 1)
        for where, values in (("training", labels), ("test", test_labels)):
            if values.min() < 0 or values.max() >= len(classes):
                raise DataError(
                    f"{self.spec.name}: the {where} split has a label {int(values.min())}..{int(values.max())}"
                    f" outside its {len(classes)} classes"
                )
        absent = np.flatnonzero(np.bincount(labels, minlength=len(classes)) == 0)
        if len(absent):
            raise DataError(f"{self.spec.name}: class {classes[absent[0]]!r} has no training image")
        return Decoded(
            images=images,
            labels=labels,
            num_train=len(labels),
            pool_start=0,
            test_images=test_images,
            test_labels=test_labels,
            classes=classes,
            corrupt=(*lost, *more_lost),
        )


def download(spec: DatasetSpec, root: Path | None) -> None:
    """Let timm fetch both splits.

    Raises:
        DataError: it cannot.
    """
    found = _Timm(spec, root)
    found.open("train", download=True)
    for name in TEST:
        with contextlib.suppress(DataError):
            found.open(name, download=True)
            return


def _names(path: Path, split: str) -> bool:
    """Whether a split is a word of a path: "val" is none of "interval", nor "test" of "latest"."""
    return re.search(rf"(?<![a-z]){split}(?![a-z])", path.as_posix().lower()) is not None


def _members(path: Path) -> list[str]:
    try:
        with tarfile.open(path) as archive:
            return archive.getnames()
    except (OSError, tarfile.TarError) as error:
        raise DataError(f"cannot read {path}: {error}") from error


@contextlib.contextmanager
def _network(allowed: bool) -> Iterator[None]:
    """Nothing is fetched from the hub unless that was asked for."""
    # A progress bar of one's own beside ours, and a warning about an info.json that nobody needs.
    logging.getLogger("timm.data.readers.reader_wds").setLevel(logging.ERROR)
    holders = []
    for name in ("huggingface_hub.constants", "datasets.config"):
        with contextlib.suppress(ImportError):
            holders.append(importlib.import_module(name))
    before = [getattr(holder, "HF_HUB_OFFLINE", None) for holder in holders]
    if "datasets" in sys.modules:
        sys.modules["datasets"].disable_progress_bars()
    for holder in holders if not allowed else ():
        holder.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for holder, value in zip(holders, before, strict=True):
            holder.HF_HUB_OFFLINE = value
