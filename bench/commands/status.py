"""`bench status`."""

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click

from bench.commands import status_words as words
from bench.commands.options import json_option, results_option, user_path
from bench.commands.selecting import choose, is_selected, selected_words, selection_options
from bench.commands.status_next import next_line
from bench.errors import UsageError
from bench.records import Once
from bench.scheduler import Word
from bench.selection import parse_duration
from bench.status import UNDER_WAY, Survey, known_cells, survey

WATCH_SECONDS = "10s"


@click.command("status")
@selection_options
@results_option
@click.option(
    "--watch",
    is_flag=False,
    flag_value=WATCH_SECONDS,
    metavar="[TIME]",
    help="Look again every 10 s, or TIME.",
)
@click.option("--all", "everything", is_flag=True, help="Every cell by itself, reasons whole.")
@click.option("--check", is_flag=True, help="Exit with 3 while something is missing.")
@json_option
def command(**given: Any) -> int:
    """Where every cell stands: done, running, queued, failed, lost, and what to type next.

    Reads the folders first, then asks SLURM once where something hangs on it. Writes nothing. Cells are those that
    `bench run` was ever asked for here; the flags are those of `bench run`, and one that is absent restricts nothing.
    CELL is the beginning of an id.

    \b
    bench status
    bench status -m patchvae -s 2 --watch
    bench status --check || echo "not all done"

    \b
    done       there is a result, even where a job makes it again (--force)
    running    a process works on it
    retrying   its job was requeued and goes on where it was
    queued     in a job that waits, or that has others before it
    new        asked for, and nobody has it
    failed     it ended with an error: bench logs CELL
    lost       begun or submitted, and nobody works on it any more
    skipped    its pretraining failed
    stopped    interrupted or cancelled; goes on where it was
    """  # noqa: D301
    results: Path = user_path(given["results"]) or Path("results")
    seconds = None if given["watch"] is None else parse_duration(given["watch"])
    if given["as_json"] and seconds is not None:
        raise UsageError("--json is one answer: leave --watch away and ask again")
    broken, word = Once(), Word()
    look = _look(given, results, word, broken)
    while seconds is not None:
        if sys.stdout.isatty():
            # The screen anew, and no line of the one before it.
            click.echo("\033[H\033[2J", nl=False)
        _show(look, given)
        if look is None or not (look.of(*UNDER_WAY) or look.of("new")):
            break
        time.sleep(seconds)
        click.echo()
        look = _look(given, results, word, broken)
    else:
        _show(look, given)
    if given["check"]:
        if look is None:
            raise UsageError(f"nothing was ever asked for in {results}")
        return 0 if look.done else 3
    return 0


def _look(given: dict[str, Any], results: Path, word: Word, broken: Once) -> Survey | None:
    """The chosen cells; None where nothing is known and nothing was chosen."""
    known = known_cells(results, broken)
    if not known and not is_selected(given):
        return None
    chosen = choose(given, known, results)
    # A cell is skipped by what its pretraining is, so all are looked at.
    return survey(results, known, word, broken).only(chosen)


def _show(look: Survey | None, given: dict[str, Any]) -> None:
    if look is None:
        follow = next_line(Survey(given["results"], {}), ())
        if given["as_json"]:
            click.echo(words.as_json(Survey(given["results"], {}), follow))
        else:
            click.echo(f"nothing was ever asked for in {given['results']}; next: {follow}")
        return
    follow = next_line(look, selected_words(given))
    if given["as_json"]:
        click.echo(words.as_json(look, follow))
        return
    width = min(words.WIDTH, shutil.get_terminal_size((words.WIDTH, 24)).columns)
    lines = [words.heading(look)]
    if look.silent:
        lines.append(f"SLURM is silent, so what hangs on it is as it was last known: {look.silent}")
    if look.unread:
        lines.append(f"what was handed to SLURM is not known, so cells are as last known: {look.unread}")
    if again := sum(one.again for one in look.cells.values()):
        lines.append(f"{again} of the done are made again by jobs (--force)")
    lines += ["", *words.matrix(look, width), *words.details(look, given["everything"], width)]
    click.echo("\n".join([*lines, "", f"next: {follow}"]))
