"""`bench contract`."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from bench import plugins
from bench.commands.options import counted, data_option, json_option, user_path
from bench.contract import Verdict, judge_backbone, judge_dataset, judge_method, promises
from bench.data import registry as datasets
from bench.errors import UsageError, choice_error
from bench.files import dumps
from bench.selection import FREEZE_POINTS, split
from models import registry as methods
from models.plugins import PACKAGES, offered

_KINDS = {"method": "methods", "dataset": "datasets", "backbone": "backbones"}
_TITLES = {"method": "method", "dataset": "data set", "backbone": "backbone"}


@click.command("contract")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--promises", "only", multiple=True, metavar="NAMES", help="These alone, with commas.")
@click.option("--backbone", default="resnet9", show_default=True, help="On which a method is built for it.")
@data_option
@json_option
def command(
    names: tuple[str, ...], only: tuple[str, ...], backbone: str, root: Path | None, as_json: bool
) -> int:
    """Whether methods, data sets and backbones keep the promises that make them comparable.

    A line for each promise. Without a name, everything that installed packages offer. Exit code 1 if one is broken.

    \b
    bench contract my-method my-data
    bench contract my-method --promises no-randomness,one-graph
    """  # noqa: D301
    plugins.load()
    for group in _KINDS.values():
        plugins.refuse_broken(f"bench.{group}", names)
    found = [one for name in names for one in _kinds(name)] if names else list(_offered())
    if not found:
        raise UsageError("no installed package offers anything: name a method, a data set or a backbone")
    chosen = split(only)
    if chosen:
        known = {name for kind in {kind for kind, _ in found} for name in promises(kind)}
        for name in chosen:
            if name not in known:
                raise choice_error("promise", name, sorted(known))
    facts, broken = [], 0
    for kind, name in found:
        wanted = [one for one in promises(kind) if not chosen or one in chosen]
        if not as_json:
            source = plugins.package(_KINDS[kind], name)
            click.echo(f"{_TITLES[kind]} {name}" + (f" ({source})" if source else ""))
        for verdict in _judge(kind, name, wanted, backbone, user_path(root)):
            broken += verdict.kept is False
            facts.append({"kind": kind, "name": name, **vars(verdict)})
            if not as_json:
                click.echo(f"  {verdict}")
    if as_json:
        click.echo(dumps(facts, indent=1))
    else:
        kept = sum(fact["kept"] is True for fact in facts)
        notes = len(facts) - kept - broken
        said = [f"{kept} kept", *([f"{broken} broken"] if broken else [])]
        click.echo(", ".join([*said, *([counted(notes, "note")] if notes else [])]))
    return 1 if broken else 0


def _judge(kind: str, name: str, only: list[str], backbone: str, root: Path | None) -> Iterator[Verdict]:
    judges: dict[str, Callable[[], Any]] = {
        "method": lambda: judge_method(name, only, backbone=backbone),
        "dataset": lambda: judge_dataset(name, only, root=root),
        "backbone": lambda: judge_backbone(name, only),
    }
    return judges[kind]()


def _offered() -> Iterator[tuple[str, str]]:
    """What packages offer, by kind and name."""
    for kind, group in _KINDS.items():
        if kind == "backbone":
            yield from ((kind, point.name) for point, _ in offered("bench.backbones"))
        else:
            yield from ((kind, name) for g, name in PACKAGES if g == f"bench.{group}")


def _kinds(name: str) -> list[tuple[str, str]]:
    """What a name is; a network of timm's where it is neither a method nor a data set.

    Raises:
        UsageError: it is none of them.
    """
    found = [("method", name)] if name in methods.METHODS else []
    if name in datasets.DATASETS or ":" in name:
        datasets.spec(name)
        found.append(("dataset", name))
    backbones = {*FREEZE_POINTS, *(point.name for point, _ in offered("bench.backbones"))}
    if name in backbones:
        found.append(("backbone", name))
    if not found:
        import timm

        if not timm.is_model(name.partition(".")[0]):
            raise choice_error("name", name, [*methods.METHODS, *datasets.DATASETS, *sorted(backbones)])
        found = [("backbone", name)]
    return found
