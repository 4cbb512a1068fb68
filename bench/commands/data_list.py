"""`bench data list`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from bench import plugins
from bench.commands.options import data_option, json_option, table, user_path
from bench.data import registry as datasets
from bench.data.entries import entries
from bench.errors import DataError
from bench.files import dumps

HEADER = ["name", "pixels", "classes", "train", "test", "here", "prepared"]


@click.command("list")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@data_option
@json_option
def command(names: tuple[str, ...], root: Path | None, as_json: bool) -> None:
    """What is found, what is prepared, what is missing and where it comes from; nothing is decoded.

    Without a NAME, every data set of the registry.
    """
    plugins.load()
    plugins.refuse_broken("bench.datasets", names)
    facts = found(names or datasets.DATASETS, user_path(root))
    if as_json:
        click.echo(dumps(facts, indent=1))
        return
    rows = []
    for fact in facts:
        sizes = [fact[key] for key in ("image_size", "num_classes", "num_train", "num_test")]
        here = fact["where"] or "comes with a package" if fact["found"] else "missing"
        rows.append([fact["name"], *sizes, here, _prepared(fact)])
    if not names:
        rows.append(["folder:PATH", "", "", "", "", "your own: train/ and val/ or test/, one folder a class"])
        rows[-1].append("")
    click.echo(table(HEADER, rows))
    for fact in facts:
        if not fact["found"]:
            click.echo(f"\n{fact['problem']}")


def found(names: Iterable[str], root: Path | None) -> list[dict[str, Any]]:
    """Facts of data sets, of whether they are there, and of their prepared arrays.

    Args:
        names: of data sets.
        root: the data folder.

    Raises:
        UsageError: no such data set.
    """
    return [datasets.describe(name, root) | {"prepared": _entry(name, root)} for name in names]


def _entry(name: str, root: Path | None) -> dict[str, Any] | None:
    row = datasets.spec(name)
    try:
        source = datasets.find(name, root)
    except DataError:
        return None
    first = next(iter(entries(row, source, root)), None)
    if first is None:
        return None
    about = first.about
    return {
        "path": str(first.path),
        "bytes": first.num_bytes,
        "counts": about["counts"],
        "classes": len(about["classes"]),
        "corrupt": len(about["corrupt"]),
        "sha256": about["sha256"],
    }


def _prepared(fact: dict[str, Any]) -> str:
    entry = fact["prepared"]
    if entry is None:
        return "no" if fact["found"] else ""
    return f"{entry['bytes'] / 1e6:,.0f} MB in {entry['path']}"
