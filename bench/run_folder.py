"""A cell's folder: the names in it, its attempts, what a kill leaves there."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.checkpoint import checkpoint_files
from bench.config import config_id
from bench.errors import RecordError, Unreadable
from bench.files import flush_folder, left_behind, publish, read_json, set_aside, temporary, write_json

RESULT, CONFIG, STATUS, PROVENANCE, PROGRESS, METRICS, LOG = (
    "result.json", "config.json", "status.json", "provenance.json", "progress.json", "metrics.jsonl", "log.txt",
)  # fmt: skip
PROGRESS_SECONDS = 10.0


def run_dir(results: Path, cell_id: str) -> Path:
    """Where a cell's files are."""
    return results / "runs" / cell_id


def attempt_dirs(folder: Path, on_stray: Callable[[str], object] = str) -> list[Path]:
    """The attempts of a run, the newest first.

    Args:
        folder: of the run.
        on_stray: told of what lies among them and is none.
    """
    parent = Path(f"{folder}/attempts")
    try:
        with os.scandir(parent) as entries:
            dirs = {entry.name: entry.name.isdecimal() and entry.is_dir() for entry in entries}
    except FileNotFoundError:
        return []
    except NotADirectoryError:
        on_stray(f"{parent} is not a folder")
        return []
    for name, ours in dirs.items():
        if not ours and name[:1] != ".":
            on_stray(f"{parent / name} is no attempt: it is left alone")
    names = [name for name, ours in dirs.items() if ours]
    return [Path(f"{parent}/{name}") for name in sorted(names, key=int, reverse=True)]


def make_attempt(folder: Path) -> Path:
    """Make the folder of a new attempt; its number is above all others."""
    parent = folder / "attempts"
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in attempt_dirs(folder)), default=0)
    while True:
        number += 1
        try:
            (parent / f"{number:04d}").mkdir()
        except FileExistsError:
            continue
        # Else a power cut could take the folder of files that are safe on the disk.
        for above in (parent, folder, folder.parent):
            flush_folder(above)
        return parent / f"{number:04d}"


def newest_attempt(folder: Path) -> int:
    """Number of a run's newest attempt; 0 when there is none."""
    return next((int(path.name) for path in attempt_dirs(folder)), 0)


def write_config(folder: Path, config: dict[str, Any]) -> str | None:
    """Write a run's config.json unless it is there; one that is broken or another cell's is set aside.

    Returns:
        What to tell the user, if anything.

    Raises:
        Unreadable: the file system does not give it now.
    """
    path, said = folder / CONFIG, None
    try:
        if config_id(read_json(path)) == config_id(config):
            return None
    except FileNotFoundError:
        pass
    except Unreadable:
        raise
    except RecordError:
        said = f"{path} was broken"
    else:
        said = f"{path} was another cell's"
    if said is not None:
        said = f"{said}: set aside as {set_aside(path).name} and written again"
    write_json(path, config)
    return said


def is_result(row: dict[str, Any], cell_id: str) -> bool:
    """Whether a JSON object is the result of a cell."""
    attempt = row.get("attempt")
    return row.get("id") == cell_id and isinstance(attempt, str) and attempt.isdecimal()


def set_broken_result_aside(folder: Path) -> Path | None:
    """Set a run's result.json aside where it is broken or another cell's, so that a new one can be published.

    Returns:
        Its new name; None when there is none.

    Raises:
        Unreadable: the file system did not give it when it was asked first, or does not now.
    """
    path = folder / RESULT
    try:
        if is_result(read_json(path), folder.name):
            raise Unreadable(f"{path} could not be read a moment ago, and can now: run the same line again")
    except FileNotFoundError:
        return None
    except Unreadable:
        raise
    except RecordError:
        pass
    return set_aside(path)


def publish_result(source: Path, target: Path, forget: int) -> bool:
    """Give an attempt's result the name that marks the cell done, by an exclusive link.

    Args:
        source: the attempt's result.
        target: the run's.
        forget: a result of an attempt up to this number, or a broken one, is replaced.

    Returns:
        Whether it is published now; False when another attempt's is.

    Raises:
        Unreadable: the one that is there may be a later attempt's.
    """
    if not forget or not target.exists():
        return publish(source, target)
    try:
        if int(read_json(target)["attempt"]) > forget:
            return False
    except Unreadable:
        raise
    except (FileNotFoundError, RecordError, KeyError, TypeError, ValueError):
        # Gone or broken: nothing to lose.
        pass
    place = temporary(target)
    if not publish(source, place):
        raise RecordError(f"{place} is in the way")
    place.replace(target)
    return True


def clear_temporary(folder: Path, up_to: int) -> None:
    """Remove what a kill left half written, of attempts up to a number. The run's claim must be the caller's.

    Others may be writing a claim to it all the same, and a later attempt may have taken it over.
    """
    for path in folder.glob(".*.tmp"):
        if not path.name.startswith(".claim.json") or left_behind(path):
            path.unlink(missing_ok=True)
    for path in folder.glob("attempts/*/.*.tmp"):
        if int(path.parent.name) <= up_to:
            path.unlink(missing_ok=True)


def sweep(folder: Path, up_to: int) -> None:
    """Remove what a finished run needs no more, too; see `clear_temporary`.

    That is checkpoints, and the weights and arrays of attempts that ended before their result. What such an
    attempt says of itself stays, some kilobytes: what it cost, and why it ended.
    """
    for attempt in attempt_dirs(folder):
        if int(attempt.name) > up_to:
            continue
        arrays = (
            [] if (attempt / RESULT).exists() else [*attempt.glob("*.npz"), attempt / "model.safetensors"]
        )
        for path in [*checkpoint_files(attempt), *arrays]:
            path.unlink(missing_ok=True)
    clear_temporary(folder, up_to)
