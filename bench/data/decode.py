"""Image files -> one uint8 array, on all cores: Pillow lets go of the interpreter while it decodes."""

import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.arrays import Decoded
from bench.data.corrupt import refusal
from bench.data.source import Progress
from bench.errors import DataError

CHUNK = 32  # files a task: large enough that handing tasks out costs nothing


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow image as 8-bit RGB: palettes, greyscale, CMYK; transparency is dropped, 16 bits scaled."""
    if image.mode in ("I", "I;16", "I;16B", "I;16L"):
        values = np.asarray(image)
        deep = image.mode != "I" or values.max(initial=0) > 255
        image = Image.fromarray(np.clip(values >> 8 if deep else values, 0, 255).astype(np.uint8))
    return image.convert("RGB")


def square(image: Image.Image, size: int) -> Image.Image:
    """Shorter side to `size` (bilinear, antialiased), then the centre: both in one resampling."""
    if image.size == (size, size):
        return image
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return image.resize((size, size), Image.Resampling.BILINEAR, box=(left, top, left + side, top + side))


def read_image(path: Path, size: int) -> tuple[NDArray[np.uint8], int]:
    """One file as (size, size, 3), and the shorter side it had."""
    with Image.open(path) as image:
        side = min(image.size)
        # A large JPEG is decoded at a fraction of its size, never below twice what is wanted.
        image.draft(None, (2 * size, 2 * size))
        return np.asarray(square(to_rgb(image), size)), side


def failure(path: Path, error: Exception) -> str:
    """Why a file could not be decoded, in a few words.

    Raises:
        DataError: it could not even be read (not there, no permission, a disk error).
    """
    if isinstance(error, OSError) and error.errno is not None:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return (str(error) or type(error).__name__).splitlines()[0]


@dataclass
class Batch:
    """Decoded files.

    Attributes:
        images: uint8, (n, 3, size, size); rows of failed files are undefined.
        failures: row -> why the file could not be decoded.
        sides: int32, (n,): shorter side in pixels before resizing; 0 where it failed.
    """

    images: NDArray[np.uint8]
    failures: dict[int, str]
    sides: NDArray[np.int32]


def _decode_few(where: Path, paths: Sequence[str], size: int) -> Batch:
    images = np.empty((len(paths), 3, size, size), np.uint8)
    sides = np.zeros(len(paths), np.int32)
    failures: dict[int, str] = {}
    for i, path in enumerate(paths):
        try:
            pixels, sides[i] = read_image(where / path, size)
            images[i] = pixels.transpose(2, 0, 1)
        except MemoryError:
            raise
        except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
            failures[i] = failure(where / path, error)
    return Batch(images, failures, sides)


def decode_ahead(where: Path, paths: Sequence[str], size: int) -> Iterator[Batch]:
    """Decode files on all cores, `CHUNK` of them at a time, in their order; few chunks are held at once.

    Args:
        where: folder that the paths are relative to.
        paths: n image files.
        size: height and width wanted.

    Raises:
        DataError: a file cannot be read at all (not there, no permission, a disk error).
    """
    Image.init()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers = min(16, cores)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[Batch]] = deque()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF and the like: the pixels are what counts
            for begin in range(0, len(paths), CHUNK):
                waiting.append(pool.submit(_decode_few, where, paths[begin : begin + CHUNK], size))
                # One slow file keeps nobody waiting until all others are three chunks ahead.
                if len(waiting) >= 3 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def decode(where: Path, paths: Sequence[str], size: int, progress: Progress | None = None) -> Batch:
    """Decode files into memory; see `decode_ahead`.

    Args:
        where: folder that the paths are relative to.
        paths: n image files.
        size: height and width wanted.
        progress: called with (done, total) from this thread.
    """
    whole = Batch(np.empty((len(paths), 3, size, size), np.uint8), {}, np.zeros(len(paths), np.int32))
    done = 0
    for part in decode_ahead(where, paths, size):
        end = done + len(part.images)
        whole.images[done:end], whole.sides[done:end] = part.images, part.sides
        whole.failures.update({done + i: why for i, why in part.failures.items()})
        done = end
        if progress is not None:
            progress(done, len(paths))
    return whole


@dataclass(frozen=True)
class Layout:
    """Which files go where.

    Attributes:
        where: folder that all paths are relative to.
        train: (path, label) of the training split.
        test: (path, label) of the test split.
        classes: names, in the order of the labels.
        unlabelled: further images of the pool.
        pool_start: so many first training images are not in the pool.
        notes: passed on to the user.
    """

    where: Path
    train: Sequence[tuple[str, int]]
    test: Sequence[tuple[str, int]]
    classes: tuple[str, ...]
    unlabelled: Sequence[str] = ()
    pool_start: int = 0
    notes: tuple[str, ...] = ()

    def paths(self) -> list[str]:
        """Every file: of the pool, training images first, then of the test split."""
        return [*(path for path, _ in self.train), *self.unlabelled, *(path for path, _ in self.test)]


def decode_layout(
    name: str, layout: Layout, size: int, skip_corrupt: bool, progress: Progress | None
) -> Decoded:
    """Decode a data set made of image files.

    Raises:
        DataError: files are corrupt and `skip_corrupt` is not set, or it leaves a class without an image.
    """
    paths = [path for path, _ in layout.train] + list(layout.unlabelled)
    total = len(paths) + len(layout.test)

    def offset(start: int) -> Progress | None:
        if progress is None:
            return None
        return lambda done, _, report=progress: report(start + done, total)

    pool = decode(layout.where, paths, size, offset(0))
    test = decode(layout.where, [path for path, _ in layout.test], size, offset(len(paths)))
    failures = pool.failures | {len(paths) + i: why for i, why in test.failures.items()}
    labels = label_layout(name, layout, failures, skip_corrupt)
    images, test_images = pool.images, test.images
    if failures:
        images = images[_others(len(paths), pool.failures)]
        test_images = test_images[_others(len(layout.test), test.failures)]
    sides = np.concatenate([pool.sides, test.sides])
    sides[list(failures)] = np.iinfo(sides.dtype).max
    smallest = int(sides.argmin())
    return labels.decoded(images, test_images, (int(sides[smallest]), smallest))


@dataclass(frozen=True)
class Labels:
    """What is known of a layout once its files are decoded, but for the images.

    Attributes:
        layout: whose they are.
        paths: every file: of the pool, then of the test split.
        labels: int64, of the images of the pool that could be decoded; -1 where there is none.
        test_labels: int64, of the test images that could be decoded.
        num_train: so many first images are the training split.
        pool_start: so many first images are not in the pool.
        corrupt: files that could not be decoded.
    """

    layout: Layout
    paths: Sequence[str]
    labels: NDArray[np.int64]
    test_labels: NDArray[np.int64]
    num_train: int
    pool_start: int
    corrupt: tuple[str, ...]

    def decoded(
        self, images: NDArray[np.uint8], test_images: NDArray[np.uint8], smallest: tuple[int, int]
    ) -> Decoded:
        """With the images.

        Args:
            images: of the pool, those that could not be decoded left out.
            test_images: likewise.
            smallest: shorter side in pixels of the smallest image, and its place in `paths`.
        """
        return Decoded(
            images=images,
            labels=self.labels,
            num_train=self.num_train,
            pool_start=self.pool_start,
            test_images=test_images,
            test_labels=self.test_labels,
            classes=self.layout.classes,
            corrupt=self.corrupt,
            notes=self.layout.notes,
            smallest=smallest[0],
            smallest_name=self.paths[smallest[1]],
        )


def label_layout(name: str, layout: Layout, failures: Mapping[int, str], skip_corrupt: bool) -> Labels:
    """Labels of what could be decoded.

    Args:
        name: of the data set.
        layout: its files.
        failures: place in `Layout.paths` -> why the file could not be decoded.
        skip_corrupt: leave those out.

    Raises:
        CorruptImages: files are corrupt and `skip_corrupt` is not set.
        DataError: leaving them out leaves a class without an image.
    """
    paths, num_pool = layout.paths(), len(layout.train) + len(layout.unlabelled)
    if failures and not skip_corrupt:
        raise refusal(
            name,
            layout.where,
            [paths[i] for i in sorted(failures)],
            {paths[i]: failures[i] for i in failures},
        )
    kept = _others(len(paths), failures)
    labels = np.array([label for _, label in layout.train] + [-1] * len(layout.unlabelled), np.int64)
    test_labels = np.array([label for _, label in layout.test], np.int64)
    labels, test_labels = labels[kept[:num_pool]], test_labels[kept[num_pool:]]
    num_train = int(kept[: len(layout.train)].sum())
    for label in np.flatnonzero(np.bincount(labels[:num_train], minlength=len(layout.classes)) == 0):
        raise DataError(
            f"{name}: class {layout.classes[label]!r} has no readable image in the training split"
        )
    if not len(test_labels):
        raise DataError(f"{name}: the test split has no readable image")
    start = int(kept[: layout.pool_start].sum())
    corrupt = tuple(paths[i] for i in sorted(failures))
    return Labels(layout, paths, labels, test_labels, num_train, start, corrupt)


def _others(count: int, failed: Iterable[int]) -> NDArray[np.bool_]:
    kept = np.ones(count, bool)
    kept[list(failed)] = False
    return kept
