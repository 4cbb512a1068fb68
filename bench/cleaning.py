"""What nobody needs any more: found first, removed once a person has agreed. No result, nothing that may be used."""

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import asked, claims
from bench.checkpoint import checkpoint_files
from bench.claims import Owner
from bench.dispatches import FILE, Dispatch, dispatches_dir
from bench.errors import RecordError, UsageError
from bench.files import left_behind, read_json, temporary
from bench.run_folder import RESULT, STATUS, attempt_dirs
from bench.scheduler import Unreachable, Word, cluster_name
from bench.status import UNDER_WAY, Standing, Survey, find_job

Kind = Literal["attempts", "broken", "temporary", "dispatches", "code", "runs"]
KINDS: dict[Kind, str] = {
    "attempts": "checkpoints and attempts of done cells that are not the published one",
    "broken": "files that were set aside as broken",
    "temporary": "files that processes which have ended left half written",
    "dispatches": "folders of submissions all of whose cells are done",
    "code": "copies of the source that no submission needs",
    "runs": "whole cells, results included",
}
CODE = "code"
# A submission whose folder is younger may be about to be written: a day is more than any clock is off.
ABANDONED_SECONDS = 86_400.0


@dataclass(frozen=True)
class Waste:
    """One file or folder to remove.

    Attributes:
        kind: see `KINDS`.
        path: of it.
        num_bytes: that it holds.
        cell: whose folder it is in; "" when it is in none.
    """

    kind: Kind
    path: Path
    num_bytes: int
    cell: str = ""


@dataclass
class Cleaning:
    """What was found.

    Attributes:
        waste: to remove.
        kept: why something that looks like waste is kept, a line each.
    """

    waste: list[Waste] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def add(self, kind: Kind, path: Path, cell: str = "") -> None:
        """Put down a file or folder."""
        self.waste.append(Waste(kind, path, size(path), cell))


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder; what vanishes meanwhile counts nothing."""
    total = 0
    with contextlib.suppress(OSError):
        if not path.is_dir() or path.is_symlink():
            return path.lstat().st_size
        with os.scandir(path) as entries:
            for entry in entries:
                total += size(Path(entry.path)) if entry.is_dir(follow_symlinks=False) else _bytes(entry)
    return total


def _bytes(entry: os.DirEntry[str]) -> int:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return 0


def in_use(one: Standing) -> bool:
    """Whether somebody may work on a cell, now or as soon as its job starts."""
    live = one.job is not None or (one.handed is not None and bool(one.handed.silent))
    return one.held or live or not one.sure or one.state in UNDER_WAY


def find_waste(everything: Survey, chosen: Iterable[str], word: Word, whole: bool) -> Cleaning:
    """What can go.

    Args:
        everything: where all cells stand, as `survey` finds it with `whole`.
        chosen: ids of the cells to look at.
        word: SLURM's.
        whole: these are all, so what belongs to no cell is looked at too.
    """
    found = Cleaning()
    ids = list(chosen)
    busy = [id for id in ids if in_use(everything.cells[id])]
    for id in ids:
        if not in_use(everything.cells[id]):
            found.waste += cell_waste(everything.cells[id])
    if busy:
        found.kept.append(f"left alone, as in use or maybe so: {len(busy)} of {len(ids)} cells")
    _find_dispatches(everything, set(ids), word, whole, found)
    if whole:
        results = everything.results
        for folder in (results, results / "runs", asked.asked_dir(results), dispatches_dir(results)):
            _find_left(folder, "", found)
    return found


def whole_cells(everything: Survey, chosen: Iterable[str]) -> Cleaning:
    """The cells themselves, results included.

    Raises:
        UsageError: one may be in use, or a cell that may be needs it.
    """
    ids = dict.fromkeys(chosen)
    needed = {
        one.cell.config["pretrain_id"]: one
        for one in everything.cells.values()
        if one.cell.kind != "pretrain" and in_use(one)
    }
    found = Cleaning()
    for id in ids:
        one = everything.cells[id]
        if (user := one if in_use(one) else needed.get(id)) is not None:
            raise UsageError(f"{user.cell.label} is {_use(user, everything)}, nothing was removed")
        if one.dir.is_dir():
            found.add("runs", one.dir, id)
    return found


def _use(one: Standing, all_: Survey) -> str:
    if one.sure and one.state in UNDER_WAY:
        return f"{one.state}: `bench cancel {one.id[:8]}` stops it"
    return f"in use, or may be: {all_.silent or one.reason or 'its job has not ended'}"


def cell_waste(one: Standing) -> list[Waste]:
    """What can go of a cell that nobody works on."""
    found = Cleaning()
    attempts = attempt_dirs(one.dir)
    published = _published(one) if one.trace.done else None
    for folder in attempts:
        if published is None or folder.name == published:
            _find_left(folder, one.id, found)
            for path in checkpoint_files(folder) if published else []:
                found.add("attempts", path, one.id)
        elif folder != attempts[0]:
            found.add("attempts", folder, one.id)
        else:
            # Its number stays taken, and its word stays: runs that start over count from the newest attempt on.
            for path in _children(folder):
                if path.name != STATUS:
                    found.add("attempts", path, one.id)
    _find_left(one.dir / "attempts", one.id, found)
    _find_left(one.dir, one.id, found)
    return found.waste


def _published(one: Standing) -> str | None:
    """Number of the attempt whose result is published; None when that cannot be told for sure."""
    try:
        name = str(read_json(one.dir / RESULT)["attempt"])
        return name if (one.dir / "attempts" / name / RESULT).is_file() else None
    except (FileNotFoundError, RecordError, KeyError):
        return None


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _find_left(folder: Path, cell: str, found: Cleaning) -> None:
    """Files set aside and files half written, of one folder."""
    for path in _children(folder):
        if path.name.startswith(".") and path.name.endswith(".tmp"):
            if left_behind(path):
                found.add("temporary", path, cell)
        elif ".broken-" in path.name:
            found.add("broken", path, cell)


def _find_dispatches(everything: Survey, ids: set[str], word: Word, whole: bool, found: Cleaning) -> None:
    kept: list[Dispatch] = []
    for dispatch in everything.dispatches:
        cells = {cell for pack in dispatch.packs for cell in pack.cells}
        done = cells <= ids and all(everything.cells[id].state == "done" for id in cells)
        if done and not any(in_use(everything.cells[id]) for id in cells) and _is_over(dispatch, word):
            found.add("dispatches", dispatch.dir)
        else:
            kept.append(dispatch)
    if not whole:
        return
    known = {dispatch.id for dispatch in everything.dispatches}
    begun = False
    for path in _children(dispatches_dir(everything.results)):
        if path.name[:1].isdigit() and path.name not in known:
            if (path / FILE).exists() or not _abandoned(path):
                begun = True
            else:
                found.add("dispatches", path)
    if begun:
        found.kept.append("copies of the source are kept: a submission cannot be read, or is being made")
        return
    needed = {Path(dispatch.code).name for dispatch in kept}
    for path in _children(dispatches_dir(everything.results) / CODE):
        if not path.name.startswith(".") and path.name not in needed and _abandoned(path):
            found.add("code", path)


def _is_over(dispatch: Dispatch, word: Word) -> bool:
    """Whether no job of a dispatch may start or come back; what cannot be known is not over."""
    try:
        if dispatch.submitter is not None and Owner(**dispatch.submitter).alive(word) is not False:
            return False
        if dispatch.cluster != cluster_name():
            return False
        jobs = [find_job(dispatch, pack, word) for pack in dispatch.packs]
    except (Unreachable, TypeError):
        return False
    return not any(job is not None and job.live for job in jobs)


def _abandoned(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except OSError:
        return False


def remove(waste: Iterable[Waste], everything: Survey, note: Callable[[str], None]) -> int:
    """Remove what was found, cell by cell under a claim, so that nobody begins meanwhile.

    Returns:
        Bytes that were freed; a line is noted for everything that could not be removed.
    """
    freed = 0
    by_cell: dict[str, list[Waste]] = {}
    for one in waste:
        by_cell.setdefault(one.cell, []).append(one)
    for cell, mine in by_cell.items():
        with _held(everything.cells[cell].dir if cell else None) as held:
            if not held:
                note(f"{everything.cells[cell].cell.label} was begun meanwhile and is left alone")
                continue
            for one in mine:
                try:
                    _remove(one.path)
                    freed += one.num_bytes
                except OSError as error:
                    note(f"{one.path} could not be removed: {error.strerror or error}")
    return freed


@contextlib.contextmanager
def _held(folder: Path | None) -> Iterator[bool]:
    """Hold a cell; whether it is held."""
    if folder is None or not folder.is_dir():
        yield True
        return
    try:
        mine = claims.claim(folder)
    except OSError as error:
        # On a full disk there is no room for a claim, and nothing that removing could disturb gets room either.
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        yield True
        return
    if isinstance(mine, claims.Owner):
        yield False
        return
    try:
        yield True
    finally:
        if folder.is_dir():
            mine.release()


def _remove(path: Path) -> None:
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
        return
    # Under another name first: at no moment is there half of a cell or of a submission.
    place = temporary(path)
    path.rename(place)
    shutil.rmtree(place)
