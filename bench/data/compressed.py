"""Images that stay compressed: what has too many pixels to be kept as arrays is decoded when it is asked for.

ImageNet at 224 px would take 190 GB. Its files take 140, hold more than is wanted, and are decoded by all cores with
the function that prepares the other data sets (`bench.data.decode.read_image`): shorter side to the size, then the
centre. Nothing is written; the first epoch costs what every epoch costs.
"""

import functools
import hashlib
import json
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.arrays import Dataset, Split
from bench.data.corrupt import refusal
from bench.data.decode import Layout, failure, read_image
from bench.data.prepare import cache_folders
from bench.data.source import DatasetSpec, File, Progress, Source
from bench.errors import DataError
from bench.files import write_bytes

# Sides up to this are always prepared: a file of that size is hardly smaller than its pixels.
PREPARED_SIDE = 128
# Of larger ones, so many bytes of pixels are still prepared rather than decoded again every epoch.
PREPARED_BYTES = 8 << 30
NOTE = "images stay compressed: the fingerprint is over paths, sizes, labels and classes, not over pixels"


def stays_compressed(spec: DatasetSpec, count: int) -> bool:
    """Whether a data set's images are decoded when they are asked for, and never kept as arrays.

    Args:
        spec: its row; `compressed` decides where it says so.
        count: images in all.
    """
    if spec.compressed is not None:
        return spec.compressed
    return spec.image_size > PREPARED_SIDE and count * 3 * spec.image_size**2 > PREPARED_BYTES


class CompressedImages:
    """Image files that read like an array uint8 [n, 3, size, size]; may be read by several threads at once.

    Args:
        where: folder that the paths are relative to.
        paths: n files.
        size: height and width wanted.
        name: of the data set, for errors.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, where: Path, paths: Sequence[str], size: int, name: str = "images") -> None:
        self.where, self.paths, self.size, self.name = where, paths, size, name

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(n, 3, size, size)."""
        return (len(self.paths), 3, self.size, self.size)

    @property
    def nbytes(self) -> int:
        """What all of them would take decoded."""
        return len(self.paths) * 3 * self.size**2

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, key: int | slice | NDArray[Any] | Sequence[int]) -> NDArray[np.uint8]:
        """Decode one image [3, size, size] or several [m, 3, size, size].

        Raises:
            DataError: one of them cannot be decoded; names it.
            IndexError: there is no such image.
        """
        if isinstance(key, slice):
            return self._decode([self.paths[i] for i in range(*key.indices(len(self.paths)))])
        index = np.asarray(key)
        if index.dtype == bool:
            index = np.flatnonzero(index)
        if index.ndim > 1 or (index.size and index.dtype.kind not in "iu"):
            raise IndexError(
                f"images are asked for by a number, a slice or a list of numbers, not by {key!r}"
            )
        paths = [self.paths[i] for i in index.reshape(-1).tolist()]
        return self._decode(paths) if index.ndim else self._decode(paths)[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All of them: for the few that fit in memory."""
        del copy  # always one
        return self[:].astype(dtype or self.dtype, copy=False)

    def _decode(self, paths: Sequence[str]) -> NDArray[np.uint8]:
        images = np.empty((len(paths), 3, self.size, self.size), np.uint8)

        def work(i: int) -> str | None:
            return _decode_into(self.where / paths[i], images[i])

        for i, why in enumerate(on_all_cores(work, len(paths))):
            if why is not None:
                raise DataError(
                    f"{self.name}: {self.where / paths[i]} cannot be decoded ({why}): mend or remove it, or leave out"
                    " what is corrupt with --skip-corrupt"
                )
        return images


def open_compressed(
    spec: DatasetSpec, source: Source, root: Path | None, skip_corrupt: bool, progress: Progress | None
) -> Dataset:
    """A data set whose images are decoded when they are asked for.

    Args:
        spec: its row.
        source: what its reader found; must have a `layout`.
        root: the data folder.
        skip_corrupt: decode every file once before, and leave out those that cannot be; what is found is kept.
        progress: called with (files done, files in all) meanwhile.

    Raises:
        CorruptImages: files are known to be broken, and may not be left out.
        DataError: files are not there, or a class is without an image.
    """
    assert source.layout is not None
    layout, files = source.layout(), source.list_files()
    name = _broken_name(spec, source, files)
    broken = frozenset(_known_broken(name, root) or ())
    if skip_corrupt:
        broken = frozenset(_broken(spec, layout, name, root, progress))
    elif broken:
        # Found by an earlier look at every file: better said now than in the middle of an epoch.
        raise refusal(spec.name, layout.where, sorted(broken))

    train = [(path, label) for path, label in layout.train if path not in broken]
    test = [(path, label) for path, label in layout.test if path not in broken]
    rest = [path for path in layout.unlabelled if path not in broken]
    start = sum(path not in broken for path, _ in layout.train[: layout.pool_start])
    for label in np.flatnonzero(np.bincount([x for _, x in train], minlength=len(layout.classes)) == 0):
        raise DataError(
            f"{spec.name}: class {layout.classes[label]!r} has no readable image in the training split"
        )
    if not test:
        raise DataError(f"{spec.name}: the test split has no readable image")

    def split(listed: Sequence[tuple[str, int]]) -> Split:
        paths, labels = [path for path, _ in listed], np.array([label for _, label in listed], np.int64)
        labels.flags.writeable = False
        images: Any = CompressedImages(layout.where, paths, spec.image_size, spec.name)
        return Split(images, labels)

    trained = split(train)
    return Dataset(
        name=spec.name,
        train=trained,
        test=split(test),
        pool=split([*train[start:], *((path, -1) for path in rest)]) if start or rest else trained,
        classes=layout.classes,
        fingerprint=_fingerprint(spec, layout, files, (train, test, rest, start)),
        flip=spec.flip,
        corrupt=tuple(sorted(broken)),
        notes=(*layout.notes, NOTE),
    )


def _fingerprint(spec: DatasetSpec, layout: Layout, files: Sequence[File], splits: tuple[Any, ...]) -> str:
    """Sha256 over paths, sizes, labels and classes: reading 140 GB to hash them would take longer than an epoch."""
    digest = hashlib.sha256(json.dumps(["compressed", spec.image_size, layout.classes]).encode())
    digest.update(json.dumps(splits).encode())
    digest.update(json.dumps([(file.path, file.size) for file in files]).encode())
    return digest.hexdigest()


def _broken_name(spec: DatasetSpec, source: Source, files: Sequence[File]) -> str:
    """Of the file that says which files are broken; another where one of them has changed."""
    key = hashlib.sha256(json.dumps([str(source.where), spec.version, list(files)]).encode()).hexdigest()
    return f"{spec.name.partition(':')[0]}-{key[:16]}.corrupt.json"


def _known_broken(name: str, root: Path | None) -> list[str] | None:
    for folder in cache_folders(root):
        try:
            return list(json.loads((folder / name).read_text()))
        except (OSError, ValueError):
            continue
    return None


def _broken(
    spec: DatasetSpec, layout: Layout, name: str, root: Path | None, progress: Progress | None
) -> list[str]:
    """Paths of the files that cannot be decoded. Found by decoding each once, and kept where arrays would be."""
    known = _known_broken(name, root)
    if known is not None:
        return known
    every = [*(path for path, _ in (*layout.train, *layout.test)), *layout.unlabelled]

    def work(i: int) -> str | None:
        return _decode_into(
            layout.where / every[i], np.empty((3, spec.image_size, spec.image_size), np.uint8)
        )

    found = []
    if progress is not None:
        progress(0, len(every))
    for i, why in enumerate(on_all_cores(work, len(every))):
        if why is not None:
            found.append(every[i])
        if progress is not None and (i % 256 == 255 or i + 1 == len(every)):
            progress(i + 1, len(every))
    for folder in cache_folders(root):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_bytes(folder / name, json.dumps(sorted(found)).encode())
            break
        except OSError:
            continue
    return found


def _decode_into(path: Path, out: NDArray[np.uint8]) -> str | None:
    """Decode a file into [3, size, size]; says why where it cannot be.

    Raises:
        DataError: it cannot be read at all.
    """
    try:
        out[:] = read_image(path, out.shape[-1])[0].transpose(2, 0, 1)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise nearly anything on a broken file
        return failure(path, error)
    return None


def on_all_cores(work: Callable[[int], str | None], count: int) -> Iterator[str | None]:
    """What work says of 0, 1, ...; Pillow lets go of the interpreter while it decodes and resizes."""
    if count <= 1:
        yield from map(work, range(count))
        return
    yield from _pool(os.getpid()).map(work, range(count))


@functools.cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001  (a forked child has no threads of its parent's)
    Image.init()
    # Broken EXIF and the like: the pixels are what counts. For good: a filter that is undone is no thread's own.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return ThreadPoolExecutor(cores, thread_name_prefix="decode")
