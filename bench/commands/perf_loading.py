"""`bench perf loading`."""

from typing import Any

import click

from bench.commands.options import json_option, table
from bench.files import dumps


@click.command("loading")
@click.option(
    "--images", type=click.IntRange(2), default=384, show_default=True, metavar="N", help="Made for this."
)
@click.option(
    "--size", type=click.IntRange(8), default=224, show_default=True, metavar="N", help="Pixels a side."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, metavar="N")
@click.option("--batch", type=click.IntRange(1), default=128, show_default=True, metavar="N", help="Images.")
@json_option
def command(as_json: bool, **given: Any) -> int:
    """Images that stay compressed: decoding them here beside timm's own loader.

    JPEGs of 500 x 375 pixels are made, read by both in turn with the same crop on as many cores, and removed. Ratios
    are taken within a round.
    """
    from bench.perf.loading import Wish, measure, rows

    found = measure(Wish(**given))
    if as_json:
        click.echo(dumps({"part": "loading", **found}, indent=1))
        return 0
    click.echo(f"{found['images']} JPEGs of 500 x 375 to {found['size']} px on {found['cores']} core(s)")
    head = ["loader", "images/s", "times faster", "CPU ms an image", "times less CPU"]
    click.echo(table(head, rows(found)))
    return 0
