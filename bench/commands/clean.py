"""`bench clean`."""

import contextlib
from pathlib import Path
from typing import Any

import click

from bench.cleaning import KINDS, Cleaning, find_waste, remove, whole_cells
from bench.commands.options import asks, results_option, table, user_path
from bench.commands.selecting import choose, is_selected, selection_options
from bench.errors import UsageError
from bench.records import Once
from bench.scheduler import Unreachable, Word
from bench.status import Survey, known_cells, survey

UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")


@click.command("clean")
@selection_options
@click.option("--runs", is_flag=True, help="Remove the selected cells whole, results included.")
@click.option("--dry-run", is_flag=True, help="Name every file and remove none.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@results_option
def command(**given: Any) -> int:
    """Remove what nobody needs any more: says what and how large it is, and asks.

    Of done cells: checkpoints, and attempts that are not the published one. Files that were set aside as broken or
    left half written by processes that have ended. Submissions all of whose cells are done, and copies of the source
    that none needs. Never a result, and nothing that a process or a job may use.

    \b
    bench clean --dry-run
    bench clean -m bigan --runs
    """  # noqa: D301
    results: Path = user_path(given["results"]) or Path("results")
    if given["runs"] and not is_selected(given):
        raise UsageError("--runs removes results: select cells, or remove the results folder yourself")
    broken, word = Once(), Word()
    known = known_cells(results, broken)
    everything = survey(results, known, word, broken, whole=True)
    if everything.unread:
        raise UsageError(f"what jobs need is not known, so nothing was removed: {everything.unread}")
    if everything.dispatches:
        # In one question, with the jobs of earlier submissions: each would be one of its own, to accounting.
        with contextlib.suppress(Unreachable):
            word.ask(pack.job for one in everything.dispatches for pack in one.packs if pack.job)
    if given["runs"]:
        found = whole_cells(everything, choose(given, known, results, whole=True))
    else:
        chosen = choose(given, known, results) if is_selected(given) or known else {}
        found = find_waste(everything, chosen, word, whole=not is_selected(given))
    for line in found.kept:
        click.echo(line)
    if everything.silent:
        click.echo(f"what hangs on SLURM is left alone: {everything.silent}")
    if not found.waste:
        click.echo("nothing to remove")
        return 0
    click.echo(_announce(found, everything, given))
    if given["dry_run"]:
        click.echo("nothing was removed")
        return 0
    if not given["yes"] and not asks(f"remove {amount(_total(found))}?"):
        click.echo("nothing was removed")
        return 0
    problems: list[str] = []
    freed = remove(found.waste, everything, problems.append)
    for line in problems:
        click.echo(f"bench: warning: {line}", err=True)
    click.echo(f"{amount(freed)} freed")
    return 1 if problems else 0


def amount(num_bytes: float) -> str:
    """Bytes as a person says them: "512 bytes", "3.4 GiB"."""
    unit = 0
    while num_bytes >= 1024 and unit + 1 < len(UNITS):
        num_bytes, unit = num_bytes / 1024, unit + 1
    return f"{num_bytes:.0f} {UNITS[unit]}" if unit == 0 else f"{num_bytes:.1f} {UNITS[unit]}"


def _total(found: Cleaning) -> int:
    return sum(one.num_bytes for one in found.waste)


def _announce(found: Cleaning, everything: Survey, given: dict[str, Any]) -> str:
    if given["dry_run"]:
        return "\n".join(f"{amount(one.num_bytes):>12}  {one.path}" for one in found.waste)
    rows = []
    for kind, title in KINDS.items():
        mine = [one for one in found.waste if one.kind == kind]
        if mine:
            rows.append([len(mine), amount(sum(one.num_bytes for one in mine)), title])
    lines = [table(["number", "size", "what"], rows)]
    if given["runs"]:
        done = sum(everything.cells[one.cell].state == "done" for one in found.waste)
        lines.append(
            f"{done} of these cells are done: their results will be gone, and only a new run brings them back"
        )
    return "\n".join(lines)
