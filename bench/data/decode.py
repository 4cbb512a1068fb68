"""Image files -> one uint8 array, on all cores: Pillow lets go of the interpreter while it decodes."""

import os
import warnings
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.arrays import Decoded
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


def decode(where: Path, paths: Sequence[str], size: int, progress: Progress | None = None) -> Batch:
    """Decode files on all cores.

    Args:
        where: folder that the paths are relative to.
        paths: n image files.
        size: height and width wanted.
        progress: called with (done, total) from this thread.

    Raises:
        DataError: a file cannot be read at all (not there, no permission, a disk error).
    """
    images = np.empty((len(paths), 3, size, size), np.uint8)
    sides = np.zeros(len(paths), np.int32)
    failures: dict[int, str] = {}

    def work(start: int) -> int:
        stop = min(start + CHUNK, len(paths))
        for i in range(start, stop):
            try:
                pixels, sides[i] = read_image(where / paths[i], size)
                images[i] = pixels.transpose(2, 0, 1)
            except MemoryError:
                raise
            except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
                if isinstance(error, OSError) and error.errno is not None:
                    raise DataError(f"cannot read {where / paths[i]}: {error.strerror}") from error
                failures[i] = (str(error) or type(error).__name__).splitlines()[0]
        return stop

    Image.init()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    pool = ThreadPoolExecutor(min(16, cores), thread_name_prefix="decode")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # broken EXIF and the like: the pixels are what counts
            for done in pool.map(work, range(0, len(paths), CHUNK)):
                if progress is not None:
                    progress(done, len(paths))
    finally:
        pool.shutdown(cancel_futures=True)
    return Batch(images, failures, sides)


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
    every_path = [*paths, *(path for path, _ in layout.test)]
    failures = pool.failures | {len(paths) + i: why for i, why in test.failures.items()}
    corrupt = tuple(every_path[i] for i in sorted(failures))
    if corrupt and not skip_corrupt:
        raise _refusal(name, layout.where, every_path, failures)

    kept, kept_test = _others(len(paths), pool.failures), _others(len(layout.test), test.failures)
    labels = np.array([label for _, label in layout.train] + [-1] * len(layout.unlabelled), np.int64)
    test_labels = np.array([label for _, label in layout.test], np.int64)
    images, test_images = pool.images, test.images
    if corrupt:
        images, labels = images[kept], labels[kept]
        test_images, test_labels = test_images[kept_test], test_labels[kept_test]
    num_train = int(kept[: len(layout.train)].sum())
    for label in np.flatnonzero(np.bincount(labels[:num_train], minlength=len(layout.classes)) == 0):
        raise DataError(
            f"{name}: class {layout.classes[label]!r} has no readable image in the training split"
        )
    if not len(test_labels):
        raise DataError(f"{name}: the test split has no readable image")

    sides = np.concatenate([pool.sides, test.sides])
    sides[list(failures)] = np.iinfo(sides.dtype).max
    smallest = int(sides.argmin())
    return Decoded(
        images=images,
        labels=labels,
        num_train=num_train,
        pool_start=int(kept[: layout.pool_start].sum()),
        test_images=test_images,
        test_labels=test_labels,
        classes=layout.classes,
        corrupt=corrupt,
        notes=layout.notes,
        smallest=int(sides[smallest]),
        smallest_name=every_path[smallest],
    )


def _others(count: int, failed: Iterable[int]) -> NDArray[np.bool_]:
    kept = np.ones(count, bool)
    kept[list(failed)] = False
    return kept


def _refusal(name: str, where: Path, paths: Sequence[str], failures: dict[int, str]) -> DataError:
    shown = [f"{paths[i]} ({failures[i].replace(str(where) + '/', '')})" for i in sorted(failures)[:3]]
    more = f" and {len(failures) - 3} more" if len(failures) > 3 else ""
    plural = "s" if len(failures) > 1 else ""
    return DataError(
        f"{name}: {len(failures)} corrupt image{plural} under {where}: {', '.join(shown)}{more};"
        " mend or remove them, or leave them out with --skip-corrupt"
    )
