"""`bench probe`: a backbone that exists is judged as if it had been pretrained here."""

from dataclasses import replace
from typing import Any

import click

from bench.commands import run
from bench.commands.selected import select_cells
from bench.commands.weights import tried, untrained
from bench.commands.words import Voice
from bench.given import KEY, look_up
from bench.plan import Selection
from bench.selection import freeze_points
from bench.studies.load import DEFAULT
from models import registry as methods

# Options of `bench run` that mean nothing here, with what they are when nobody types them.
_NOT_HERE: dict[str, Any] = {
    "tables": (),
    "study": DEFAULT,
    "method_names": ("random",),
    "fid_weights": None,
    "fid_weights_sha256": None,
    "weights": None,
    "pretrain_on": None,
    "backbone": None,
    "seeds_together": 1,
    "devices": 1,
    "nodes": 1,
    "batch_norm": "synchronised",
}


@click.command("probe")
@click.option(
    "--backbone-from",
    "source",
    required=True,
    metavar="DIR|timm:NAME|FILE",
    help="A folder that timm opens (`bench export` writes such); timm:NAME, with random weights of the seed;"
    " timm:NAME.TAG, with timm's weights of that tag; a file of weights, with --backbone.",
)
@click.option("--pretrained", is_flag=True, help="Of timm:NAME its usual weights instead of random ones.")
@click.option("--backbone", metavar="NAME", help="The network that a FILE's weights are of.")
def command(**given: Any) -> int:
    """Probe and evaluate a backbone that was trained elsewhere, or not at all.

    Its pretraining is a cell of no steps that holds its weights, so that status, report and everything else is as
    after `bench run`, whose options these are. The input has the scale of the weights, where that is known.

    \b
    bench probe --backbone-from timm:convnext_atto -d digits -s 1
    bench probe --backbone-from timm:resnet18.a1_in1k -d cifar100 --probes conv1-9
    bench probe --backbone-from exported/ -d folder:birds -s 5 --dry-run
    """  # noqa: D301
    return run.execute({**_NOT_HERE, **given}, _selection)


command.params += [option for option in run.command.params if option.name not in _NOT_HERE]


def _selection(given: dict[str, Any], say: Voice) -> Selection:
    """What is to be judged, looked up, tried and said.

    Raises:
        UsageError: it cannot be had, or the options contradict one another.
    """
    if (named := untrained(given)) is not None:
        freeze_points(named)
        given["backbone"] = named
        chosen = select_cells(given)
        say(f"backbone: {named}: random weights of the seed (timm:{named}.TAG or --pretrained are timm's)")
        return chosen
    found = tried(look_up(given["source"], given["backbone"], fetch=not given["dry_run"]))
    given["backbone"] = found.backbone
    chosen = select_cells(given)
    say(f"backbone: {found}")
    weights = {**chosen.weights, KEY: found.weights}
    return replace(chosen, methods=(methods.GIVEN.name,), weights=weights, given=found)
