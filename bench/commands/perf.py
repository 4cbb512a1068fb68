"""`bench perf`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from bench.commands.options import data_option, json_option, table, user_path
from bench.files import dumps


@click.group("perf")
def command() -> None:
    """How fast this machine computes: each way side by side, and the share of its own ceiling."""


@command.command("probe")
@click.option(
    "-d", "--dataset", default="cifar100", show_default=True, metavar="NAME", help="Of which images."
)
@click.option(
    "--probes",
    "freezes",
    multiple=True,
    metavar="NAME",
    default=("conv1-5", "conv1-3", "conv1"),
    show_default="conv1-5, conv1-3, conv1",
    help="Freeze points.",
)
@click.option("--backbone", default="resnet9", show_default=True, metavar="NAME", help="Any CNN of timm.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Rounds.")
@click.option(
    "--images", type=click.IntRange(2), default=1280, show_default=True, metavar="N", help="To train on."
)
@click.option(
    "--epochs", type=click.IntRange(1), default=3, show_default=True, metavar="N", help="Run in each round."
)
@click.option(
    "--of-epochs",
    type=click.IntRange(1),
    default=30,
    show_default=True,
    metavar="N",
    help="Of a whole probe.",
)
@click.option("--each", is_flag=True, help="Also without each of the switches.")
@click.option("--device", default="auto", metavar="NAME", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "fp32", "bf16"]), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@data_option
@json_option
def probe(root: Path | None, as_json: bool, **given: Any) -> int:
    """A probe, feature pass included: features recomputed each epoch, computed once, and the fast way.

    Times are CPU seconds on a CPU, medians over rounds in which each way runs once; ratios are taken within a round.
    """
    from bench.data import registry
    from bench.launch.device import resolve_device
    from models.registry import load_plugins

    load_plugins()
    data = registry.load(given["dataset"], user_path(root), False)
    device, name = resolve_device(given["device"])
    from bench.perf.probe import Wish, measure

    keys = ("backbone", "threads", "pairs", "images", "epochs", "of_epochs", "precision", "each")
    wish = Wish(data, tuple(given["freezes"]), device=device, **{key: given[key] for key in keys})
    facts = {**measure(wish, lambda text: click.echo(text, err=True)), "device_name": name}
    click.echo(dumps(facts, indent=1) if as_json else _shown(facts))
    return 0


def _shown(facts: Mapping[str, Any]) -> str:
    ceiling = facts["ceiling"]
    lines = [
        f"{facts['device_name'] or facts['device']}, {facts['threads']} thread(s);"
        f" a large product {ceiling['matmul_flops'] / 1e9:.0f} GFLOP/s, the backbone's convolutions back to back"
        f" {ceiling['convolutions_flops'] / 1e9:.0f} ({ceiling['convolutions_images_per_second']:.0f} images/s)",
        f"{facts['epochs']} epochs from {facts['epochs_run']} run, {facts['images']} images and"
        f" {facts['tested']} to test on, medians of {facts['pairs']} rounds",
        "",
    ]
    rows = []
    for row in facts["rows"]:
        for way, t in row["ways"].items():
            share = row["flop_per_image"] * t["images_per_second"] / ceiling["matmul_flops"]
            rows.append(
                [
                    row["freeze"],
                    way,
                    f"{t['seconds']:.1f}",
                    f"{t['ms_a_batch']:.1f}",
                    f"{t['images_per_second']:.0f}",
                    f"{100 * share:.0f} %",
                    f"{t['times_faster']:.2f}",
                ]
            )
    head = ["frozen", "features", "seconds", "ms a batch", "images/s", "of a product's", "times faster"]
    return "\n".join([*lines, table(head, rows)])
