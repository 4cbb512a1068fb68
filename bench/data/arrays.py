"""What every data set becomes: uint8 images and int64 labels, in three splits."""

import hashlib
import json
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Images(Protocol):
    """What images of a split may be: an array, or files that are decoded when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(n, 3, height, width)."""
        ...

    @property
    def dtype(self) -> np.dtype[Any]:
        """uint8."""
        ...

    @property
    def nbytes(self) -> int:
        """What all of them take once they are decoded."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, key: Any, /) -> Any:
        """One image by its number, or several by a slice or an integer array; uint8."""
        ...

    def __array__(self, dtype: Any = None, /) -> NDArray[Any]:
        """All of them."""
        ...


@dataclass(frozen=True)
class Split:
    """Images and their labels.

    Attributes:
        images: uint8, (n, 3, height, width), RGB; may be memory-mapped read-only, or no array but what has its
            `shape`, `dtype`, `nbytes` and length and gives rows of them by a number, a slice or an integer array.
        labels: int64, (n,), an index into `Dataset.classes`; -1 where there is none.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """A data set ready to be used.

    Attributes:
        name: as the user typed it.
        train: labelled.
        test: labelled; disjoint from train as far as its authors saw to it.
        pool: images for pretraining; `train` itself unless the data set has more.
        classes: names, in the order of the labels.
        fingerprint: sha256 over arrays and classes, hexadecimal.
        flip: whether training may mirror images left to right.
        corrupt: files that could not be read and were dropped, relative paths.
        notes: what else a person should know, a line each.
        leaks: how many test images are on the other side too, see `bench.data.leak_records.Record.counts`; None
            where nobody has looked.
    """

    name: str
    train: Split
    test: Split
    pool: Split
    classes: tuple[str, ...]
    fingerprint: str
    flip: bool
    corrupt: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    leaks: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Decoded:
    """What a reader hands over. Train and pool share one array, since they share most images.

    Attributes:
        images: uint8, (n, 3, height, width): the training images, then the unlabelled ones.
        labels: int64, (n,); -1 for the unlabelled.
        num_train: `images[:num_train]` is the training split.
        pool_start: `images[pool_start:]` is the pool.
        test_images: uint8, (m, 3, height, width).
        test_labels: int64, (m,).
        classes: names, in the order of the labels.
        corrupt: files dropped because they could not be read.
        notes: what else a person should know.
        smallest: shorter side, in pixels, of the smallest image before resizing; None if all are
            as they were published.
        smallest_name: its path.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    num_train: int
    pool_start: int
    test_images: NDArray[np.uint8]
    test_labels: NDArray[np.int64]
    classes: tuple[str, ...]
    corrupt: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    smallest: int | None = None
    smallest_name: str = ""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays by the name under which they are stored."""
        return {
            "images": self.images,
            "labels": self.labels,
            "test_images": self.test_images,
            "test_labels": self.test_labels,
        }

    def fingerprint(self) -> str:
        """Sha256 over shapes, types and bytes of the arrays, the bounds of the splits and the classes."""
        digest = hashlib.sha256(json.dumps([self.num_train, self.pool_start, self.classes]).encode())
        for name, array in self.arrays().items():
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            for block in _blocks(array):
                digest.update(block)
        return digest.hexdigest()

    def dataset(self, name: str, flip: bool, fingerprint: str | None = None) -> Dataset:
        """The splits as views of the arrays, which become read-only.

        Args:
            name: of the data set.
            flip: whether training may mirror images.
            fingerprint: if it is known already.
        """
        fingerprint = fingerprint or self.fingerprint()
        for array in self.arrays().values():
            array.flags.writeable = False
        train = Split(self.images[: self.num_train], self.labels[: self.num_train])
        whole = self.pool_start == 0 and self.num_train == len(self.labels)
        pool = train if whole else Split(self.images[self.pool_start :], self.labels[self.pool_start :])
        test = Split(self.test_images, self.test_labels)
        return Dataset(
            name, train, test, pool, self.classes, fingerprint, flip, tuple(self.corrupt), tuple(self.notes)
        )


def _blocks(array: NDArray[Any], size: int = 8 << 20) -> Iterator[Any]:
    """The bytes of an array in C order; those of a file are read piece by piece, as mapped ones would fill memory."""
    # Of a slice of a mapped array, `offset` is the whole one's.
    if (
        not isinstance(array, np.memmap)
        or not isinstance(array.base, mmap.mmap)
        or not array.flags.c_contiguous
        or array.filename is None
    ):
        yield np.ascontiguousarray(array).data
        return
    left = array.nbytes
    with open(array.filename, "rb") as file:  # noqa: PTH123
        file.seek(array.offset)
        while left and (block := file.read(min(size, left))):
            left -= len(block)
            yield block
    if left:
        raise OSError(f"{array.filename} is {left} bytes short")
