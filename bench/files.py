"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

import contextlib
import errno
import fcntl
import functools
import itertools
import json
import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.errors import RecordError, Unreadable
from bench.processes import mark_is_dead, process_mark

_COUNTER = itertools.count()
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)
_NO_FLAGS = (errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
# Of Linux: paths are from the working folder; fail where the new name is taken.
_AT_FDCWD, _RENAME_NOREPLACE = -100, 1

_ROOM = "make room there, then run the same line again with --retry-failed"
_AGAIN = "run the same line again with --retry-failed"
# What a file system says of itself -> what that is called, and what to do.
_TROUBLE = {
    errno.ENOSPC: ("no space left on the disk", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EROFS: ("the file system is read-only", f"once it can be written again, {_AGAIN}"),
    errno.ESTALE: ("stale NFS handle: the file server lost the file", _AGAIN),
    errno.EIO: ("the disk or the file server fails (input/output error)", f"once it is well again, {_AGAIN}"),
}


def trouble(error: OSError) -> str | None:
    """What is wrong with a file system, where, and what to do, in one line; None of any other error."""
    known = _TROUBLE.get(error.errno or 0)
    if known is None:
        return None
    what, then = known
    return f"{what}{f', at {error.filename}' if error.filename else ''}: {then}"


def cannot_read(path: Path, error: OSError) -> str:
    """The line for a file that the file system does not give."""
    return trouble(error) or f"{path} cannot be read: {error.strerror or error}"


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let an error of the operating system name a file: that of a write names none, or a temporary one."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def temporary(path: Path) -> Path:
    """A name beside `path` that nobody else uses, on any machine; readers skip it."""
    return path.with_name(f".{path.name}.{process_mark()}-{next(_COUNTER)}.tmp")


def left_behind(path: Path) -> bool:
    """Whether the process that was writing a temporary file is known to have ended."""
    mark = path.name.removesuffix(".tmp").rpartition("-")[0]
    return any(mark_is_dead(part) for part in _marks(mark))


def clear_left_behind(folder: Path, name: str) -> None:
    """Remove what processes that have ended left half written of a file that others may be writing, too."""
    for path in folder.glob(f".{name}.*.tmp"):
        if left_behind(path):
            path.unlink(missing_ok=True)


def _marks(name: str) -> list[str]:
    """Where a mark may begin in a file's name: after any of its dots."""
    return [name[k + 1 :] for k, letter in enumerate(name) if letter == "."]


def flush_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the file system lets one."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_bytes(path: Path, data: bytes, flush: bool = True) -> None:
    """Write a file whole; at no moment is there half of it at `path`.

    Args:
        path: the file.
        data: its content.
        flush: wait until the disk has it; only what a power cut may take does without.
    """
    place = temporary(path)
    with naming(path), _removed_if_it_fails(place):
        _write(place, data, flush)
        place.replace(path)
    if flush:
        flush_folder(path.parent)


def _write(path: Path, data: bytes, flush: bool = True) -> None:
    with path.open("wb") as file:
        file.write(data)
        if flush:
            file.flush()
            os.fsync(file.fileno())


@contextlib.contextmanager
def _removed_if_it_fails(place: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # On a file system that fails, the first error is the one to tell.
        with contextlib.suppress(OSError):
            place.unlink(missing_ok=True)
        raise


def append_text(path: Path, text: str) -> None:
    """Append to a file. Not whole: a kill or a full disk may leave a part, which readers must expect."""
    with naming(path), path.open("a") as file:
        file.write(text)


def plain(value: Any) -> Any:
    """JSON's types from what a run computes: NumPy and torch scalars as numbers, infinite and NaN as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, Path):
        return str(value)
    if hasattr(value, "item"):
        return plain(value.item())
    number = float(value)
    return number if math.isfinite(number) else None


def dumps(value: Any, indent: int | None = None) -> str:
    """JSON text that every reader accepts."""
    return json.dumps(plain(value), indent=indent, allow_nan=False)


def write_json(path: Path, value: Any, flush: bool = True) -> None:
    """Write a JSON file whole; see `write_bytes`."""
    write_bytes(path, (dumps(value, indent=1) + "\n").encode(), flush)


def read_whole(path: Path) -> bytes:
    """A file's content; asked for once more where a file server says that it was replaced just now."""
    try:
        return path.read_bytes()
    except OSError as error:
        if error.errno != errno.ESTALE:
            raise
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: there is none.
        Unreadable: the file system does not give it; it may be whole.
        RecordError: it is cut short or broken. The text names the file, here and there.
    """
    try:
        with naming(path):
            text = read_whole(path)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Unreadable(cannot_read(path, error)) from None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path} cannot be read: not a JSON object")
    return value


def publish(source: Path, target: Path) -> bool:
    """Give `source` a second name unless somebody has taken it; says whether it is ours.

    A reader finds the whole file or none. Where a file system has no hard links, a copy is renamed: by Linux's
    rename that replaces nothing, and where that is not known either, under a lock on the folder, which other
    machines may not see.
    """
    try:
        with naming(target):
            os.link(source, target)
    except FileExistsError:
        # A file server that is asked again because its answer was lost refuses what it has done already.
        if not _same(source, target):
            return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        if not _publish_copy(source, target):
            return False
    flush_folder(target.parent)
    return True


def _same(source: Path, target: Path) -> bool:
    try:
        return source.samefile(target)
    except FileNotFoundError:
        return False


def _publish_copy(source: Path, target: Path) -> bool:
    place = temporary(target)
    with naming(target), _removed_if_it_fails(place):
        _write(place, source.read_bytes())
        try:
            free = _rename_exclusively()(place, target)
        except OSError as error:
            if error.errno not in _NO_FLAGS:
                raise
            free = _rename_under_lock(place, target)
        if not free:
            place.unlink(missing_ok=True)
    return free


@functools.cache
def _rename_exclusively() -> Callable[[Path, Path], bool]:
    """A rename that replaces nothing; it says whether the name was free."""
    import ctypes

    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return _rename_under_lock

    def rename(place: Path, target: Path) -> bool:
        if call(_AT_FDCWD, os.fsencode(place), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) == 0:
            return True
        if (number := ctypes.get_errno()) == errno.EEXIST:
            return False
        raise OSError(number, os.strerror(number), str(target))

    return rename


def _rename_under_lock(place: Path, target: Path) -> bool:
    # The folder itself is locked: a lock file would have to be removed, and by whom after a kill?
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if target.exists():
            return False
        place.replace(target)
        return True
    finally:
        os.close(folder)


def publish_text(text: str, target: Path) -> bool:
    """Create a file with its content at once, unless it is there already; says whether it was free."""
    place = temporary(target)
    with naming(target), _removed_if_it_fails(place):
        _write(place, text.encode())
        free = publish(place, target)
    # Whether this can be removed changes nothing: the name is taken, by us or by another.
    with contextlib.suppress(OSError):
        place.unlink(missing_ok=True)
    return free


def set_aside(path: Path) -> Path:
    """Rename a broken file so that it is kept but never read again; gives its new name."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.broken-{number}")
        if not aside.exists():
            path.rename(aside)
            return aside
    raise AssertionError
