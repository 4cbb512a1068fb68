"""A copy of the source that jobs run from, so that editing the checkout does not change what waits in the queue."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench.errors import RecordError
from bench.files import dumps, flush_folder, left_behind, read_json, set_aside, temporary
from bench.provenance import SOURCE, git_state, hash_source, source_root

PACKAGES = ("bench", "models")
_LEFT_OUT = ("__pycache__", "*.pyc", ".*", "*.egg-info")


def folder(results: Path) -> Path:
    """Where the copies of a results folder are."""
    return results / "slurm" / "code"


def take(results: Path) -> Path:
    """Copy `bench` and `models` as they are now into a results folder, unless the same copy is there already.

    Returns:
        The folder to put on PYTHONPATH: `<results>/slurm/code/<hash of the source>-<commit>[-edited]`.

    Raises:
        RecordError: the source was edited while it was copied.
        OSError: the copy cannot be written.
    """
    root, state = source_root(), git_state()
    # Hashed now and not from this process's cache: the files may have been edited since it started.
    digest = hash_source(root)
    words = [digest, (state["commit"] or "")[:12], "edited" if state["dirty"] else ""]
    target = folder(results).absolute() / "-".join(word for word in words if word)
    if intact(target, digest):
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    for left in target.parent.glob(".*.tmp"):
        if left_behind(left):
            shutil.rmtree(left, ignore_errors=True)
    place = temporary(target)
    try:
        for package in PACKAGES:
            shutil.copytree(root / package, place / package, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        (place / SOURCE).write_text(
            dumps({**state, "source_hash": digest, "from": str(root)}, indent=1) + "\n"
        )
        if not intact(place, digest):
            raise RecordError(f"{root} was edited while it was copied: submit once more")
        _seal(place)
        _put(place, target, digest)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return target


def intact(copy: Path, digest: str) -> bool:
    """Whether a copy is there and its Python files are those that were copied."""
    try:
        return read_json(copy / SOURCE).get("source_hash") == digest == hash_source(copy)
    except (OSError, RecordError):
        return False


def _files(copy: Path) -> Iterator[Path]:
    return (path for path in copy.rglob("*") if path.is_file())


def _seal(copy: Path) -> None:
    """Read-only files that are on the disk; folders stay open, for byte code and for `bench clean`."""
    for path in _files(copy):
        path.chmod(0o444)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    for path in (copy, *(path for path in copy.rglob("*") if path.is_dir())):
        flush_folder(path)


def _put(place: Path, target: Path, digest: str) -> None:
    """Rename a copy to its place; of two at once one is kept, and a damaged one is set aside."""
    for _ in range(3):
        try:
            # A folder is never renamed onto one that has something in it.
            place.rename(target)
        except OSError:
            if not target.exists():
                raise
            if intact(target, digest):
                return
            with contextlib.suppress(FileNotFoundError):
                set_aside(target)
        else:
            flush_folder(target.parent)
            return
    raise RecordError(f"{target} is damaged and cannot be replaced")
