"""`bench perf data`."""

import tempfile
from pathlib import Path
from typing import Any

import click

from bench.commands.options import json_option, table, user_path
from bench.files import dumps
from bench.launch.device import DEVICES


@click.command("data")
@click.option(
    "--images", type=click.IntRange(1000), default=20_000, show_default=True, metavar="N", help="To train on."
)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True, metavar="N")
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="In which the images are made, and removed again (default: the system's for temporary files).",
)
@click.option("--device", type=click.Choice(DEVICES), default="cpu", show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N")
@json_option
def command(images: int, rounds: int, folder: Path | None, device: str, threads: int, as_json: bool) -> int:
    """Preparing and reading a data set of files: JPEGs of 256 pixels in Places205's layout, made for this.

    They are prepared at 64 pixels, once undisturbed and once killed twice on the way. Then shuffled batches come from
    an array in memory, from the mapped file and by decoding, each way once in every round; ratios are taken within a
    round. The mapped file is in the page cache, as it is where memory is large enough.
    """
    from bench.launch.device import resolve_device

    where, name = resolve_device(device)
    with tempfile.TemporaryDirectory(prefix="bench-places-", dir=user_path(folder)) as place:
        facts = _measure(Path(place), images, rounds, where, threads)
    facts["device_name"] = name or where
    if as_json:
        click.echo(dumps({"part": "data", **facts}, indent=1))
        return 0
    whole, killed = facts["whole"], facts["killed"]
    click.echo(
        f"{images:,} images and {images // 10:,} to test, prepared in {whole['seconds']:.0f} s;"
        f" at most {whole['peak_bytes'] / 1e6:.0f} MB of memory\n"
        f"killed at files {', '.join(f'{n:,}' for n in killed['decoded'][:-1])}:"
        f" at most {killed['peak_bytes'] / 1e6:.0f} MB,"
        f" {'the same' if killed['fingerprint'] == whole['fingerprint'] else 'ANOTHER'} fingerprint\n"
    )
    head = ["way", "images/s", "to memory", "by CPU time", "to decoding", "by CPU time"]
    click.echo(table(head, [_row(way, ratios) for way, ratios in facts["reading"]["ratios"].items()]))
    return 0


def _row(way: str, ratios: dict[str, float]) -> list[str]:
    keys = ("to_memory", "to_memory_processor", "to_decoding", "to_decoding_processor")
    return [way, f"{ratios['images_per_second']:,.0f}", *(f"{ratios[key]:.2f}" for key in keys)]


def _measure(place: Path, images: int, rounds: int, device: str, threads: int) -> dict[str, Any]:
    import dataclasses
    import shutil

    from bench.perf.preparing import make_places, prepare

    def say(text: str) -> None:
        click.echo(text, err=True)

    say(f"making {images:,} JPEGs in {place}")
    name = make_places(place / "places", images)
    say("preparing them")
    whole = prepare(name, place)
    shutil.rmtree(place / ".bench")
    say("preparing them, killed twice")
    killed = prepare(name, place, (images // 3, 2 * images // 3))
    say("reading them")
    import torch

    from bench.perf.reading import measure

    torch.set_num_threads(threads)
    reading = measure(name, place, rounds=rounds, device=device)
    return {
        "images": images,
        "threads": threads,
        "whole": dataclasses.asdict(whole),
        "killed": dataclasses.asdict(killed),
        "reading": reading,
    }
