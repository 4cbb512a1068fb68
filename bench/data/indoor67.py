"""MIT Indoor67 (Quattoni and Torralba, CVPR 2009): http://web.mit.edu/torralba/www/indoor.html.

The official split lists 5,360 training and 1,340 test images of the 15,620 in the tree. The pool for
pretraining is every image but the test split's, 14,280. An image whose bytes are those of a test image
is left out of the pool too, whatever its name, and counted.
"""

import hashlib
import unicodedata
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from bench.data.listed import read_lines
from bench.data.source import (
    DatasetSpec,
    File,
    Progress,
    Source,
    first_folder,
    list_folders,
    list_images,
    stat_files,
)
from bench.errors import DataError

if TYPE_CHECKING:
    from bench.data.arrays import Decoded
    from bench.data.decode import Layout

LISTS = ("TrainImages.txt", "TestImages.txt")
FOLDERS = ("indoorCVPR_09", "indoor67", "indoor67/indoorCVPR_09")


def indoor67(spec: DatasetSpec, root: Path | None) -> Source:
    """`Images/<class>/*` below one of `FOLDERS`; the lists there, in the folder above or in the root."""
    where = first_folder(spec, root, FOLDERS, holds="Images")
    tree = Indoor67(spec, where, [where, where.parent, root or where])
    return Source(where, tree.files, tree.read, layout=tree.layout)


def normalised(path: str) -> str:
    """A path by which two spellings of the same file are equal: case, Unicode form, separators."""
    path = unicodedata.normalize("NFC", path.strip()).replace("\\", "/").removeprefix("./")
    return path.removeprefix("Images/").casefold()


class Indoor67:
    """The official tree and lists."""

    def __init__(self, spec: DatasetSpec, where: Path, look_in: list[Path]) -> None:
        self.spec, self.where = spec, where
        found = (next((f / name for f in look_in if (f / name).is_file()), None) for name in LISTS)
        self.lists = [path for path in found if path is not None]
        if len(self.lists) < len(LISTS):
            page = "http://web.mit.edu/torralba/www"
            raise DataError(
                f"{spec.name}: {where} lacks its split lists: download {page}/{LISTS[0]}"
                f" and {page}/{LISTS[1]} so that {where / LISTS[0]} exists"
            )

    @cached_property
    def tree(self) -> list[str]:
        """Every image, relative to the data set's folder."""
        return list_images(self.where, "Images")

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The folders of the tree."""
        return tuple(list_folders(self.where / "Images"))

    @cached_property
    def splits(self) -> tuple[list[str], list[str]]:
        """Listed training and test images, as the tree spells them.

        Raises:
            DataError: a listed image is absent or in both lists, or the numbers are not the published ones.
        """
        exact = {path.removeprefix("Images/"): path for path in self.tree}
        loose = {normalised(path): path for path in self.tree}
        found = []
        for listing in self.lists:
            lines = read_lines(listing)
            paths = [exact.get(line) or loose.get(normalised(line)) for line in lines]
            absent = [line for line, path in zip(lines, paths, strict=True) if path is None]
            if absent:
                raise DataError(
                    f"{self.spec.name}: {len(absent)} of {len(lines)} images listed in {listing.name} are not"
                    f" in {self.where / 'Images'}, the first is {absent[0]}"
                )
            found.append([path for path in paths if path is not None])
        train, test = found
        both = sorted({normalised(p) for p in train} & {normalised(p) for p in test})
        if both:
            raise DataError(f"{self.spec.name}: {both[0]} is listed for training and for testing")
        numbers = (len(train), len(test), len(self.classes))
        wanted = (self.spec.num_train, self.spec.num_test, self.spec.num_classes)
        if any(want not in (None, has) for has, want in zip(numbers, wanted, strict=True)):
            raise DataError(
                f"{self.spec.name}: {self.where} has {numbers[0]} training and {numbers[1]} test images in"
                f" {numbers[2]} classes, not {wanted[0]}, {wanted[1]} and {wanted[2]}: unpack it again"
            )
        return train, test

    def files(self) -> list[File]:
        """Every image, and the two lists."""
        self.splits  # noqa: B018  (checks)
        files = stat_files(self.where, self.tree)
        for listing in self.lists:
            files += [
                file._replace(path=f"list/{file.path}") for file in stat_files(listing.parent, [listing.name])
            ]
        return sorted(files)

    def copies_of_test(self) -> set[str]:
        """Images outside the test split whose bytes are those of a test image."""
        _, test = self.splits
        listed = set(test)
        sizes = {file.path: file.size for file in stat_files(self.where, self.tree)}
        tested = {(sizes[path], self._digest(path)) for path in test}
        test_sizes = {size for size, _ in tested}
        others = (path for path in self.tree if path not in listed and sizes[path] in test_sizes)
        return {path for path in others if (sizes[path], self._digest(path)) in tested}

    def _digest(self, path: str) -> bytes:
        try:
            return hashlib.sha256((self.where / path).read_bytes()).digest()
        except OSError as error:
            raise DataError(f"cannot read {self.where / path}: {error.strerror}") from error

    def read(self, skip_corrupt: bool, progress: Progress | None) -> "Decoded":
        """Decode train, test and the rest of the tree."""
        from bench.data.decode import decode_layout

        return decode_layout(self.spec.name, self.layout(), self.spec.image_size, skip_corrupt, progress)

    def layout(self) -> "Layout":
        """Which image has which label, and which further ones are in the pool."""
        from bench.data.decode import Layout

        train, test = self.splits
        label = {name: i for i, name in enumerate(self.classes)}
        test_keys, copies = {normalised(path) for path in test}, self.copies_of_test()
        train = sorted(train, key=lambda path: path not in copies)  # stable: the order of the list otherwise
        num_copies = sum(path in copies for path in train)
        listed = set(train)
        rest = [p for p in self.tree if not (p in listed or p in copies or normalised(p) in test_keys)]
        notes = ()
        if copies:
            notes = (f"{len(copies)} byte-equal copies of test images are left out of the pool",)

        def labelled(paths: list[str]) -> list[tuple[str, int]]:
            return [(path, label[path.split("/")[1]]) for path in paths]

        return Layout(self.where, labelled(train), labelled(test), self.classes, rest, num_copies, notes)
