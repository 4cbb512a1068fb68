"""The results folder itself: whose it is, and whether it can be written. bench.json in it holds the schema.

What was published is one file instead, alone or in a folder.
"""

import os
from collections.abc import Callable
from pathlib import Path

from bench.broken import warn
from bench.config import SCHEMA
from bench.errors import RecordError, Unreadable, UsageError
from bench.files import clear_left_behind, read_json, set_aside, write_json

FOLDER = "bench.json"
# The one file that a folder of published records holds.
PACKED = "records.parquet"
MIN_FREE_BYTES = 16 << 20


def check_results(results: Path, on_broken: Callable[[str], None] = warn) -> None:
    """Refuse a results folder of another version; a new or empty one is fine.

    Args:
        results: the folder.
        on_broken: told of a bench.json that is broken; each cell says by its id which version it is of.

    Raises:
        UsageError: it is no folder, or was written by an incompatible version.
    """
    first = next((path for path in (results, *results.absolute().parents) if path.exists()), None)
    if first is not None and not first.is_dir():
        inside = "" if first == results else f": {first} is a file"
        raise UsageError(f"{results} is not a folder{inside}")
    try:
        schema = read_json(results / FOLDER).get("schema")
    except FileNotFoundError:
        return
    except Unreadable as error:
        raise UsageError(str(error)) from None
    except RecordError as error:
        on_broken(f"{error}; the next `bench run` sets it aside and writes it again")
        return
    if schema != SCHEMA:
        raise UsageError(
            f"{results} was written by an incompatible version of bench (schema {schema!r}; this one has"
            f" {SCHEMA}): choose another folder with --results"
        )


def open_results(results: Path, create: bool = True) -> None:
    """Check that runs can be written into a folder, then make it one of ours.

    Args:
        results: the folder.
        create: write it; otherwise only look, as `--dry-run` does.

    Raises:
        UsageError: another version's folder, one that cannot be written, or a full one. Nothing is written.
    """
    broken: list[str] = []
    check_results(results, broken.append)
    parent = next(path for path in (results, *results.absolute().parents) if path.exists())
    try:
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UsageError(f"{results} cannot be written: choose another folder with --results")
        space = os.statvfs(parent)
        # A file system that counts no blocks does not say how full it is.
        if space.f_blocks and (free := space.f_bavail * space.f_frsize) < MIN_FREE_BYTES:
            raise UsageError(
                f"no space left for {results}: {free >> 20} MiB free, a run needs {MIN_FREE_BYTES >> 20}:"
                " make room there, or choose another folder with --results"
            )
        if create:
            (results / "runs").mkdir(parents=True, exist_ok=True)
            clear_left_behind(results, FOLDER)
            if broken:
                warn(f"{results / FOLDER} was broken: set aside as {set_aside(results / FOLDER).name}")
            if not (results / FOLDER).exists():
                write_json(results / FOLDER, {"schema": SCHEMA})
    except OSError as error:
        raise UsageError(f"{results} cannot be written: {error.strerror or error}") from None


def packed_file(results: Path) -> Path | None:
    """The file of packed records that a path means; None where it means a results folder."""
    if results.is_file():
        return results
    if (results / PACKED).is_file() and not (results / "runs").is_dir():
        return results / PACKED
    return None


def report_folder(results: Path) -> Path:
    """Where the report of a results folder or a packed file goes unless told otherwise."""
    if results.is_file():
        return results.parent / ("report" if results.name == PACKED else f"{results.stem}-report")
    return results / "report"
