"""`bench perf seeds`."""

from typing import Any

import click

from bench.commands.options import json_option, table
from bench.errors import UsageError
from bench.files import dumps
from bench.launch.device import DEVICES
from bench.selection import select


@click.command("seeds")
@click.option(
    "-m",
    "--methods",
    "names",
    multiple=True,
    metavar="NAMES",
    default=("beta-vae", "patchvae-gan", "bigan", "supervised"),
    show_default="beta-vae, patchvae-gan, bigan, supervised",
    help="Methods: commas, globs, all, !x takes x out.",
)
@click.option("--seeds", type=click.IntRange(2), default=3, show_default=True, metavar="N", help="At once.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, metavar="N")
@click.option(
    "--steps", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Of a seed in a round."
)
@click.option("--batch", type=click.IntRange(2), default=128, show_default=True, metavar="N", help="Images.")
@click.option(
    "--size", type=click.IntRange(16), default=32, show_default=True, metavar="N", help="Pixels a side."
)
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@json_option
def command(as_json: bool, names: tuple[str, ...], **given: Any) -> int:
    """Several seeds of a method at once, one after another, and in a process each.

    Times are CPU seconds on a CPU, medians over rounds in which each way takes its steps once; ratios are taken
    within a round, to one after another. Processes share the threads and compute at the same time.
    """
    from bench.launch.device import resolve_device
    from models.registry import METHODS, load_plugins

    load_plugins()
    chosen = select("method", names, METHODS)
    if idle := [name for name in chosen if not METHODS[name].trained]:
        raise UsageError(f"{idle[0]} is not trained: there are no steps to measure")
    device, name = resolve_device(given.pop("device"))
    from bench.perf.together import Wish, measure, rows

    found = []
    for method in chosen:
        wish = Wish(method, device=device, **given)
        found.append({**measure(wish, lambda text: click.echo(text, err=True)), "device_name": name})
    if as_json:
        click.echo(dumps({"part": "seeds", "methods": found}, indent=1))
        return 0
    click.echo(
        f"{name or device}, {given['threads']} thread(s), {given['seeds']} seeds, batch {given['batch']}"
    )
    head = ["method", "way", "ms a step of all", "images/s", "times faster", "rounds", "by the clock"]
    click.echo(table(head, [row for facts in found for row in rows(facts)]))
    return 0
