"""`bench run`."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.options import data_option, json_option, results_option, user_path
from bench.commands.words import Voice, counts, show_end, show_plan
from bench.config import parse_settings
from bench.data import registry as datasets
from bench.errors import DataError
from bench.launch.control import RunOptions, Stop
from bench.launch.device import DEVICES, resolve_device
from bench.launch.local import LocalRunner
from bench.plan import Selection, make_plan, states
from bench.progress import make_display
from bench.protocols import DEFAULT_PRESET, PRESETS, PROTOCOLS
from bench.records import Once, State, check_results, open_results
from bench.selection import backbone_stride, parse_duration, parse_seeds, select, split
from models import registry as methods

if TYPE_CHECKING:
    from bench.data.arrays import Dataset


def _choice(names: Any) -> click.Choice:
    return click.Choice(list(names))


@click.command("run")
@click.option(
    "-m",
    "--methods",
    "method_names",
    multiple=True,
    metavar="NAMES",
    default=("all",),
    show_default="all",
    help="Methods: commas, globs, all, !x takes x out.",
)
@click.option(
    "-d",
    "--datasets",
    "dataset_names",
    multiple=True,
    metavar="NAMES",
    default=("digits",),
    show_default="digits",
    help="Data sets; folder:PATH is your own.",
)
@click.option(
    "-s",
    "--seeds",
    default="3",
    show_default=True,
    metavar="SEEDS",
    help="3 is 0,1,2; 2-4 is 2,3,4; 0,7 is those two.",
)
@click.option(
    "--probes",
    multiple=True,
    metavar="NAMES",
    default=("all",),
    show_default="all",
    help="Freeze points: conv1, conv1-3, conv1-5 (stage1, ... of other backbones).",
)
@click.option("--pretrain-on", metavar="NAME", help="Pretrain on this data set, probe on -d.")
@click.option(
    "--probe-seeds",
    type=click.IntRange(1, 10_000),
    metavar="N",
    help="Probe each pretraining with seeds 0..N-1 (default: with its own seed).",
)
@click.option("--backbone", default="resnet9", show_default=True, metavar="NAME", help="Any CNN of timm.")
@click.option(
    "--preset",
    type=_choice(PRESETS),
    default=DEFAULT_PRESET,
    show_default=True,
    help="Epochs: smoke to see that it runs, quick for minutes, full as the paper.",
)
@click.option(
    "--protocol",
    type=_choice(PROTOCOLS),
    default="paper",
    show_default=True,
    help="What is left open by the paper, filled three ways.",
)
@click.option(
    "--set",
    "pairs",
    multiple=True,
    metavar="KEY=VALUE",
    help="A setting, such as num_parts=8, pretrain.epochs=2, probe.lr=0.1. Repeatable.",
)
@click.option("--device", type=_choice(DEVICES), default="auto", show_default=True)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads a cell.")
@results_option
@data_option
@click.option("--download", is_flag=True, help="Fetch data sets that are missing, where a program can.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option("--dry-run", is_flag=True, help="Show the cells and write nothing.")
@click.option("--force", is_flag=True, help="Run what is done again, from the start.")
@click.option("--retry-failed", is_flag=True, help="Run what failed again.")
@click.option("--keep-going/--fail-fast", default=True, show_default=True, help="After a cell fails.")
@click.option("--time-budget", metavar="TIME", help="Save and stop after 90s, 9m, 1h30m.")
@click.option(
    "--checkpoint-every",
    type=click.IntRange(1),
    metavar="STEPS",
    help="Save so often (default: once a minute).",
)
@json_option
def command(**given: Any) -> int:
    """Pretrain methods, probe them at every freeze point, keep what came out.

    What is done is never done twice, and what was stopped goes on where it was: type the same line again.

    \b
    bench run -m patchvae,beta-vae,random -d digits -s 2
    bench run -m all,!*-gan* -d cifar100 --preset full --time-budget 8h
    bench run -m supervised --pretrain-on cifar100 -d folder:birds
    """  # noqa: D301
    methods.load_plugins()
    results: Path = user_path(given["results"]) or Path("results")
    root = user_path(given["root"])
    as_json = given["as_json"]
    budget = parse_duration(given["time_budget"]) if given["time_budget"] else None
    say = Voice(as_json)
    selection = _selection(given)
    if given["download"]:
        _download(selection, root, say)
    plan = make_plan(selection, root)
    check_results(results)
    broken = Once()
    found = states(plan, results, broken)
    if given["dry_run"]:
        show_plan(plan, found, results, say)
        return 0
    again = given["force"], given["retry_failed"]
    todo = [cell for cell in plan.cells if _to_run(found[cell.id][0], *again)]
    if todo:
        # A folder where all is done may be read-only.
        open_results(results, create=False)
    say(f"results: {results.absolute()}")
    stop = Stop(budget, lambda name: say(f"{name}: saving, then stopping; once more ends at once"))
    say(counts(plan, found) + (f"; running {len(todo)}" if todo else ""))
    device, device_name = resolve_device(given["device"]) if todo else ("cpu", "")
    data = _load(dict.fromkeys(cell.source for cell in todo), root, selection, say)
    if todo:
        open_results(results)
    # What failed earlier is not run and yet told of.
    told = [cell for cell in plan.cells if given["force"] or found[cell.id][0] != "done"]
    begun = time.monotonic()
    with stop, make_display(told, say.stream) as display:
        broken.say = display.note
        runner = LocalRunner(
            results,
            data.__getitem__,
            display,
            stop,
            device,
            device_name,
            RunOptions(checkpoint_every_steps=given["checkpoint_every"], threads=given["threads"]),
            fail_fast=not given["keep_going"],
            force=given["force"],
            retry_failed=given["retry_failed"],
            on_broken=broken,
        )
        summary = runner.run(plan)
    show_end(summary, results, time.monotonic() - begun, given["force"], say)
    return summary.exit_code


def _selection(given: Mapping[str, Any]) -> Selection:
    names = select("method", given["method_names"], methods.METHODS)
    for name in split(given["dataset_names"]):
        # A plain name that is wrong gets the registry's own answer.
        if name != "all" and not set("*?[!") & set(name):
            datasets.spec(name)
    where = select("data set", given["dataset_names"], datasets.DATASETS, "folder:")
    origin = given["pretrain_on"]
    if origin is not None:
        datasets.spec(origin)
    return Selection(
        methods=tuple(names),
        datasets=tuple(where),
        seeds=tuple(parse_seeds(given["seeds"])),
        probes=given["probes"],
        pretrain_on=origin,
        probe_seeds=given["probe_seeds"],
        backbone=given["backbone"],
        preset=given["preset"],
        protocol=given["protocol"],
        settings=parse_settings(given["pairs"], names),
        skip_corrupt=given["skip_corrupt"],
    )


def _download(selection: Selection, root: Path | None, say: Voice) -> None:
    for name in dict.fromkeys([*selection.datasets, selection.pretrain_on or selection.datasets[0]]):
        try:
            datasets.locate(name, root)
        except DataError:
            say(f"{name}: downloading")
            datasets.download(name, root)


def _load(
    names: Mapping[str, Any], root: Path | None, selection: Selection, say: Voice
) -> "dict[str, Dataset]":
    """Every data set that is needed, read before any work starts: what is wrong with one is said now."""
    # A cell whose data set is not loaded is one that is not computed.
    loaded = {}
    for name in names:
        stride = backbone_stride(selection.backbone)
        try:
            data = datasets.load(name, root, selection.skip_corrupt, min_side=stride)
        except MemoryError as error:
            raise DataError(f"{name} does not fit into memory: {error or 'none is left'}") from error
        if data.corrupt:
            say(f"{name}: {len(data.corrupt)} broken images are left out, the first is {data.corrupt[0]}")
        loaded[name] = data
    return loaded


def _to_run(state: State, force: bool, retry_failed: bool) -> bool:
    return force or state in ("new", "interrupted", "running") or (state == "failed" and retry_failed)
