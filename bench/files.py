"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed."""

import contextlib
import errno
import itertools
import json
import math
import os
from pathlib import Path
from typing import Any

from bench.errors import RecordError
from bench.processes import mark_is_dead, process_mark

_COUNTER = itertools.count()
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def temporary(path: Path) -> Path:
    """A name beside `path` that nobody else uses, on any machine; readers skip it."""
    return path.with_name(f".{path.name}.{process_mark()}-{next(_COUNTER)}.tmp")


def left_behind(path: Path) -> bool:
    """Whether the process that was writing a temporary file is known to have ended."""
    mark = path.name.removesuffix(".tmp").rpartition("-")[0]
    return any(mark_is_dead(part) for part in _marks(mark))


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
    try:
        with place.open("wb") as file:
            file.write(data)
            if flush:
                file.flush()
                os.fsync(file.fileno())
        place.replace(path)
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    if flush:
        flush_folder(path.parent)


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


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: there is none.
        RecordError: it is cut short or broken; the text names the file.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise RecordError(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise RecordError(f"{path} cannot be read: not a JSON object")
    return value


def publish(source: Path, target: Path) -> bool:
    """Give `source` a second name unless somebody has taken it; says whether it was free.

    Where a file system has no hard links, the copy is an exclusive create.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        try:
            with target.open("xb") as file:
                file.write(source.read_bytes())
                file.flush()
                os.fsync(file.fileno())
        except FileExistsError:
            return False
    flush_folder(target.parent)
    return True


def publish_text(text: str, target: Path) -> bool:
    """Create a file with its content at once, unless it is there already; says whether it was free."""
    place = temporary(target)
    try:
        with place.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return publish(place, target)
    finally:
        place.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a broken file so that it is kept but never read again; gives its new name."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.broken-{number}")
        if not aside.exists():
            path.rename(aside)
            return aside
    raise AssertionError
