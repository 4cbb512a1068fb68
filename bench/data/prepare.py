"""Decode a data set once and keep its arrays beside a fingerprint.

An entry is a folder `<name>-<key>` with .npy files and fingerprint.json; the key covers the reader's
version and settings and the path, size and time of every source file, so that a changed source is another
entry. An entry is written under another name, synced and renamed: it is there whole or not at all.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.arrays import Dataset, Decoded
from bench.data.source import DatasetSpec, File, Progress, Source
from bench.errors import DataError

SCHEMA = 1
IN_USE_SECONDS = 24 * 3600
JSON = "fingerprint.json"
FULL = {errno.ENOSPC, errno.EDQUOT}


def cache_folders(root: Path | None) -> list[Path]:
    """Where entries may be: the data folder's .bench, then $BENCH_CACHE or ~/.cache/bench."""
    fallback = os.environ.get("BENCH_CACHE") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/bench"
    folders = [Path(fallback).expanduser()]
    if root is not None and root.is_dir():
        folders.insert(0, root / ".bench")
    return folders


def prepared(
    spec: DatasetSpec,
    source: Source,
    root: Path | None,
    skip_corrupt: bool = False,
    min_side: int = 8,
    progress: Progress | None = None,
) -> Dataset:
    """The data set's arrays, memory-mapped from an entry that is there or made now.

    Args:
        spec: its row.
        source: what its reader found.
        root: the data folder.
        skip_corrupt: drop files that cannot be decoded instead of refusing the data set.
        min_side: refuse images whose shorter side has fewer pixels.
        progress: called with (files done, files in all) while decoding.

    Raises:
        DataError: the source is broken, an image is too small, no space is left, or no folder can be written.
    """
    files = source.list_files()
    unwritable = []
    folders = cache_folders(root)
    for folder in folders:
        entry = Entry(folder, spec, source, files, skip_corrupt)
        found = entry.open()
        if found is not None:
            return _accept(found, spec, min_side)
    for folder in folders:
        entry = Entry(folder, spec, source, files, skip_corrupt)
        try:
            with _locked(folder) as alone:
                found = entry.open()  # another process may have finished it meanwhile
                if found is None:
                    entry.write(_read(spec, source, skip_corrupt, min_side, progress), sweep=alone)
                    found = entry.open()
                    if found is None:
                        raise DataError(f"{entry.path} was written but cannot be read back")
                return _accept(found, spec, min_side)
        except OSError as error:
            if error.errno in FULL:
                raise DataError(
                    f"no space left in {folder} for the arrays of {spec.name}: free some, or clear {folder}"
                ) from error
            unwritable.append(f"{folder} ({error.strerror or error})")
    if source.light:
        return _read(spec, source, skip_corrupt, min_side, progress).dataset(spec.name, spec.flip)
    raise DataError(
        f"nowhere to keep the arrays of {spec.name}: cannot write to"
        f" {', '.join(unwritable)}; set BENCH_CACHE to a folder that can be written"
    )


class Entry:
    """One prepared data set in one cache folder."""

    def __init__(
        self, folder: Path, spec: DatasetSpec, source: Source, files: Sequence[File], skip_corrupt: bool
    ) -> None:
        where = source.where
        inside = where is not None and where.is_relative_to(folder.parent)
        self.folder = folder
        self.place = "" if where is None else str(where.relative_to(folder.parent) if inside else where)
        kind = spec.name.partition(":")[0]  # of folder:PATH; its path is the place
        self.settings = [SCHEMA, kind, spec.version, spec.image_size, skip_corrupt, *source.settings]
        self.listing = hashlib.sha256(json.dumps(list(files)).encode()).hexdigest()
        self.files = files
        stem = (
            kind if kind == spec.name or where is None else re.sub(r"[^\w.-]+", "-", f"{kind}-{where.name}")
        )
        key = hashlib.sha256(json.dumps([self.settings, self.place, self.listing]).encode()).hexdigest()
        self.path = folder / f"{stem[:80]}-{key[:16]}"

    def open(self) -> tuple[Decoded, str] | None:
        """The arrays and their sha256; None if the entry is not there or damaged."""
        try:
            about = json.loads((self.path / JSON).read_text())
            if about["settings"] != self.settings or about["listing"] != self.listing:
                return None
            for name, size in about["bytes"].items():
                if (self.path / name).stat().st_size != size:
                    return None
            arrays = {name: np.load(self.path / f"{name}.npy", mmap_mode="r") for name in about["arrays"]}
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):
            os.utime(self.path / JSON)  # in use: see _remove_outdated
        decoded = Decoded(
            images=arrays["images"],
            labels=np.array(arrays["labels"]),
            test_images=arrays["test_images"],
            test_labels=np.array(arrays["test_labels"]),
            num_train=about["counts"]["train"],
            pool_start=about["pool_start"],
            classes=tuple(about["classes"]),
            corrupt=tuple(about["corrupt"]),
            notes=tuple(about["notes"]),
            smallest=about["smallest"],
            smallest_name=about["smallest_name"],
        )
        return decoded, about["sha256"]

    def write(self, decoded: Decoded, sweep: bool) -> None:
        """Publish the arrays under the entry's name.

        Args:
            decoded: what to publish.
            sweep: remove what killed processes of this machine left; only for the holder of the lock.
        """
        for left in self.folder.glob(f"{_partial_prefix()}*") if sweep else ():
            shutil.rmtree(left, ignore_errors=True)
        partial = self.folder / f"{_partial_prefix()}{uuid.uuid4().hex}"
        partial.mkdir(parents=True)
        try:
            sizes = {f"{n}.npy": _write_array(partial / f"{n}.npy", a) for n, a in decoded.arrays().items()}
            _write_bytes(partial / JSON, json.dumps(self._about(decoded, sizes), indent=1).encode())
            if self.path.exists() and self.open() is None:
                shutil.rmtree(self.path)
            try:
                partial.rename(self.path)
            except OSError:
                if self.open() is None:  # else a machine that shares the folder but not the lock was first
                    raise
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        self._remove_outdated()

    def _about(self, decoded: Decoded, sizes: dict[str, int]) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "sha256": decoded.fingerprint(),
            "counts": {
                "train": decoded.num_train,
                "test": len(decoded.test_labels),
                "pool": len(decoded.labels) - decoded.pool_start,
            },
            "pool_start": decoded.pool_start,
            "settings": self.settings,
            "source": self.place,
            "source_files": len(self.files),
            "source_bytes": sum(file.size for file in self.files),
            "listing": self.listing,
            "arrays": list(decoded.arrays()),
            "bytes": sizes,
            "classes": decoded.classes,
            "corrupt": decoded.corrupt,
            "notes": decoded.notes,
            "smallest": decoded.smallest,
            "smallest_name": decoded.smallest_name,
        }

    def _remove_outdated(self) -> None:
        """Remove entries whose source has changed since and that nobody has opened for a day.

        A day, because another machine may have the files of an outdated one memory-mapped.
        """
        for other in self.folder.glob(f"*/{JSON}"):
            if other.parent == self.path or other.parent.name.startswith("."):
                continue
            with contextlib.suppress(OSError, ValueError, KeyError):
                about = json.loads(other.read_text())
                same = about["settings"] == self.settings and about["source"] == self.place
                # By the clock of the file system on both sides, which this machine's may not agree with.
                if same and (self.path / JSON).stat().st_mtime - other.stat().st_mtime > IN_USE_SECONDS:
                    shutil.rmtree(other.parent)


def _read(
    spec: DatasetSpec, source: Source, skip_corrupt: bool, min_side: int, progress: Progress | None
) -> Decoded:
    try:
        decoded = source.read(skip_corrupt, progress)
    except OSError as error:  # not to be taken for a cache folder that cannot be written
        raise DataError(f"{spec.name}: cannot read {error.filename}: {error.strerror}") from error
    _refuse_small(spec.name, decoded, min_side)
    return decoded


def _accept(found: tuple[Decoded, str], spec: DatasetSpec, min_side: int) -> Dataset:
    decoded, sha256 = found
    _refuse_small(spec.name, decoded, min_side)
    return decoded.dataset(spec.name, spec.flip, sha256)


def _refuse_small(name: str, decoded: Decoded, min_side: int) -> None:
    if decoded.smallest is not None and decoded.smallest < min_side:
        raise DataError(
            f"{name}: {decoded.smallest_name} has only {decoded.smallest} pixels on its shorter side;"
            f" the backbone's stride needs {min_side}"
        )


def _partial_prefix() -> str:
    host = re.sub(r"\W+", "-", socket.gethostname())
    return f".partial-{host}-"


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[bool]:
    """One preparation at a time in a folder; the kernel lets go when its holder dies.

    Yields False where the file system has no locks: two may work side by side, the first to finish is kept.
    Leaves neither lock nor an empty folder behind.
    """
    path = folder / ".lock"
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = path.open("a")
        except FileNotFoundError:  # the last holder removed the folder since
            continue
        locked = False
        with contextlib.suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
            locked = True
        if not locked or _is_still(path, lock.fileno()):
            break
        lock.close()  # the last holder removed the file while we waited
    try:
        yield locked
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.close()
        with contextlib.suppress(OSError):
            folder.rmdir()  # if nothing came of it


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _write_array(path: Path, array: NDArray[Any]) -> int:
    """Write a .npy file; unlike `np.save`, a full disk is an OSError that says so. Returns its bytes."""
    array = np.ascontiguousarray(array)
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
        file.write(array.data.cast("B") if array.size else b"")
        file.flush()
        os.fsync(file.fileno())
        return file.tell()


def _write_bytes(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
