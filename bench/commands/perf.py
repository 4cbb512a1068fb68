"""`bench perf`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import click

from bench.commands import perf_data, perf_loading, perf_seeds
from bench.commands.options import typed, user_path
from bench.commands.perf_options import beside, check_shared, memory_option, shared_options
from bench.errors import UsageError
from bench.files import dumps, write_bytes
from bench.selection import freeze_points, select, split

# beta-VAE and PatchVAE, and the one that takes most memory and time.
METHODS = ("beta-vae", "patchvae", "patchvae-gan")
FREEZES = ("conv1-5", "conv1-3", "conv1")
PRETRAIN = {"batch": 128, "rounds": 9}
PROBE = {"pairs": 5, "images": 1280, "epochs": 3, "of_epochs": 30}


@click.group("perf", invoke_without_command=True)
@shared_options("digits")
@click.pass_context
def command(ctx: click.Context, **given: Any) -> int | None:
    """How fast this machine computes: each way side by side, and the share of its own ceiling.

    Alone it measures both parts: a probe, and the steps of three pretrainings.
    """
    if ctx.invoked_subcommand is not None:
        wrong = next((option for option in ctx.params if typed(option)), None)
        if wrong is not None:
            flag = {"earlier": "compare", "root": "data", "as_json": "json"}.get(wrong, wrong)
            raise UsageError(
                f"--{flag} belongs behind the part: bench perf {ctx.invoked_subcommand} --{flag}"
            )
        return None
    given = {**PRETRAIN, **PROBE, **given}
    parts = {"pretrain": _pretrain_part(given, METHODS), "probe": _probe_part(given, FREEZES)}
    return _measured(given, parts)


command.add_command(perf_seeds.command)
command.add_command(perf_data.command)
command.add_command(perf_loading.command)


@command.command("pretrain")
@click.option(
    "-m",
    "--methods",
    multiple=True,
    metavar="NAMES",
    default=METHODS,
    show_default=",".join(METHODS),
    help="Commas, globs, all.",
)
@click.option(
    "--batch", type=click.IntRange(2), default=128, show_default=True, metavar="N", help="Images a step."
)
@click.option(
    "--size",
    type=click.IntRange(8),
    default=None,
    metavar="N",
    help="Pixels a side; the data set's by default.",
)
@click.option(
    "--rounds", type=click.IntRange(1), default=9, show_default=True, metavar="N", help="Each way once each."
)
@click.option("--each", is_flag=True, help="Also the fast way with each switch turned.")
@click.option("--compiled", is_flag=True, help="Also the plain way, compiled.")
@click.option(
    "--ways", multiple=True, metavar="NAMES", help="Only these beside plain: fast, no-winograd, compiled, ..."
)
@click.option("--profile", is_flag=True, help="Also where a step's time goes.")
@memory_option
@click.option(
    "--authors",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Also the step of the authors' code: a clone of github.com/kampta/PatchVAE.",
)
@click.option(
    "--beside",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    metavar="N",
    help="Processes that take each turn at the same time, as seeds do on N cores.",
)
@shared_options("digits")
def pretrain(**given: Any) -> int:
    """A step of a pretraining in each way of computing it, beside what the device can do at most.

    Every way takes one step in turn in each round, and so do the step's convolutions alone and a large product;
    ratios and shares are taken within a round. Times are CPU seconds of one thread, else synchronised wall seconds.
    """
    return _measured(given, {"pretrain": _pretrain_part(given, given["methods"])})


@command.command("probe")
@click.option(
    "--probes",
    "freezes",
    multiple=True,
    metavar="NAME",
    show_default=f"{', '.join(FREEZES)}; every one of a backbone that has none of them",
    help="Freeze points.",
)
@click.option("--backbone", default="resnet9", show_default=True, metavar="NAME", help="Any CNN of timm.")
@click.option("--pairs", type=click.IntRange(1), default=5, show_default=True, metavar="N", help="Rounds.")
@click.option(
    "--images", type=click.IntRange(2), default=1280, show_default=True, metavar="N", help="To train on."
)
@click.option(
    "--test",
    "tested",
    type=click.IntRange(1),
    default=None,
    metavar="N",
    help="To test on after each epoch; a fifth as many by default.",
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
@memory_option
@click.option("--shared", is_flag=True, help="Also what keeping features for the next freeze point saves.")
@shared_options("cifar100")
def probe(**given: Any) -> int:
    """A probe, feature pass included: features recomputed each epoch, computed once, and the fast way.

    Times are CPU seconds on a CPU, medians over rounds in which each way runs once; ratios are taken within a round.
    """
    return _measured(given, {"probe": _probe_part(given, tuple(given["freezes"]))})


@dataclass(frozen=True)
class _Part:
    """What is to be measured.

    Attributes:
        settings: those that decide whether an earlier measurement compares with it, given the data set.
        rounds: how many.
        measure: from (data set, device, teller) to facts.
    """

    settings: Callable[[Any], Mapping[str, Any]]
    rounds: int
    measure: Callable[[Any, str, Callable[[str], None]], dict[str, Any]]


def _pretrain_part(given: Mapping[str, Any], names: tuple[str, ...]) -> _Part:
    from bench import plugins
    from bench.data import registry as datasets
    from models import registry as methods

    plugins.load()
    still = [name for name, row in methods.METHODS.items() if not row.trained]
    for name in split(names):
        if name in still:
            raise UsageError(f"{name} takes no training step: leave it out")
    if given.get("profile"):
        # Read when torch is imported; its profiler else writes to the terminal that it starts and stops.
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    chosen = select("method", names, [name for name in methods.METHODS if name not in still])
    size = given.get("size") or datasets.spec(given["dataset"]).image_size or 32
    settings = {"batch": given["batch"], "size": size, "precision": given["precision"]}
    settings["beside"] = beside(given)
    authors = user_path(given.get("authors"))
    if authors is not None:
        from bench.perf.clone import check_clone

        check_clone(authors)

    def measured(data: Any, device: str, tell: Callable[[str], None]) -> dict[str, Any]:
        from bench.perf.pretrain import Wish, measure

        flags = ("each", "compiled", "memory", "profile", "rounds", "threads")
        return measure(
            Wish(
                tuple(chosen),
                data.train,
                len(data.classes),
                device=device,
                ways=tuple(split(given.get("ways", ()))),
                authors=None if authors is None else str(authors),
                **settings,
                **{name: given[name] for name in flags if name in given},
            ),
            tell,
        )

    return _Part(lambda _: settings, given["rounds"], measured)


def _probe_part(given: Mapping[str, Any], names: tuple[str, ...]) -> _Part:
    backbone = given.get("backbone", "resnet9")
    points = freeze_points(backbone)
    usual = [name for name in FREEZES if name in points]
    freezes = tuple(select("freeze point", names or usual or points, points))
    check_shared(given, freezes)

    def measured(data: Any, device: str, tell: Callable[[str], None]) -> dict[str, Any]:
        from bench.perf.probe import Wish, measure

        names = {field.name for field in fields(Wish)} - {"data", "freezes", "device"}
        wish = Wish(data, freezes, device=device, **{name: given[name] for name in names if name in given})
        return {**measure(wish, tell), "dataset": given["dataset"]}

    def settings(data: Any) -> dict[str, Any]:
        from bench.perf.probe import few

        some = few(data, given["images"], given.get("tested"))
        return {
            "dataset": given["dataset"],
            "backbone": backbone,
            "precision": given["precision"],
            "epochs": given["of_epochs"],
            "epochs_run": given["epochs"],
            "images": len(some.train.labels),
            "tested": len(some.test.labels),
        }

    return _Part(settings, given["pairs"], measured)


def _measured(given: Mapping[str, Any], parts: Mapping[str, _Part]) -> int:
    """Measure the parts, print, write and compare them; the exit code."""
    from bench.data import registry as datasets
    from bench.perf import compare, facts, shown

    datasets.spec(given["dataset"])
    earlier = None if given["earlier"] is None else facts.read_facts(user_path(given["earlier"]) or Path())
    out = _made(given["out"])
    data = datasets.load(given["dataset"], user_path(given["root"]), False)
    from bench.launch.device import resolve_device

    device, name = resolve_device(given["device"])
    if earlier is not None:
        # What cannot be compared is said before minutes are spent on it.
        where = {"device": device, "threads": given["threads"]}
        settings = {part: one.settings(data) for part, one in parts.items()}
        compare.refuse_unlike(earlier, {"machine": where, **settings})
        compare.refuse_few(min(one.rounds for one in parts.values()))
    found: dict[str, Any] = {"schema": facts.SCHEMA, "dataset": given["dataset"]}
    for part, one in parts.items():
        found[part] = one.measure(data, device, lambda text: click.echo(text, err=True))
    found["machine"] = facts.machine(device, name, given["threads"])
    if out is not None:
        _write(out, found)
    if not given["as_json"]:
        click.echo(shown.text(found))
    try:
        changes = [] if earlier is None else compare.compare(earlier, found)
    except UsageError:
        if given["as_json"]:
            # What took minutes is told whether or not it compares.
            click.echo(dumps(found, indent=1))
        raise
    if given["as_json"]:
        more = {} if earlier is None else {"compared": compare.as_facts(changes)}
        click.echo(dumps({**found, **more}, indent=1))
    elif earlier is not None:
        click.echo("\n" + compare.text(changes, earlier, found))
    return 1 if compare.slower(changes) else 0


def _made(out: Path | None) -> Path | None:
    folder = user_path(out)
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"{folder} cannot be made: {error.strerror or error}") from None
    return folder


def _write(folder: Path, found: Mapping[str, Any]) -> None:
    from bench.perf import facts, shown
    from bench.perf.roofline import roofline

    drawn = roofline(found) if "pretrain" in found else {}
    for ending, content in drawn.items():
        write_bytes(folder / f"perf.{ending}", content)
    write_bytes(folder / "perf.md", shown.markdown(found, "perf.svg" if drawn else None).encode())
    facts.write_facts(folder / "perf.json", found)
    click.echo(f"wrote {folder}/perf.{{{','.join(['json', 'md', *drawn])}}}", err=True)
