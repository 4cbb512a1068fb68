"""`bench cancel`."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from bench.cancelling import Cancellation, carry_out, plan_cancellation
from bench.commands.options import asks, counted, results_option, user_path
from bench.commands.selecting import choose, selection_options
from bench.errors import UsageError
from bench.records import Once
from bench.scheduler import Word
from bench.status import Standing, known_cells, survey


@click.command("cancel")
@selection_options
@click.option("--yes", is_flag=True, help="Do not ask.")
@results_option
def command(**given: Any) -> int:
    """Stop cells that run or wait: jobs, and processes of this machine. Asks first.

    A job none of whose cells is wanted any more is cancelled. One that has others to do goes on and leaves the chosen
    cells out. A process of this machine saves and stops, with all that it has not begun. `bench retry` takes up what
    was stopped. Without a selection: everything that is under way.

    \b
    bench cancel -m bigan
    bench cancel 3fa94c21
    """  # noqa: D301
    results: Path = user_path(given["results"]) or Path("results")
    broken = Once()
    known = known_cells(results, broken)
    everything = survey(results, known, Word(), broken)
    what = plan_cancellation(everything, choose(given, known, results, whole=True))
    if what.empty and what.unknown:
        why = everything.silent or what.unknown[0].reason
        raise UsageError(f"{_number(what.unknown, 'cell')} cannot be cancelled now: {why}")
    for line in _announce(what, everything.silent):
        click.echo(line)
    if what.empty:
        click.echo("nothing that is under way can be cancelled from here")
        return 0
    if not given["yes"] and not asks("stop them?"):
        click.echo("nothing was changed")
        return 0
    problems = carry_out(what)
    for line in problems:
        click.echo(f"bench: warning: {line}", err=True)
    place = [] if results == Path("results") else ["--results", str(results)]
    click.echo(f"next: {shlex.join(['bench', 'status', *place])}")
    return 1 if problems else 0


def _announce(what: Cancellation, silent: str) -> list[str]:
    lines = []
    if what.jobs:
        cells = [cell for mine in what.jobs.values() for cell in mine]
        lines.append(
            f"cancel {_number(list(what.jobs), 'job')} with {_number(cells, 'cell')}: {_some(what.jobs)}"
        )
    if what.marks:
        jobs = list(dict.fromkeys(one.handed.name for one in what.marks if one.handed))
        lines.append(f"leave {_number(what.marks, 'cell')} out of {_some(jobs)}, with other cells to do")
    if what.running:
        lines.append(
            "of these, what runs just now goes on to its end, unless its job comes back first:"
            f" {_labels(what.running)}"
        )
    for owner, cells in what.processes.items():
        lines.append(f"{owner}: save and stop {_labels(cells)}, and begin no other cell")
    for one in what.out_of_reach:
        owner = one.trace.owner
        how = (
            f"scancel {owner.job}" if owner and owner.job else f"kill {owner.pid} there" if owner else "wait"
        )
        lines.append(f"{one.cell.label} runs as {owner}, which bench did not submit: {how}")
    if what.unknown:
        why = silent or what.unknown[0].reason
        lines.append(
            f"left alone, as it cannot be known whether they run: {_number(what.unknown, 'cell')} ({why})"
        )
    return lines


def _number(things: Sequence[object], name: str) -> str:
    return counted(len(things), name)


def _some(names: Any) -> str:
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _labels(cells: Sequence[Standing]) -> str:
    return _some([one.cell.label for one in cells])
