"""`bench pack`."""

from collections import Counter
from pathlib import Path
from typing import cast

import click

from bench.commands.options import chosen_results, counted, json_option, results_option, user_path
from bench.errors import UsageError
from bench.files import dumps
from bench.records import PICTURES, load_runs


@click.command("pack")
@click.argument("given", metavar="[RESULTS]", required=False, type=click.Path(path_type=Path))
@results_option
@click.option(
    "--to", type=click.Path(path_type=Path), required=True, metavar="FILE.parquet", help="The file to write."
)
@click.option("--no-pictures", is_flag=True, help="Leave out arrays that hold pictures of a data set.")
@click.option(
    "--without", multiple=True, metavar="NAME", help="Leave out arrays by this name, such as per_image."
)
@click.option(
    "--predictions",
    type=click.Choice(["all", "first"]),
    default="all",
    show_default=True,
    help="Of each test image five classes, or the first and whether the true one is among five: a sixth of the size,"
    " the same report.",
)
@json_option
def command(
    given: Path | None,
    results: Path,
    to: Path,
    no_pictures: bool,
    without: tuple[str, ...],
    predictions: str,
    as_json: bool,
) -> int:
    """All records of a results folder as one Parquet file, fit to be published.

    `bench report FILE.parquet` renders the same tables from it. Hosts, accounts, process ids and absolute paths
    are not in it. The same records give the same bytes.
    """
    source = chosen_results(given, results)
    target = user_path(to) or to
    from bench.packed import check_target, write_packed

    check_target(target)
    runs = load_runs(source)
    if not runs:
        raise UsageError(f"no runs in {source}: `bench run --results` makes them")
    from bench.packed.predictions import Kept

    left_out = frozenset(without) | (PICTURES if no_pictures else frozenset())
    write_packed(runs, target, without=left_out, predictions=cast(Kept, predictions))
    states, size = Counter(run.state for run in runs), target.stat().st_size
    if as_json:
        click.echo(dumps({"file": target, "bytes": size, "runs": len(runs), "states": states}, indent=1))
        return 0
    each = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    click.echo(f"{target}: {counted(len(runs), 'run')} ({each}), {size / 1e6:.2f} MB")
    return 0
