"""`bench logs`."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from bench.commands.options import results_option, user_path
from bench.commands.selecting import by_prefix
from bench.records import Once
from bench.run_folder import LOG, attempt_dirs
from bench.scheduler import Word
from bench.status import UNDER_WAY, Known, Standing, known_cells, survey

TAIL_LINES = 40
TAIL_BYTES = 1 << 16
POLL_SECONDS = 1.0
# How often the cell's state is looked up while it is followed: each costs a question to SLURM.
STATE_SECONDS = 5.0


@click.command("logs")
@click.argument("prefix", metavar="CELL")
@click.option("-f", "--follow", is_flag=True, help="Go on with what comes until the cell ends.")
@click.option("--all", "everything", is_flag=True, help="Every attempt, and all lines.")
@results_option
def command(prefix: str, follow: bool, everything: bool, results: Path) -> int:
    """What a cell has written: the log of its newest attempt, then output and errors of its job.

    CELL is the beginning of an id that `bench status` prints. Of a long file the last 40 lines are shown; a job's
    output tells of its other cells too. Ctrl-C ends -f, not the cell.

    \b
    bench logs 3fa94c21
    bench logs 3fa94c21 -f
    """  # noqa: D301
    results = user_path(results) or results
    broken, word = Once(), Word()
    known = known_cells(results, broken)
    [cell_id] = by_prefix(prefix, known, results)
    mine = _with_pretraining(cell_id, known)
    one = survey(results, mine, word, broken, whole=True).cells[cell_id]
    click.echo(_says(one))
    files = _Files(one, everything)
    for line in files.first():
        click.echo(line)
    if not files.seen:
        click.echo("nothing was written yet" if one.state in (*UNDER_WAY, "new") else "nothing was written")
    if follow:
        _follow(one, files, lambda: survey(results, mine, word, broken, whole=True).cells[cell_id])
    return 0


def _with_pretraining(cell_id: str, known: dict[str, Known]) -> dict[str, Known]:
    """The cell and the one that decides whether it is skipped."""
    ids = (known[cell_id].cell.config.get("pretrain_id"), cell_id)
    return {id: known[id] for id in ids if id in known}


def _says(one: Standing) -> str:
    return f"{one.id} {one.cell.label}: {one.state}" + (f": {one.reason}" if one.reason else "")


def _follow(one: Standing, files: "_Files", look: Callable[[], Standing]) -> None:
    looked = time.monotonic()
    while True:
        ended = one.state not in (*UNDER_WAY, "new")
        # What was written up to the end is read after the end was seen.
        for line in files.more(one):
            click.echo(line)
        if ended:
            click.echo(_says(one))
            return
        time.sleep(POLL_SECONDS)
        if time.monotonic() - looked >= STATE_SECONDS:
            one, looked = look(), time.monotonic()


def log_files(one: Standing, everything: bool) -> list[Path]:
    """The files that tell of a cell: of its newest attempt or all, the oldest first, then of its job."""
    attempts = attempt_dirs(one.dir)
    files = [folder / LOG for folder in reversed(attempts if everything else attempts[:1])]
    if one.handed is not None:
        pack, job = one.handed.pack, one.handed.job
        if pack.job is None and job is not None:
            pack = replace(pack, job=job.array_id)
        files += one.handed.dispatch.log_paths(pack)
    return files


class _Files:
    """The files of a cell, and how far each was shown."""

    def __init__(self, one: Standing, everything: bool) -> None:
        self._everything = everything
        self._one = one
        self.seen: dict[Path, int] = {}
        self._last: Path | None = None

    def first(self) -> Iterator[str]:
        """What is there now, each file below its name."""
        for path in log_files(self._one, self._everything):
            try:
                text, end = _tail(path, None if self._everything else TAIL_LINES)
            except FileNotFoundError:
                continue
            except OSError as error:
                yield from ("", f"== {path}", f"cannot be read: {error.strerror or error}")
                continue
            self.seen[path], self._last = end, path
            yield from ("", f"== {path}", *text.splitlines())

    def more(self, one: Standing) -> Iterator[str]:
        """What has come since; a job that comes back and a new attempt bring files of their own."""
        for path in log_files(one, self._everything):
            try:
                with path.open("rb") as file:
                    file.seek(self.seen.get(path, 0))
                    # Half a line, or half a letter, waits for its end.
                    text = file.read().rpartition(b"\n")[0]
            except OSError:
                # Not there yet, or away for a moment as a shared file system is now and then: asked again soon.
                continue
            if not text:
                continue
            if path != self._last:
                yield from ("", f"== {path}")
                self._last = path
            self.seen[path] = self.seen.get(path, 0) + len(text) + 1
            yield from text.decode(errors="replace").splitlines()


def _tail(path: Path, lines: int | None) -> tuple[str, int]:
    """The end of a file as whole lines, and how far it was read."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        start = 0 if lines is None else max(0, size - TAIL_BYTES)
        file.seek(start)
        text = file.read()
    if lines is None:
        return text.decode(errors="replace"), start + len(text)
    # A first line that the cut has halved is left out.
    whole = text if not start else text.partition(b"\n")[2]
    rows = whole.decode(errors="replace").splitlines()
    left_out = [f"... (--all shows the beginning of {path.name})"] if start or len(rows) > lines else []
    return "\n".join([*left_out, *rows[-lines:]]), start + len(text)
