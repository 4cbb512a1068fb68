"""`bench retry`."""

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click

from bench.commands.again import Overrides, plans, run_again
from bench.commands.options import (
    automatic,
    counted,
    data_option,
    executor_options,
    jobs_of,
    jobs_options,
    json_option,
    results_option,
    typed,
    user_path,
)
from bench.commands.selecting import choose, selection_options
from bench.commands.words import Voice
from bench.errors import UsageError
from bench.launch.device import DEVICES
from bench.records import Once
from bench.selection import select
from bench.status import Standing, known_cells, survey
from bench.status.standing import State

DEFAULT_STATES: tuple[State, ...] = ("failed", "lost", "skipped", "stopped")
# To run what is done again is `bench run --force`; what is under way needs nothing.
ALLOWED: tuple[State, ...] = (*DEFAULT_STATES, "new")
assert set(ALLOWED) <= set(get_args(State))


@click.command("retry")
@selection_options
@click.option(
    "--state",
    "state_names",
    multiple=True,
    metavar="NAMES",
    default=DEFAULT_STATES,
    show_default=", ".join(DEFAULT_STATES),
    help=f"Cells in these states; all is {', '.join(ALLOWED)}.",
)
@click.option(
    "--exclude-node",
    "nodes",
    multiple=True,
    metavar="NODE",
    help="A node that gets none of the jobs. Repeatable.",
)
@click.option(
    "--steal",
    is_flag=True,
    help="Also take cells of a machine that cannot be asked whether it still works on them.",
)
@click.option(
    "--device",
    type=click.Choice(list(DEVICES)),
    default=None,
    show_default="as before",
    help="Of every cell.",
)
@jobs_options
@results_option
@data_option
@partial(executor_options, default="as before")
@json_option
def command(**given: Any) -> int:
    """Run what failed, was lost or stopped again, and what was skipped for its sake.

    Each cell goes the way it went before: as a job with the profile of its newest dispatch, or here, with the
    --device, --speed, --precision, ... that were typed last. A checkpoint that is there is gone on from. A probe or
    evaluation brings along its pretraining when that is not done. What is queued, running or done is left alone.

    \b
    bench retry
    bench retry -j 2
    bench retry -m patchvae -s 0 --exclude-node node17
    bench retry --state lost --profile bigmem
    """  # noqa: D301
    results: Path = user_path(given["results"]) or Path("results")
    say, broken = Voice(given["as_json"]), Once()
    states = select("state", given["state_names"], ALLOWED)
    overrides = _overrides(given)
    known = known_cells(results, broken)
    everything = survey(results, known, on_broken=broken)
    if everything.silent:
        say(f"{everything.silent}: jobs are taken for alive")
    chosen = [everything.cells[id] for id in choose(given, known, results)]
    again = [cell for cell in chosen if cell.state in states or (overrides.steal and _stealable(cell))]
    if not again:
        number = Counter(cell.state for cell in chosen)
        say(f"nothing to retry: {', '.join(f'{count} {state}' for state, count in number.items())}")
        say.object({"runs": [], "exit_code": 0})
        return 0
    say(_announce(again))
    return run_again(results, plans(again, everything.cells, overrides), overrides, say)


def _overrides(given: dict[str, Any]) -> Overrides:
    executor = None
    if given["slurm"] or typed("executor"):
        executor = given["executor"] if not given["slurm"] else "slurm"
        if given["slurm"] and typed("executor") and given["executor"] == "local":
            raise UsageError("--slurm and --executor local contradict each other: leave one out")
        if executor == "auto":
            executor = automatic()
    # BENCH_PROFILE is for new runs: these have the profile that they were submitted with.
    profile = given["profile"] if typed("profile") or executor == "slurm" else None
    if profile is not None and typed("profile") and executor == "local":
        raise UsageError("--profile is for jobs and contradicts --executor local: leave one out")
    root = user_path(given["root"]) if typed("root") else None
    jobs = jobs_of(given)
    return Overrides(executor, profile, root, given["steal"], tuple(given["nodes"]), jobs, given["device"])


def _stealable(cell: Standing) -> bool:
    return cell.state == "running" and not cell.sure


def _announce(again: list[Standing]) -> str:
    number = Counter(cell.state for cell in again)
    return f"retrying {counted(len(again), 'cell')}: " + ", ".join(
        f"{count} {state}" for state, count in number.items()
    )
