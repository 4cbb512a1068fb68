"""Whether a folder keeps what the harness builds on: exclusive creates, links, renames, and how fast it writes."""

import os
import time
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.files import temporary, write_bytes

MIB = 1 << 20
NUM_SMALL = 5


def speed(folder: Path, num_bytes: int = 64 * MIB) -> dict[str, float]:
    """Write a file of random bytes to the disk, and some small ones as records are written.

    Args:
        folder: where; nothing is left there.
        num_bytes: of the large file.

    Returns:
        `mib_per_second` of the large file, flush included; `small_ms` that a small file takes, rename included.

    Raises:
        OSError: the folder cannot be written.
    """
    block, path = os.urandom(MIB), temporary(folder / "speed")
    try:
        begun = time.perf_counter()
        with path.open("wb") as file:
            for _ in range(max(1, num_bytes // MIB)):
                file.write(block)
            file.flush()
            os.fsync(file.fileno())
        large = time.perf_counter() - begun
        begun = time.perf_counter()
        for _ in range(NUM_SMALL):
            write_bytes(path, b"{}\n")
        small = (time.perf_counter() - begun) / NUM_SMALL
    finally:
        path.unlink(missing_ok=True)
    return {"mib_per_second": num_bytes / MIB / large, "small_ms": 1000 * small}


def show_speed(facts: dict[str, Any]) -> str:
    """A speed in words."""
    return f"{facts['mib_per_second']:,.0f} MiB/s, a small file takes {facts['small_ms']:.1f} ms"


def promises(folder: Path, taken: Path | None = None) -> dict[str, str | None]:
    """Try what claims and results rest on; nothing is left in the folder.

    Args:
        folder: where.
        taken: a file that another machine has made: it must not be ours to make.

    Returns:
        What was tried -> what is wrong with it, or None.
    """
    tries = {"exclusive create": lambda: _exclusive(folder, taken), "hard link": lambda: _link(folder)}
    tries["rename over"] = lambda: _rename(folder)
    found: dict[str, str | None] = {}
    for name, attempt in tries.items():
        try:
            attempt()
            found[name] = None
        except _Broken as error:
            found[name] = str(error)
        except OSError as error:
            found[name] = error.strerror or str(error)
    return found


class _Broken(BenchError):
    """A file system does not keep a promise."""


def _exclusive(folder: Path, taken: Path | None) -> None:
    path = temporary(folder / "exclusive")
    try:
        path.open("x").close()
        for again in [path, *([taken] if taken is not None else [])]:
            try:
                again.open("x").close()
            except FileExistsError:
                continue
            raise _Broken("a file was made exclusively twice")
    finally:
        path.unlink(missing_ok=True)


def _link(folder: Path) -> None:
    source, target = temporary(folder / "source"), temporary(folder / "target")
    try:
        source.write_text("a")
        os.link(source, target)
        if source.stat().st_nlink != 2 or target.read_text() != "a":
            raise _Broken("a hard link is not the same file")
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)


def _rename(folder: Path) -> None:
    source, target = temporary(folder / "source"), temporary(folder / "target")
    try:
        target.write_text("old")
        source.write_text("new")
        source.replace(target)
        if target.read_text() != "new" or source.exists():
            raise _Broken("a rename did not replace the file")
    finally:
        source.unlink(missing_ok=True)
        target.unlink(missing_ok=True)
