"""Image trees with one folder a class: `folder:PATH`, and data sets published that way."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.listed import check_counts
from bench.data.source import (
    IMAGE_SUFFIXES,
    DatasetSpec,
    File,
    Progress,
    Source,
    first_folder,
    given_folder,
    list_folders,
    list_images,
    stat_files,
)
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.data.arrays import Decoded
    from bench.data.decode import Layout


class ClassFolders:
    """`where/<split>/<class>/**/<image>`: classes are the training split's folders in sorted order."""

    def __init__(self, spec: DatasetSpec, where: Path, train: str, test: str) -> None:
        self.spec, self.where, self.train, self.test = spec, where, train, test

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The training split's folders."""
        return tuple(list_folders(self.where / self.train))

    def images(self, split: str) -> list[tuple[str, int]]:
        """(path, label) of a split, sorted by class, then by path.

        Raises:
            DataError: no images, a class without images, or a class that the training split lacks.
        """
        labels = {name: label for label, name in enumerate(self.classes)}
        found = []
        for name in list_folders(self.where / split):
            paths = list_images(self.where, f"{split}/{name}")
            if paths and name not in labels:
                raise DataError(
                    f"{self.spec.name}: class {name!r} is in {split}/ but not in {self.train}/"
                    f" of {self.where}"
                )
            found += [(path, labels[name]) for path in paths]
        if not found:
            suffixes = ", ".join(sorted(IMAGE_SUFFIXES))
            raise DataError(
                f"{self.spec.name}: no images in {self.where / split}:"
                f" one folder a class is wanted, holding files that end in {suffixes}"
            )
        if split == self.train and len({label for _, label in found}) < len(labels):
            empty = next(name for name, label in labels.items() if label not in {x for _, x in found})
            raise DataError(f"{self.spec.name}: class {empty!r} has no image in {self.where / split}")
        return found

    @cached_property
    def splits(self) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
        """Training and test images, counted against the published numbers where there are any."""
        train, test = self.images(self.train), self.images(self.test)
        counts = (len(train), len(test), len(self.classes))
        check_counts(self.spec, self.where, counts, (self.train, self.test))
        return train, test

    def files(self) -> list[File]:
        """Every image of both splits."""
        train, test = self.splits
        return stat_files(self.where, [path for path, _ in train + test])

    def layout(self) -> "Layout":
        """Which image has which label."""
        from bench.data.decode import Layout

        return Layout(self.where, *self.splits, self.classes)

    def read(self, skip_corrupt: bool, progress: Progress | None) -> "Decoded":
        """Decode both splits."""
        from bench.data.decode import decode_layout

        return decode_layout(self.spec.name, self.layout(), self.spec.image_size, skip_corrupt, progress)


def class_folders(spec: DatasetSpec, where: Path, train: str = "train", test: str = "val") -> Source:
    """A tree `where/{train,test}/<class>/*` as a source."""
    tree = ClassFolders(spec, where, train, test)
    return Source(where, tree.files, tree.read, layout=tree.layout)


def miniplaces(spec: DatasetSpec, root: Path | None) -> Source:
    """`root/miniplaces64/{train,val}/<class>/*.jpg`; val serves as the test split."""
    return class_folders(spec, first_folder(spec, root, ["miniplaces64"], holds="train"))


def folder(spec: DatasetSpec, root: Path | None) -> Source:
    """`folder:PATH`: train/ and test/, or train/ and val/ where there is no test/."""
    where = given_folder(spec, root)
    if not (where / "train").is_dir():
        raise DataError(f"{spec.name}: {where} has no folder train/ with one folder a class")
    test = next(
        (name for name in ("test", "val") if (where / name).is_dir() and list_folders(where / name)), None
    )
    if test is None:
        raise DataError(f"{spec.name}: {where} has neither test/ nor val/ with one folder a class")
    return class_folders(spec, where, test=test)
