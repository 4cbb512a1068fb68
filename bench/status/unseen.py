"""What the folders of cells do not tell: that a job makes a done one again, and what an unreadable record hides."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from bench.dispatches import Dispatch, Pack, dispatches_dir
from bench.errors import RecordError
from bench.files import read_json
from bench.run_folder import RESULT, run_dir
from bench.status.standing import Standing, State

# What no submission can change.
CERTAIN: tuple[State, ...] = ("done", "running")


def unread(results: Path) -> str:
    """Why nobody can know what was handed to a scheduler; "" where that can be read, or where there is nothing."""
    folder = dispatches_dir(results)
    try:
        with os.scandir(folder):
            return ""
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        return f"{folder} cannot be read: {error.strerror or error}"


def doubted(cells: Mapping[str, Standing]) -> dict[str, Standing]:
    """The cells where jobs are unknown: any that is neither done nor seen to run may be in one."""
    return {id: one if one.state in CERTAIN else replace(one, sure=False) for id, one in cells.items()}


def to_remake(results: Path, done: Iterable[str], places: Mapping[str, tuple[Dispatch, Pack]]) -> set[str]:
    """Ids of done cells that the newest submission of each was told to make again, and that are as they were.

    Args:
        results: the results folder.
        done: ids of the cells to look at.
        places: what `bench.dispatches.jobs_of` gave.
    """
    forget: dict[Path, Mapping[str, int]] = {}
    found = set()
    for id in done:
        dispatch, pack = places.get(id, (None, None))
        # Nothing else asks for it, and only then are files of packs and results worth reading.
        if dispatch is None or pack is None or "--force" not in dispatch.argv:
            continue
        path = dispatch.pack_path(pack)
        if path not in forget:
            forget[path] = _forget(path)
        if _published(run_dir(results, id)) <= forget[path].get(id, 0):
            found.add(id)
    return found


def _forget(path: Path) -> Mapping[str, int]:
    try:
        found = read_json(path).get("forget")
    except (FileNotFoundError, RecordError):
        # Cleaned away or broken: its job can do nothing.
        return {}
    return found if isinstance(found, dict) else {}


def _published(folder: Path) -> int:
    """Number of the attempt whose result counts; one that cannot be read is taken for new."""
    try:
        return int(read_json(folder / RESULT)["attempt"])
    except (FileNotFoundError, RecordError, KeyError, ValueError):
        return 1 << 62
