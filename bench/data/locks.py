"""One preparation of a data set at a time in a cache folder; of different data sets as many as like."""

import contextlib
import fcntl
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

PREFIX = ".lock-"


@contextlib.contextmanager
def locked(folder: Path, key: str, waiting: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock of what is prepared under a key; the kernel lets go when its holder dies.

    Yields False where the file system has no locks: two may work side by side, the first to finish is kept.
    Leaves neither lock nor an empty folder behind.

    Args:
        folder: in which it is prepared; made if need be.
        key: of what is prepared.
        waiting: called once if another process holds the lock.
    """
    path = _path(folder, key)
    told = False
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = path.open("a")
        except FileNotFoundError:  # the last holder removed the folder since
            continue
        held = False
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if not told:
                    waiting()
                told = True
                fcntl.flock(lock, fcntl.LOCK_EX)
            held = True
        if not held or _is_still(path, lock.fileno()):
            break
        lock.close()  # the last holder removed the file while we waited
    try:
        yield held
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        lock.close()
        with contextlib.suppress(OSError):
            folder.rmdir()  # if nothing came of it


def held_elsewhere(folder: Path, key: str) -> bool:
    """Whether a process holds the lock of a key at this moment."""
    try:
        with _path(folder, key).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def remove_left_locks(folder: Path, keep: Collection[str]) -> None:
    """Remove the locks that killed processes left, but for those of some keys."""
    for path in folder.glob(f"{PREFIX}*"):
        if path.name.removeprefix(PREFIX) in keep:
            continue
        # Held while it is removed: who has opened it meanwhile finds that it is gone.
        with contextlib.suppress(OSError), path.open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_still(path, lock.fileno()):
                path.unlink()


def _path(folder: Path, key: str) -> Path:
    return folder / f"{PREFIX}{key}"


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
