"""Data sets whose split is written in files beside the images: what their readers share.

A reader says which image has which label (a `Listing`); counting, missing files and decoding are the same for all.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.source import DatasetSpec, File, Progress, Source, stat_files
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.data.arrays import Decoded
    from bench.data.decode import Layout

Labelled = list[tuple[str, int]]


@dataclass(frozen=True)
class Listing:
    """Which image has which label.

    Attributes:
        where: folder that the paths of images are relative to.
        train: (path, label) of the training split.
        test: (path, label) of the test split.
        classes: names, in the order of the labels.
        lists: the files that say so; a change of one is a change of the data set.
    """

    where: Path
    train: Labelled
    test: Labelled
    classes: tuple[str, ...]
    lists: tuple[Path, ...] = ()


def listed(spec: DatasetSpec, where: Path, look: Callable[[], Listing]) -> Source:
    """A source made of what `look` finds, which is called when it is first wanted.

    Args:
        spec: its row.
        where: the data set's folder.
        look: reads the lists; opens no image.
    """
    found = _Listed(spec, look)
    return Source(where, found.files, found.read, layout=found.layout)


def check_counts(
    spec: DatasetSpec, where: Path, counts: Sequence[int], words: tuple[str, str] = ("training", "test")
) -> None:
    """Hold training images, test images and classes against the published numbers, where there are any.

    Raises:
        DataError: names the first number that is another one.
    """
    whats = (f"{words[0]} images", f"{words[1]} images", "classes")
    wanted = (spec.num_train, spec.num_test, spec.num_classes)
    for what, has, want in zip(whats, counts, wanted, strict=True):
        if want is not None and has != want:
            raise DataError(f"{spec.name}: {where} holds {has} {what}, not {want}: unpack it again")


def read_labels(path: Path) -> Labelled:
    """The lines "path label" of a list.

    Raises:
        DataError: it cannot be read, or a line is another thing; names the line.
    """
    found = []
    for number, line in enumerate(read_lines(path), 1):
        name, _, label = line.rpartition(" ")
        if not name or not (label.isascii() and label.isdigit()):
            raise DataError(
                f"{path}: line {number} is {line[:80]!r}, not a path and a label: unpack it again"
            )
        found.append((name.strip().lstrip("/"), int(label)))
    return found


def read_lines(path: Path) -> list[str]:
    """The lines of a text that are not empty.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}: unpack it again") from error
    except UnicodeDecodeError as error:
        raise DataError(f"cannot read {path}: {error}: unpack it again") from error


class _Listed:
    def __init__(self, spec: DatasetSpec, look: Callable[[], Listing]) -> None:
        self.spec, self._look = spec, look

    @cached_property
    def listing(self) -> Listing:
        listing = self._look()
        for split, images in (("training", listing.train), ("test", listing.test)):
            if not images:
                raise DataError(f"{self.spec.name}: no {split} images are listed for {listing.where}")
        check_counts(self.spec, listing.where, (len(listing.train), len(listing.test), len(listing.classes)))
        empty = set(range(len(listing.classes))) - {label for _, label in listing.train}
        if empty:
            name = listing.classes[min(empty)]
            raise DataError(f"{self.spec.name}: class {name!r} has no training image in {listing.where}")
        return listing

    @cached_property
    def images(self) -> list[File]:
        """Sizes and times of all images; says how many are not there."""
        listing = self.listing
        paths = sorted(path for path, _ in (*listing.train, *listing.test))
        above, files, absent = f"{listing.where}/", [], []
        for path in paths:
            try:
                status = os.stat(above + path)  # noqa: PTH116  (millions of them)
            except (FileNotFoundError, NotADirectoryError):
                absent.append(path)
            except OSError as error:
                raise DataError(f"cannot read {above}{path}: {error.strerror}") from error
            else:
                files.append(File(path, status.st_size, status.st_mtime_ns))
        if absent:
            raise DataError(
                f"{self.spec.name}: {len(absent)} of {len(paths)} listed images are not in {listing.where},"
                f" the first is {absent[0]}: unpack it again"
            )
        return files

    def files(self) -> list[File]:
        """Every image, and the lists."""
        files = list(self.images)
        for path in self.listing.lists:
            files += [
                file._replace(path=f"list/{file.path}") for file in stat_files(path.parent, [path.name])
            ]
        return sorted(files)

    def layout(self) -> "Layout":
        from bench.data.decode import Layout

        listing = self.listing
        return Layout(listing.where, listing.train, listing.test, listing.classes)

    def read(self, skip_corrupt: bool, progress: Progress | None) -> "Decoded":
        from bench.data.decode import decode_layout

        return decode_layout(self.spec.name, self.layout(), self.spec.image_size, skip_corrupt, progress)
