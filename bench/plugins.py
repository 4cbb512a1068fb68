"""Methods, data sets, evaluations and backbones of other installed packages: loaded, warned of, put on record."""

import functools
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from bench.data import registry as datasets
from bench.errors import UsageError
from bench.evaluations import registry as evaluations
from bench.selection import split
from bench.settings import GROUPS
from models import plugins
from models import registry as methods

_warned: set[plugins.Broken] = set()


def load() -> None:
    """Add to every registry what packages offer; a line on the standard error, once, for what cannot be used."""
    methods.load_plugins()
    datasets.load_plugins()
    evaluations.load_plugins()
    for row in evaluations.EVALUATIONS.values():
        GROUPS.setdefault(row.name, row.settings_cls)
    for one in plugins.BROKEN.values():
        if one not in _warned:
            _warned.add(one)
            click.echo(f"bench: warning: {one}", err=True)


def refuse_broken(group: str, texts: Iterable[str]) -> None:
    """Refuse a selection that names what a package offers and cannot be used.

    Args:
        group: of the entry points, such as "bench.methods".
        texts: as typed, names with commas.

    Raises:
        UsageError: names the package and says why.
    """
    for name in split(texts):
        if (group, name) not in plugins.PACKAGES and (broken := plugins.broken(group, name)):
            raise UsageError(str(broken))


def package(kind: str, name: str) -> str | None:
    """The package and its version that a row of "methods", "datasets", ... comes from; None where it is ours."""
    found = plugins.PACKAGES.get((f"bench.{kind}", name))
    return None if found is None else str(found)


def used(config: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """The packages that a cell's configuration needs: name -> version and hash of their source.

    The source is that of the top-level modules that its entry points and its rows name.
    """
    pretrain = config.get("pretrain", config)
    rows: list[tuple[str, str, str]] = [("methods", str(pretrain["method"]), "")]
    if (method := methods.METHODS.get(rows[0][1])) is not None:
        rows = [("methods", method.name, method.target)]
    for name in {str(one["dataset"]["name"]).partition(":")[0] for one in (config, pretrain)}:
        if (dataset := datasets.DATASETS.get(name)) is not None:
            rows.append(("datasets", name, dataset.loader))
    if (evaluation := evaluations.EVALUATIONS.get(str(config.get("evaluation")))) is not None:
        rows.append(("evaluations", evaluation.name, evaluation.target))
    rows.append(("backbones", str(pretrain["backbone"]).partition(".")[0], ""))
    found: dict[plugins.Package, list[str]] = {}
    for kind, name, target in rows:
        if (one := plugins.PACKAGES.get((f"bench.{kind}", name))) is not None:
            found.setdefault(one, []).extend([target] if target else [])
    return {
        one.name: {
            "version": one.version,
            "source_hash": source_hash(tuple(plugins.modules_of(one, *targets))),
        }
        for one, targets in sorted(found.items(), key=lambda item: item[0].name)
    }


@functools.cache
def source_hash(modules: tuple[str, ...]) -> str:
    """SHA-256, 16 digits, of the files in Python and C of top-level modules, installed or editable."""
    total = hashlib.sha256()
    for module in modules:
        paths = [Path(path) for path in plugins.source_files(module)]
        for path in paths:
            # By its place in the module, so that the same source has the same hash wherever it is installed.
            parts = path.parts
            place = "/".join(parts[parts.index(module) :] if module in parts else parts[-1:])
            total.update(place.encode())
            total.update(path.read_bytes())
    return total.hexdigest()[:16]
