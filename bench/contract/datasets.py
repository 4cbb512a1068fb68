"""What a data set promises: a row that says all of it, and arrays that are what the row says."""

import importlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bench.contract.verdicts import NotKept, Remark
from bench.data import registry
from bench.data.arrays import Decoded
from bench.data.source import DatasetSpec, File, Source, check_row
from bench.errors import DataError


class DatasetCase:
    """A row and the folder that its data are looked for in.

    Raises:
        UsageError: no such data set.
    """

    def __init__(self, dataset: str | DatasetSpec, root: Path | str | None) -> None:
        self.row = registry.spec(dataset) if isinstance(dataset, str) else dataset
        root = root if root is not None else os.environ.get("BENCH_DATA")
        self.root = None if root is None else Path(root).absolute()
        self._decoded: Decoded | None = None

    def reader(self) -> Callable[[DatasetSpec, Path | None], Source]:
        """The function that the row names."""
        module, _, function = self.row.loader.partition(":")
        return getattr(importlib.import_module(module), function)

    def source(self) -> Source:
        """What the reader finds."""
        return self.reader()(self.row, self.root)

    def decoded(self) -> Decoded:
        """All its arrays; read once."""
        if self._decoded is None:
            self._decoded = self.source().read(False, None)
        return self._decoded


def row(case: DatasetCase) -> None:
    """The row is whole: a title, where the data come from and into which folder, a reader that exists."""
    spec = case.row
    check_row(spec)
    for name in ("title", "source"):
        if not getattr(spec, name).strip():
            raise NotKept(f"{name} is empty")
    if spec.needs_root and "{root}" not in spec.source and spec.at is None:
        raise NotKept(
            'source does not say "... so that {root}/... exists": nobody would know where to put the data'
        )
    if not callable(case.reader()):
        raise NotKept(f"loader {spec.loader!r} is no function")


def missing(case: DatasetCase) -> None:
    """Where the data are not there, one line says so, with their name and the folder."""
    if not case.row.needs_root:
        raise Remark("it needs no folder")
    with tempfile.TemporaryDirectory(prefix="bench-contract-") as empty:
        for root in (Path(empty), None):
            try:
                source = case.reader()(case.row, root)
                source.list_files()
            except DataError as error:
                if "\n" in str(error) or case.row.name not in str(error):
                    raise NotKept(
                        f"the line does not name it, or is more than one: {str(error)[:120]!r}"
                    ) from error
                if root is not None and str(root) not in str(error):
                    raise NotKept(f"the line does not name the folder: {str(error)[:120]!r}") from error
            except Exception as error:
                raise NotKept(
                    f"it raises {type(error).__name__} ({error}), not bench.errors.DataError"
                ) from error
            else:
                raise NotKept(f"it is found {'without a folder' if root is None else 'in an empty folder'}")
        if any(Path(empty).iterdir()):
            raise NotKept("looking for it writes into the data folder")


def found(case: DatasetCase) -> str:
    """It is found, with a list of files that stays the same."""
    source = case.source()
    if not isinstance(source, Source):
        raise NotKept(f"the reader gives {type(source).__name__}, not bench.data.source.Source")
    files = list(source.list_files())
    for file in files:
        if not isinstance(file, File) or Path(file.path).is_absolute():
            raise NotKept(f"{file!r} is no File with a path below the data set's folder")
    if files != sorted(files) or files != list(case.source().list_files()):
        raise NotKept("list_files is not sorted, or another list when it is asked for again")
    return f"{len(files)} files in {source.where}" if source.where else "comes with a package"


def arrays(case: DatasetCase) -> str:
    """Images are uint8 [n, 3, size, size], labels int64; each class is trained on; -1 is unlabelled."""
    data, size = case.decoded(), case.row.image_size
    for name, images, labels in (
        ("images", data.images, data.labels),
        ("test_images", data.test_images, data.test_labels),
    ):
        if images.dtype != np.uint8 or labels.dtype != np.int64:
            raise NotKept(f"{name} are {images.dtype} with {labels.dtype} labels, not uint8 with int64")
        if images.shape != (len(labels), 3, size, size):
            raise NotKept(f"{name} are {images.shape} for {len(labels)} labels, not (n, 3, {size}, {size})")
    count, num_train = len(data.classes), data.num_train
    if len(set(data.classes)) != count or not all(isinstance(one, str) and one for one in data.classes):
        raise NotKept("two classes have the same name, or one has none")
    if not 0 < num_train <= len(data.labels) or not 0 <= data.pool_start <= num_train:
        raise NotKept(
            f"num_train {num_train} and pool_start {data.pool_start} do not fit {len(data.labels)} images"
        )
    train, rest = data.labels[:num_train], data.labels[num_train:]
    for name, labels in (("training", train), ("test", data.test_labels)):
        if not len(labels) or labels.min() < 0 or labels.max() >= count:
            raise NotKept(f"{name} labels are not all from 0 to {count - 1}")
    if absent := sorted(set(range(count)) - set(train.tolist())):
        raise NotKept(f"class {data.classes[absent[0]]!r} has no training image")
    if (rest != -1).any():
        raise NotKept("images behind the training split have labels: they would be trained on twice")
    return f"{num_train} training, {len(data.test_labels)} test images, {count} classes"


def counts(case: DatasetCase) -> None:
    """Images and classes are as many as the row says."""
    spec, data = case.row, case.decoded()
    have = (data.num_train, len(data.test_labels), len(data.classes))
    for name, said, is_so in zip(
        ("num_train", "num_test", "num_classes"),
        (spec.num_train, spec.num_test, spec.num_classes),
        have,
        strict=True,
    ):
        if said is not None and said != is_so:
            raise NotKept(f"{name} is {said} in the row, {is_so} were found")
    if None in (spec.num_train, spec.num_test):
        raise Remark(f"the row does not say how many images there are; {have[0]} and {have[1]} were found")


def same_twice(case: DatasetCase) -> str:
    """Read again, it is the same, byte for byte and in the same order."""
    first = case.decoded().fingerprint()
    if case.source().read(False, None).fingerprint() != first:
        raise NotKept("read again, it has other bytes or another order: runs on it could not be compared")
    return f"fingerprint {first[:16]}"


def disjoint(case: DatasetCase) -> None:
    """No test image is among those that are trained on, byte for byte."""
    data = case.decoded()
    tested = {image.tobytes() for image in data.test_images}
    both = sum(image.tobytes() in tested for image in data.images)
    if both:
        # Published data sets have such images; whoever made this one should know.
        raise Remark(
            f"{both} of {len(data.images)} training and pool images are test images too, byte for byte"
        )


PROMISES: dict[str, Callable[[DatasetCase], str | None]] = {
    "row": row,
    "missing": missing,
    "found": found,
    "arrays": arrays,
    "counts": counts,
    "same-twice": same_twice,
    "disjoint": disjoint,
}
