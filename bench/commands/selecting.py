"""The selection flags of `bench run` as filters on the cells that are known; a flag that is absent restricts nothing.

A selection means the cells that `bench run` with the same flags would run, as far as they are known: a pretraining
belongs to it with its probes.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.asked import absolute_source
from bench.commands.options import counted
from bench.config import parse_settings
from bench.data import registry as datasets
from bench.data.folders import PREFIX, split_size
from bench.data.fractions import FRACTION, split_fraction, typed_name
from bench.errors import UsageError
from bench.plan import Cell
from bench.protocols import PRESETS, PROTOCOLS, preset_epochs
from bench.selection import FREEZE_POINTS, freeze_points, parse_seeds, select, split
from bench.status import Known
from models import registry as methods

F = TypeVar("F", bound=Callable[..., Any])
Test = Callable[[Known], bool]

_OPTIONS = (
    click.argument("prefixes", metavar="[CELL]...", nargs=-1),
    click.option(
        "-m", "--methods", "method_names", multiple=True, metavar="NAMES", help="Commas, globs, all, !x takes x out."
    ),
    click.option(
        "-d", "--datasets", "dataset_names", multiple=True, metavar="NAMES", help="folder:PATH is your own."
    ),
    click.option("-s", "--seeds", metavar="SEEDS", help="3 is 0,1,2; 2-4 is 2,3,4; 0,7 is those two."),
    click.option("--probes", multiple=True, metavar="NAMES", help="Freeze points, and the pretrainings of these."),
    click.option("--pretrain-on", metavar="NAME", help="Pretrained on this data set."),
    click.option("--probe-seeds", type=click.IntRange(1, 10_000), metavar="N", help="Probe seeds 0..N-1."),
    click.option("--backbone", metavar="NAME", help="Of this network."),
    click.option("--preset", type=click.Choice(list(PRESETS)), help="With the epochs of this preset."),
    click.option("--protocol", type=click.Choice(list(PROTOCOLS)), help="By this protocol."),
    click.option(
        "--set", "pairs", multiple=True, metavar="KEY=VALUE", help="This setting, where a cell has it. Repeatable."
    ),
)  # fmt: skip
_FLAGS = {
    "method_names": "-m", "dataset_names": "-d", "seeds": "-s", "probes": "--probes", "pretrain_on": "--pretrain-on",
    "probe_seeds": "--probe-seeds", "backbone": "--backbone", "preset": "--preset", "protocol": "--protocol",
    "pairs": "--set",
}  # fmt: skip


def selection_options(function: F) -> F:
    """CELL..., -m, -d, -s, --probes and the others, none of which restricts anything when it is absent."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def is_selected(given: Mapping[str, Any]) -> bool:
    """Whether anything at all was selected."""
    return bool(selected_words(given))


def selected_words(given: Mapping[str, Any]) -> list[str]:
    """The selection as it is typed."""
    words = list(given["prefixes"])
    for name, flag in _FLAGS.items():
        value = given[name]
        for text in value if isinstance(value, tuple) else [] if value is None else [value]:
            words += [flag, str(text)]
    return words


def choose(
    given: Mapping[str, Any], known: Mapping[str, Known], results: Path, *, whole: bool = False
) -> dict[str, Known]:
    """The cells that a command line means, in the order of `known`.

    Args:
        given: what `selection_options` parsed.
        known: every cell that is known.
        results: the results folder, for the error.
        whole: take a pretraining only when all its known probes are meant too, for what cannot be undone.

    Raises:
        UsageError: a name that does not exist, or nothing that is known fits.
    """
    methods.load_plugins()
    tests = _tests(given, known)
    mine = {id for prefix in given["prefixes"] for id in by_prefix(prefix, known, results)}
    fits = {
        id: one
        for id, one in known.items()
        if (not given["prefixes"] or id in mine) and all(test(one) for test in tests.both)
    }
    if tests.probe and not given["prefixes"]:
        fits = _with_parents(fits, known, tests.probe, whole)
    elif tests.probe:
        fits = {id: one for id, one in fits.items() if all(test(one) for test in tests.probe)}
    if not fits:
        what = describe(known.values())
        where = f"known in {results}: {what}" if what else f"nothing was ever asked for in {results}"
        raise UsageError(f"no cell fits the selection; {where}" if is_selected(given) else where)
    return fits


def _with_parents(
    fits: dict[str, Known], known: Mapping[str, Known], tests: list[Test], whole: bool
) -> dict[str, Known]:
    """Probes that pass, and the pretrainings that belong to them."""
    probes: dict[str, list[bool]] = {}
    chosen = set()
    for id, one in known.items():
        if one.cell.kind == "pretrain":
            continue
        passes = id in fits and all(test(one) for test in tests)
        probes.setdefault(one.cell.config["pretrain_id"], []).append(passes)
        if passes:
            chosen.add(id)
    for id, one in fits.items():
        if one.cell.kind == "pretrain":
            mine = probes.get(id)
            # One that nobody has probed yet is judged as if it were its own probe.
            belongs = all(test(one) for test in tests) if mine is None else all(mine) if whole else any(mine)
            if belongs:
                chosen.add(id)
    return {id: one for id, one in known.items() if id in chosen}


class _Tests:
    """What a cell must pass: `both` on its pretraining's side, `probe` on the side of the probe."""

    def __init__(self) -> None:
        self.both: list[Test] = []
        self.probe: list[Test] = []


def _tests(given: Mapping[str, Any], known: Mapping[str, Known]) -> _Tests:
    tests = _Tests()
    names = list(methods.METHODS)
    if given["method_names"]:
        # A method of a package that is gone is still a name here.
        names = select("method", given["method_names"], {**methods.METHODS, **_values(known, _method)})
        tests.both.append(lambda one: one.cell.method in names)
    if given["seeds"] is not None:
        seeds = set(parse_seeds(given["seeds"]))
        tests.both.append(lambda one: pretraining(one.cell)["seed"] in seeds)
    if (backbone := given["backbone"]) is not None:
        if backbone not in _values(known, lambda one: pretraining(one.cell)["backbone"]):
            freeze_points(backbone)
        tests.both.append(lambda one: pretraining(one.cell)["backbone"] == backbone)
    if (origin := given["pretrain_on"]) is not None:
        datasets.spec(origin)
        tests.both.append(lambda one: typed_name(pretraining(one.cell)["dataset"]) == _identity(origin))
    if given["dataset_names"]:
        tests.probe.append(_on_datasets(given["dataset_names"], known))
    if given["probes"]:
        points = FREEZE_POINTS.get(given["backbone"] or "", ()) or tuple(
            dict.fromkeys([*(p for row in FREEZE_POINTS.values() for p in row), *_values(known, _freeze)])
        )
        chosen = {*select("freeze point", given["probes"], [p for p in points if p != "none"]), "none"}
        tests.probe.append(lambda one: one.cell.kind == "probe" and one.cell.config["freeze"] in chosen)
    if given["probe_seeds"] is not None:
        count = given["probe_seeds"]
        tests.probe.append(lambda one: one.cell.kind == "pretrain" or one.cell.config["seed"] < count)
    if (preset := given["preset"]) is not None:
        tests.probe.append(lambda one: _has_preset(one, preset))
    if (protocol := given["protocol"]) is not None:
        tests.probe.append(lambda one: _has_protocol(one, protocol))
    if given["pairs"]:
        in_force = parse_settings(given["pairs"], [name for name in names if name in methods.METHODS])
        tests.probe.append(lambda one: has_settings(one.cell, in_force))
    return tests


def pretraining(cell: Cell) -> Mapping[str, Any]:
    """The configuration of a cell's pretraining, which may be the cell itself."""
    return cell.config if cell.kind == "pretrain" else cell.config["pretrain"]


def _method(one: Known) -> str:
    return one.cell.method


def _freeze(one: Known) -> str:
    return one.cell.config.get("freeze", "none")


def _values(known: Mapping[str, Known], key: Callable[[Known], str]) -> dict[str, None]:
    return dict.fromkeys(key(one) for one in known.values())


def _identity(name: str) -> str:
    """The name by which a configuration knows a data set."""
    whole, fraction = split_fraction(name)
    known = PREFIX + Path(split_size(whole)[0]).name if whole.startswith(PREFIX) else whole
    return typed_name({"name": known, FRACTION: fraction})


def _on_datasets(texts: tuple[str, ...], known: Mapping[str, Known]) -> Test:
    for name in split(texts):
        # A plain name that is wrong gets the registry's own answer.
        if name != "all" and not set("*?[!") & set(name):
            datasets.spec(name)
    there = _values(known, lambda one: one.cell.source)
    names = select("data set", texts, {**datasets.DATASETS, **there}, PREFIX)
    sources = {absolute_source(name) for name in names}
    identities = {_identity(name) for name in names}

    def test(one: Known) -> bool:
        if one.asked is not None:
            return one.cell.source in sources
        return typed_name(one.cell.config["dataset"]) in identities

    return test


def _has_preset(one: Known, preset: str) -> bool:
    """Whether a cell was asked for by a preset, or has its epochs; without a step, all presets share it."""
    if one.asked is not None and one.asked.selection.get("preset") == preset:
        return True
    config, pretrain = one.cell.config, pretraining(one.cell)
    epochs = preset_epochs(preset, pretrain["dataset"]["name"])[0]
    if pretrain["train"]["epochs"] not in (0, epochs):
        return False
    kind = one.cell.kind
    return (
        kind == "pretrain" or config["probe"]["epochs"] == preset_epochs(preset, config["dataset"]["name"])[1]
    )


def _has_protocol(one: Known, protocol: str) -> bool:
    if one.cell.kind == "probe":
        return one.cell.config["protocol"] == protocol
    return one.asked is None or one.asked.selection.get("protocol") == protocol


def has_settings(cell: Cell, settings: Mapping[str, Any]) -> bool:
    """Whether settings are in force in a cell; one that it does not have is left out, as in `bench run`."""
    pretrain = pretraining(cell)
    for key, value in settings.items():
        group, dot, name = key.partition(".")
        if not dot:
            if pretrain["method_config"].get(key, value) != value:
                return False
        elif group == "pretrain":
            # Without a step the rest means nothing.
            if pretrain["train"]["epochs"] and pretrain["train"].get(name, value) != value:
                return False
        elif cell.kind == "probe" and cell.config["probe"].get(name, value) != value:
            return False
    return True


def by_prefix(prefix: str, known: Mapping[str, Known], results: Path) -> list[str]:
    """The cell whose id begins so.

    Raises:
        UsageError: none or several do.
    """
    found = [id for id in known if prefix and id.startswith(prefix)]
    if not found:
        raise UsageError(
            f"no cell {prefix!r} in {results}: `bench status --all` and `bench list runs` name them"
        )
    if len(found) > 1:
        raise UsageError(f"{prefix!r} fits {len(found)} cells: {', '.join(found[:5])}")
    return found


def describe(known: Iterable[Known]) -> str:
    """What there is, in one line: "12 methods (...), digits, seeds 0-4, resnet9"."""
    cells = [one.cell for one in known]
    if not cells:
        return ""
    names = list(dict.fromkeys(cell.method for cell in cells))
    if len(names) > 6:
        names = [*names[:5], f"{len(names) - 5} more"]
    sets = list(dict.fromkeys(typed_name(cell.config["dataset"]) for cell in cells))
    seeds = sorted({pretraining(cell)["seed"] for cell in cells})
    runs = f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    points = list(dict.fromkeys(_freeze(Known(cell, None)) for cell in cells if cell.kind == "probe"))
    parts = [", ".join(names), f"on {', '.join(sets)}", f"{'seeds' if len(seeds) > 1 else 'seed'} {runs}"]
    return f"{counted(len(cells), 'cell')}: " + "; ".join([*parts, *([", ".join(points)] if points else [])])


__all__ = [
    "by_prefix",
    "choose",
    "describe",
    "has_settings",
    "is_selected",
    "selected_words",
    "selection_options",
]
