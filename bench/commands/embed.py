"""`bench embed`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from bench import plugins
from bench.commands.options import data_option, json_option, results_option, user_path
from bench.commands.weights import tried, untrained
from bench.config import own_scale
from bench.data import registry as datasets
from bench.embedded import check_target, write
from bench.errors import UsageError, choice_error
from bench.files import dumps
from bench.given import Given, look_up
from bench.launch.device import DEVICES, resolve_device
from bench.named import named_run
from bench.packed.scrub import command as scrubbed
from bench.packed.scrub import scrub_text
from bench.plan import label
from bench.protocols import TrainSettings
from bench.records import Run
from bench.selection import backbone_stride, freeze_points

if TYPE_CHECKING:
    from bench.data.arrays import Dataset


@click.command("embed")
@click.argument("name", metavar="[RUN]", required=False)
@click.option(
    "--backbone-from",
    "source",
    metavar="DIR|timm:NAME|FILE",
    help="Instead of a run: as `bench probe` takes it.",
)
@click.option("--pretrained", is_flag=True, help="Of timm:NAME its usual weights instead of random ones.")
@click.option("--backbone", metavar="NAME", help="The network that a FILE's weights are of.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of random weights.")
@click.option("-d", "--dataset", required=True, metavar="NAME", help="Whose images.")
@click.option("--split", type=click.Choice(["train", "test", "all"]), default="all", show_default=True)
@click.option("--freeze", metavar="POINT", help="Features of this freeze point (default: the last).")
@click.option("--flatten", is_flag=True, help="Every location's values, not their mean over locations.")
@click.option(
    "--to", type=click.Path(path_type=Path), required=True, metavar="FILE", help="FILE.npy or FILE.parquet."
)
@click.option("--force", is_flag=True, help="Replace what is there.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True)
@results_option
@data_option
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@json_option
def command(**given: Any) -> int:
    """Features of a data set's images, with their labels and where they are from.

    Of a run (the beginning of an id or a label) or of any backbone. FILE.npy holds the features alone, row by row;
    beside it lie FILE.labels.npz (labels, rows, splits) and FILE.json. FILE.parquet has all in one.

    \b
    bench embed 12236ca7 -d digits --to digits.parquet
    bench embed --backbone-from timm:convnext_atto -d cifar100 --split test --freeze stage2 --to stage2.npy
    """  # noqa: D301
    to = user_path(given["to"]) or given["to"]
    if (given["name"] is None) == (given["source"] is None):
        raise UsageError("name a run or --backbone-from, one of the two")
    check_target(to, given["force"])
    datasets.spec(given["dataset"])
    run, found, backbone, scale = _source(given)
    points = freeze_points(backbone)
    if given["freeze"] is not None and given["freeze"] not in points:
        raise choice_error("freeze point", given["freeze"], points)
    data = datasets.load(
        given["dataset"], user_path(given["root"]), given["skip_corrupt"], min_side=backbone_stride(backbone)
    )
    facts, width = _embed(given, to, run, found, backbone, scale, data)
    if given["as_json"]:
        click.echo(dumps({"file": to, "width": width, **facts}, indent=1))
        return 0
    shown = f"{facts['images']} images of {data.name}, {width} values each"
    click.echo(f"{to}: {shown}, by {facts['from']} at {facts['freeze']}")
    return 0


def _source(given: dict[str, Any]) -> tuple[Run | None, Given | None, str, Any]:
    """The pretraining or the weights, None of both for random ones; name of the network, and scale of its input."""
    if given["name"] is not None:
        plugins.load()
        from bench.exported.write import pretraining_of, seen_scale

        if given["pretrained"] or given["backbone"]:
            raise UsageError("--pretrained and --backbone are for --backbone-from: a run has its own")
        results = user_path(given["results"]) or given["results"]
        chosen = named_run(results, given["name"])
        run = pretraining_of(chosen, results)
        return run, None, run.config["backbone"], seen_scale(chosen, run, results)
    if (named := untrained(given)) is not None:
        return None, None, named, TrainSettings.scale
    found = tried(look_up(given["source"], given["backbone"]))
    return (
        None,
        found,
        found.backbone,
        own_scale({"weights": found.identity}).get("scale", TrainSettings.scale),
    )


def _embed(
    given: dict[str, Any],
    to: Path,
    run: Run | None,
    found: Given | None,
    backbone: str,
    scale: Any,
    data: "Dataset",
) -> tuple[dict[str, Any], int]:
    """Compute and write; what the file says of itself, and the width of a row."""
    import sys

    from bench import embed
    from bench.data.batches import MEAN_STD
    from bench.provenance import git_state, package_versions

    device = resolve_device(given["device"])[0]
    shape = cast(embed.Shape, "flat" if given["flatten"] else "pooled")
    point = given["freeze"]
    if run is not None:
        embedder = embed.of_run(run, point, scale, shape, device)
    elif found is not None:
        embedder = embed.of_given(found, point, scale, shape, device)
    else:
        embedder = embed.of_random(backbone, given["seed"], point, scale, shape, device)
    splits = embed.splits_of(data, given["split"])
    total = sum(len(split) for _, split in splits)
    if not total:
        raise UsageError(f"{data.name} has no images to compute features of")
    mean, std = MEAN_STD[embedder.scale]
    origin = f"{backbone} with random weights of seed {given['seed']}"
    if run is not None or found is not None:
        origin = str(found) if run is None else label(run.config)
    facts = {
        "from": origin,
        "run": run.id if run is not None else None,
        "weights_sha256": embedder.weights or None,
        "backbone": backbone,
        "freeze": embedder.point,
        "features": "mean over locations" if shape == "pooled" else "channels, rows, columns",
        "input": {"scale": embedder.scale, "mean": list(mean), "std": list(std)},
        "dataset": scrub_text(data.name),
        "fingerprint": data.fingerprint,
        "split": given["split"],
        "images": total,
        "command": scrubbed(sys.argv),
        "versions": package_versions(),
        "git": git_state(),
    }
    chunks = (rows for name, split in splits for rows in embedder.rows(name, split, device))
    return facts, write(to, chunks, total, data.classes, facts)
