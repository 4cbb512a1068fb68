"""`bench run`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench import asked, plugins
from bench.commands import tables
from bench.commands.computing import compute
from bench.commands.devices import (
    devices_of,
    devices_options,
    has_followed,
    refuse_what_needs_one,
    with_batch_norm,
)
from bench.commands.downloading import download
from bench.commands.memory_options import memory_of, memory_options
from bench.commands.options import (
    data_option,
    executor_of,
    executor_options,
    jobs_of,
    jobs_options,
    json_option,
    refuse_for_slurm,
    results_option,
    together_option,
    typed,
    user_path,
)
from bench.commands.order import Order
from bench.commands.predicting import measuring, prediction_options, show_plan
from bench.commands.selected import select_cells
from bench.commands.table_words import show_table_plan, show_tables
from bench.commands.weights import weights_option
from bench.commands.words import Fuller, Voice
from bench.errors import UsageError
from bench.launch.device import DEVICES
from bench.plan import Selection, make_plan
from bench.protocols import DEFAULT_PRESET, PRESETS, PROTOCOLS
from bench.selection import parse_duration
from bench.speed import PRECISIONS, WISHES
from bench.studies.load import DEFAULT


def _choice(names: Any) -> click.Choice:
    return click.Choice(list(names))


@click.command("run")
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="NAMES",
    help="Tables of a study: 3; 1,3; 1-7; all. The other flags restrict them or change what they run.",
)
@click.option(
    "--study",
    metavar="NAME|FILE",
    default=DEFAULT,
    show_default=True,
    help="Whose tables: a built-in study, or a Python file that defines STUDY.",
)
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
    help="Data sets; folder:PATH is your own, imagenet:PATH a part of one in its layout.",
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
@click.option(
    "--evaluate",
    "evaluations",
    multiple=True,
    metavar="NAMES",
    default=("all",),
    show_default="all",
    help="What else judges a pretraining, where it applies (`bench list evaluations`), or none.",
)
@click.option(
    "--fid-weights",
    type=click.Path(path_type=Path),
    envvar="BENCH_FID_WEIGHTS",
    show_envvar=True,
    metavar="FILE",
    help="torch-fidelity's Inception weights: adds FID and KID.",
)
@click.option("--fid-weights-sha256", metavar="HEX", help="Take other weights, of this SHA-256, for them.")
@weights_option
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
@click.option(
    "--speed",
    type=_choice(WISHES),
    default="auto",
    show_default=True,
    help="How a pretraining is computed: as fast as is known to be right on the device, or the plain way.",
)
@click.option(
    "--precision",
    type=_choice(PRECISIONS),
    default="auto",
    show_default=True,
    help="Of its convolutions and products; auto is fp32: bf16 has not been shown to give the same accuracy.",
)
@click.option("--threads", type=click.IntRange(1), metavar="N", help="Threads a cell.")
@jobs_options
@together_option
@memory_options
@devices_options
@results_option
@data_option
@click.option("--download", is_flag=True, help="Fetch data sets that are missing, where a program can.")
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@click.option(
    "--drop-leaks",
    is_flag=True,
    help="Leave out training images that are, byte for byte or nearly, in the test split too.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show the cells and what they will take, and write nothing; exit code 2 if SLURM refuses.",
)
@prediction_options
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
@executor_options
@json_option
def command(**given: Any) -> int:
    """Pretrain methods, probe them at every freeze point, keep what came out.

    What is done is never done twice, and what was stopped goes on where it was: type the same line again.

    \b
    bench run -m patchvae,beta-vae,random -d digits -s 2
    bench run -m all,!*-gan* -d cifar100 --preset full --time-budget 8h
    bench run -m supervised --pretrain-on cifar100 -d folder:birds
    bench run --table 1,3 -d cifar100@10% -s 3 --preset quick --dry-run
    bench run -m all -d digits -s 3 -j auto
    bench run -m patchvae -d imagenet --devices 4
    bench run -m all -d cifar100 -s 5 --preset full --slurm --profile gpu
    """  # noqa: D301
    return execute(given)


def execute(
    given: dict[str, Any], selected: Callable[[dict[str, Any], Voice], Selection] | None = None
) -> int:
    """Do what the options of `bench run` say; gives the exit code.

    Args:
        given: every option.
        selected: what is selected by them; None is what they say.
    """
    plugins.load()
    results: Path = user_path(given["results"]) or Path("results")
    root = user_path(given["root"])
    as_json = given["as_json"]
    budget = parse_duration(given["time_budget"]) if given["time_budget"] else None
    say = Voice(as_json)
    if given["dry_run"] and given["download"]:
        raise UsageError("--download writes data sets and --dry-run writes nothing: leave one out")
    measure = measuring(given)
    if typed("study") and not given["tables"]:
        raise UsageError("--study says whose tables to run: add --table all")
    given["fid_weights"] = user_path(given["fid_weights"])
    where = executor_of(given)
    devices = devices_of(given, where)
    if has_followed(devices, given["dry_run"]):
        return 0
    given["pairs"] = with_batch_norm(given, devices)
    selection = select_cells(given) if selected is None else selected(given, say)
    if selected is None and selection.given is not None:
        say(f"weights: {selection.given}")
    if where == "slurm":
        refuse_for_slurm(given)
    jobs = jobs_of(given)
    if given["download"]:
        download(given, selection, root, say)
    wanted = tables.request(given, selection, root) if given["tables"] else None
    plan = wanted.plan if wanted else make_plan(selection, root)
    if where == "local":
        refuse_what_needs_one(plan, devices, given["batch_norm"], None)
    for line in wanted.remarks if wanted and not given["dry_run"] else ():
        say(line)
    order = Order(
        plan,
        results,
        root,
        selection.skip_corrupt,
        given["device"],
        given["threads"],
        given["checkpoint_every"],
        budget,
        given["force"],
        given["retry_failed"],
        not given["keep_going"],
        weights={name: file.path for name, file in selection.weights.items()},
        speed=given["speed"],
        precision=given["precision"],
        record=lambda how: (
            wanted.record(results, root, how)
            if wanted
            else asked.record(results, plan, selection, root, how=how)
        ),
        jobs=jobs,
        measure=measure,
        seeds_together=given["seeds_together"],
        **memory_of(given),
        devices=devices,
    )
    if given["dry_run"] and devices.number > 1:
        say(f"times are those of one device: what {devices.number} of them save has not been measured")
    if where == "slurm":
        from bench.commands.dispatching import device_kind, dispatch, foresee
        from bench.launch.slurm.profile import load_profile

        profile = load_profile(given["profile"])
        refuse_what_needs_one(plan, devices, given["batch_norm"], profile)
        if not given["dry_run"]:
            return dispatch(order, profile, say)
        if wanted:
            kind = device_kind(profile, "pretrain", order.device)
            say = Fuller(say, show_tables(order, wanted, say, kind)[0])
        return foresee(order, profile, say, given["price"])
    if given["dry_run"] and wanted:
        return show_table_plan(order, wanted, given["price"], say)
    if given["dry_run"]:
        return show_plan(order, given["price"], say)
    return compute(order, say)
