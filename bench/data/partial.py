"""A data set decoded straight into files, a few images in memory at a time; killed at any moment, it goes on.

Rows are appended in the order of the files, those of broken files left out, so that nothing has to be moved
afterwards. A journal says how far they have come: a line is written when the rows it speaks of are on the disk, and
what lies beyond its last whole line is written again.
"""

import errno
import io
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

from bench.data.arrays import Decoded
from bench.data.decode import Layout, decode_ahead, label_layout
from bench.data.source import Progress
from bench.errors import DataError

JOURNAL = "journal.jsonl"
# What is lost at most when the process is killed.
SYNC_SECONDS = 5.0


@dataclass
class Journal:
    """How far a partial entry has come.

    Attributes:
        path: of the journal.
        files: so many files are dealt with, those of the pool first.
        rows: array -> rows on the disk.
        failures: number of a file -> why it could not be decoded.
        smallest: shorter side of the smallest image, and the number of its file.
    """

    path: Path
    files: int = 0
    rows: dict[str, int] = field(default_factory=lambda: {"images": 0, "test_images": 0})
    failures: dict[int, str] = field(default_factory=dict)
    smallest: tuple[int, int] = (np.iinfo(np.int32).max, 0)

    @classmethod
    def read(cls, path: Path) -> Self:
        """What is written down; a line that was not finished, and what follows it, is cut off."""
        journal, whole = cls(path), 0
        if not path.exists():
            return journal
        with path.open("rb+") as file:
            for line in file:
                try:
                    row: Any = json.loads(line) if line.endswith(b"\n") else None
                    failures = {int(i): str(why) for i, why in row["failures"].items()}
                    side, number = row["smallest"]
                    journal.files, journal.rows = int(row["files"]), dict(row["rows"])
                except (ValueError, TypeError, KeyError, AttributeError):
                    break
                journal.failures |= failures
                journal.smallest = (side, number)
                whole += len(line)
            file.truncate(whole)
        return journal

    def append(self, failures: dict[int, str]) -> None:
        """Write down where it stands, with the failures since this was last done."""
        row = {"files": self.files, "rows": self.rows, "failures": failures, "smallest": self.smallest}
        with self.path.open("ab") as file:
            file.write((json.dumps(row) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())


class Rows:
    """A .npy file of rows that are appended; its header says how many there are once it is closed.

    Args:
        path: of the file.
        shape: of a row.
        done: rows that are in it already; what lies behind them is cut off.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], done: int) -> None:
        self.path, self.shape, self.done = path, shape, done
        self._size = int(np.prod(shape))
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b")
        self._file.truncate(len(_header((0, *shape))) + done * self._size)
        self._file.seek(0, os.SEEK_END)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self._file.seek(0)
                self._file.write(_header((self.done, *self.shape)))
                self.sync()
        finally:
            self._file.close()

    def append(self, rows: NDArray[np.uint8]) -> None:
        """Write rows behind the others."""
        self._file.write(np.ascontiguousarray(rows).data)
        self.done += len(rows)

    def sync(self) -> None:
        """Have the disk hold what was written."""
        self._file.flush()
        os.fsync(self._file.fileno())


def _header(shape: tuple[int, ...]) -> bytes:
    """Of a .npy file of bytes; as long for few rows as for many, since the format leaves room for their number."""
    buffer = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, about)
    return buffer.getvalue()


def build_arrays(
    folder: Path, name: str, layout: Layout, size: int, skip_corrupt: bool, progress: Progress | None
) -> Decoded:
    """Decode a data set made of image files into `images.npy` and `test_images.npy`, from where it was left.

    Args:
        folder: a partial entry of this very data set, or an empty folder.
        name: of the data set.
        layout: its files.
        size: height and width wanted.
        skip_corrupt: leave out files that cannot be decoded.
        progress: called with (files done, files in all).

    Returns:
        Its arrays, the images mapped from those files.

    Raises:
        DataError: a file cannot be read, files are corrupt and `skip_corrupt` is not set, or it leaves a class
            without an image.
        OSError: no space is left; before anything is decoded where that can be told.
    """
    paths = layout.paths()
    num_pool = len(layout.train) + len(layout.unlabelled)
    journal = _resume(folder, len(paths), 3 * size * size)
    _check_space(folder, (len(paths) - journal.files) * 3 * size * size)
    for array, begin, end in (("images", 0, num_pool), ("test_images", num_pool, len(paths))):
        with Rows(folder / f"{array}.npy", (3, size, size), journal.rows[array]) as rows:
            start = min(max(begin, journal.files), end)
            _append_all(rows, array, layout.where, paths[start:end], journal, progress, len(paths))
    labels = label_layout(name, layout, journal.failures, skip_corrupt)
    images, test_images = (np.load(folder / f"{array}.npy", mmap_mode="r") for array in journal.rows)
    for array, wanted in ((images, labels.labels), (test_images, labels.test_labels)):
        if len(array) != len(wanted):
            raise DataError(f"{name}: {len(array)} images in {folder}, not {len(wanted)}: remove it")
    return labels.decoded(images, test_images, journal.smallest)


def _append_all(
    rows: Rows,
    array: str,
    where: Path,
    paths: Sequence[str],
    journal: Journal,
    progress: Progress | None,
    total: int,
) -> None:
    if progress is not None:
        progress(journal.files, total)
    failures: dict[int, str] = {}
    files, smallest, synced = journal.files, journal.smallest, time.monotonic()

    def save() -> None:
        rows.sync()
        journal.files, journal.smallest = files, smallest
        journal.rows = journal.rows | {array: rows.done}
        journal.append(failures)
        journal.failures |= failures
        failures.clear()

    for batch in decode_ahead(where, paths, rows.shape[-1]):
        failures |= {files + i: why for i, why in batch.failures.items()}
        kept = [i for i in range(len(batch.images)) if i not in batch.failures]
        rows.append(batch.images[kept] if batch.failures else batch.images)
        for i in kept:
            # Of equal ones the first counts.
            if batch.sides[i] < smallest[0]:
                smallest = (int(batch.sides[i]), files + i)
        files += len(batch.images)
        if time.monotonic() - synced > SYNC_SECONDS:
            save()
            synced = time.monotonic()
        if progress is not None:
            progress(files, total)
    if files > journal.files:
        save()


def _resume(folder: Path, total: int, row: int) -> Journal:
    """What can be trusted of a partial entry: nothing where its files are shorter than its journal says."""
    path = folder / JOURNAL
    journal = Journal.read(path)
    for array, rows in journal.rows.items():
        file = folder / f"{array}.npy"
        if (rows and (not file.exists() or file.stat().st_size < rows * row)) or journal.files > total:
            path.unlink()
            return Journal(path)
    return journal


def _check_space(folder: Path, wanted: int) -> None:
    free = shutil.disk_usage(folder).free
    if wanted > free:
        raise NoSpace(wanted, free)


class NoSpace(OSError):
    """What is to be written is more than the disk has free.

    Attributes:
        wanted: bytes that are needed.
        free: bytes that there are.
    """

    def __init__(self, wanted: int, free: int) -> None:
        super().__init__(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.wanted, self.free = wanted, free
