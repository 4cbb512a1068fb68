"""One prepared data set in one cache folder: opened, written, published at once, the outdated ones removed.

An entry is a folder `<name>-<key>` with .npy files and fingerprint.json; the key covers the reader's
version and settings and the path, size and time of every source file, so that a changed source is another
entry. An entry is written under another name, synced and renamed: it is there whole or not at all. Image files are
decoded straight into that other name (`bench.data.partial`), where a preparation that was killed goes on.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.data.arrays import Decoded
from bench.data.corrupt import CorruptImages
from bench.data.locks import held_elsewhere, remove_left_locks
from bench.data.partial import JOURNAL
from bench.data.source import DatasetSpec, File, Source

SCHEMA = 1
IN_USE_SECONDS = 24 * 3600
JSON = "fingerprint.json"
# Of a partial entry: what it is of.
PARTIAL_JSON = "partial.json"
PARTIAL = ".partial-"
# A partial entry that nobody goes on with is removed by the next preparation after so long.
LEFT_SECONDS = 7 * 24 * 3600
# One of so many bytes took long enough to make to be kept when the disk is full, or for --skip-corrupt.
DEAR_BYTES = 1 << 30
FULL = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True)
class Listing:
    """The files of a source, without holding millions of them.

    Attributes:
        sha256: of their paths, sizes and times.
        count: of them.
        bytes: of all of them.
    """

    sha256: str
    count: int
    bytes: int

    @classmethod
    def of(cls, files: Sequence[File]) -> "Listing":
        """Of files; the digest is that of `json.dumps` of their list."""
        digest = hashlib.sha256(b"[")
        for number, file in enumerate(files):
            digest.update((", " if number else "").encode() + json.dumps(file).encode())
        digest.update(b"]")
        return cls(digest.hexdigest(), len(files), sum(file.size for file in files))


class Entry:
    """One prepared data set in one cache folder."""

    def __init__(
        self, folder: Path, spec: DatasetSpec, source: Source, listing: Listing, skip_corrupt: bool
    ) -> None:
        where = source.where
        inside = where is not None and where.is_relative_to(folder.parent)
        self.folder = folder
        self.place = "" if where is None else str(where.relative_to(folder.parent) if inside else where)
        kind = spec.name.partition(":")[0]  # of folder:PATH; its path is the place
        self.settings = [SCHEMA, kind, spec.version, spec.image_size, skip_corrupt, *source.settings]
        self.files, self.listing = listing, listing.sha256
        stem = (
            kind if kind == spec.name or where is None else re.sub(r"[^\w.-]+", "-", f"{kind}-{where.name}")
        )
        self.path = folder / f"{stem[:80]}-{_digest([self.settings, self.place, self.listing])}"
        # What is decoded is the same with broken files left out and without: only the verdict differs.
        self.decoded_by = [SCHEMA, kind, spec.version, spec.image_size, *source.settings]
        self.decoding = _digest([self.decoded_by, self.place, self.listing])

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

    def write(self, read: Callable[[Path], Decoded], alone: bool) -> None:
        """Publish arrays under the entry's name.

        Args:
            read: gives the arrays; may put some of them as .npy files into the folder that it is given, which holds
                what an earlier process has put there when it was killed.
            alone: whether the lock is held: nobody else works here, and what others left half done may be taken up
                or removed.
        """
        # Without the lock another may do the same beside us.
        name = self.decoding if alone else f"{_host()}-{uuid.uuid4().hex}"
        partial = self.folder / f"{PARTIAL}{name}"
        partial.mkdir(parents=True, exist_ok=True)
        about = {"settings": self.decoded_by, "source": self.place, "listing": self.listing}
        _write_bytes(partial / PARTIAL_JSON, json.dumps(about).encode())
        if alone:
            self._sweep(partial)
        try:
            decoded = read(partial)
            sizes = {f"{n}.npy": _keep_array(partial / f"{n}.npy", a) for n, a in decoded.arrays().items()}
            _write_bytes(partial / JSON, json.dumps(self._about(decoded, sizes), indent=1).encode())
            if self.path.exists() and self.open() is None:
                shutil.rmtree(self.path)
            try:
                partial.rename(self.path)
            except OSError:
                if self.open() is None:  # else a machine that shares the folder but not the lock was first
                    raise
                shutil.rmtree(partial, ignore_errors=True)
        except BaseException as error:
            if not (alone and _worth_keeping(partial, error)):
                shutil.rmtree(partial, ignore_errors=True)
            raise
        for name in (PARTIAL_JSON, JOURNAL):
            (self.path / name).unlink(missing_ok=True)
        self._remove_outdated()

    def _sweep(self, mine: Path) -> None:
        """Remove what killed processes left, but for what another preparation is at, or may go on with."""
        now = (mine / PARTIAL_JSON).stat().st_mtime
        for left in self.folder.glob(f"{PARTIAL}*"):
            key = left.name.removeprefix(PARTIAL)
            if left == mine or held_elsewhere(self.folder, key):
                continue
            # Where locks work, one that was made without them was made on another machine, or before they did.
            locked = re.fullmatch(r"[0-9a-f]{16}", key) is not None
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                about = json.loads((left / PARTIAL_JSON).read_text())
                outdated = locked and about["settings"] == self.decoded_by and about["source"] == self.place
                touched = left / (JOURNAL if locked else PARTIAL_JSON)
                if not outdated and now - touched.stat().st_mtime < LEFT_SECONDS:
                    continue
            shutil.rmtree(left, ignore_errors=True)
        remove_left_locks(
            self.folder, keep={path.name.removeprefix(PARTIAL) for path in self.folder.glob(f"{PARTIAL}*")}
        )

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
            "source_files": self.files.count,
            "source_bytes": self.files.bytes,
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


def _worth_keeping(partial: Path, error: BaseException) -> bool:
    """Whether the next preparation can go on with what one has left that ended by an error."""
    try:
        held = sum(path.stat().st_size for path in partial.iterdir()) if (partial / JOURNAL).exists() else 0
    except OSError:
        return False
    if isinstance(error, CorruptImages) or (isinstance(error, OSError) and error.errno in FULL):
        return held >= DEAR_BYTES
    # Asked to stop, or a file or disk that may answer again; not data that are refused.
    return held > 0 and (not isinstance(error, Exception) or isinstance(error.__cause__ or error, OSError))


def _digest(facts: object) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def _host() -> str:
    return re.sub(r"\W+", "-", socket.gethostname())


def _keep_array(path: Path, array: NDArray[Any]) -> int:
    """Write a .npy file unless the array is mapped from that very one. Returns its bytes."""
    mapped = array.filename if isinstance(array, np.memmap) else None
    # The same file, whatever it is called: NumPy resolves links.
    if mapped is not None and path.exists() and path.samefile(mapped):
        return path.stat().st_size
    return _write_array(path, array)


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
