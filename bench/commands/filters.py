"""The tests that the flags of a selection put a known cell to. `bench.commands.selecting` applies them."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from bench.data import registry as datasets
from bench.data.dropped import split_dropped
from bench.data.fractions import FRACTION, split_fraction, typed_name
from bench.data.names import absolute_source, known_name
from bench.errors import UsageError
from bench.evaluations.registry import EVALUATIONS, NONE
from bench.plan import Cell, pretraining
from bench.protocols import preset_epochs
from bench.selection import FREEZE_POINTS, freeze_points, parse_seeds, select, split
from bench.settings import parse_settings
from bench.status import Known
from models import registry as methods

Test = Callable[[Known], bool]


class Tests:
    """What a cell must pass: `both` on its pretraining's side, `judging` on the probe's or the evaluation's."""

    def __init__(self) -> None:
        self.both: list[Test] = []
        self.judging: list[Test] = []


def make_tests(given: Mapping[str, Any], known: Mapping[str, Known]) -> Tests:
    """The tests that a command line means; see `bench.commands.selecting.choose`.

    Raises:
        UsageError: a name that does not exist.
    """
    tests = Tests()
    names = list(methods.METHODS)
    if given["method_names"]:
        # A method of a package that is gone is still a name here.
        names = select("method", given["method_names"], {**methods.METHODS, **_values(known, _method)})
        tests.both.append(lambda one: one.cell.method in names)
    if given["seeds"] is not None:
        seeds = set(parse_seeds(given["seeds"]))
        tests.both.append(lambda one: pretraining(one.cell.config)["seed"] in seeds)
    if (backbone := given["backbone"]) is not None:
        if backbone not in _values(known, lambda one: pretraining(one.cell.config)["backbone"]):
            freeze_points(backbone)
        tests.both.append(lambda one: pretraining(one.cell.config)["backbone"] == backbone)
    if (origin := given["pretrain_on"]) is not None:
        datasets.spec(origin)
        tests.both.append(lambda one: _typed(pretraining(one.cell.config)["dataset"]) == _identity(origin))
    if given["dataset_names"]:
        tests.judging.append(_on_datasets(given["dataset_names"], known))
    if given["probes"] or given["evaluate"]:
        tests.judging.append(_by_name(given, known))
    if given["tables"]:
        tests.judging.append(_of_tables(given["tables"], known))
    if given["probe_seeds"] is not None:
        count = given["probe_seeds"]
        tests.judging.append(lambda one: one.cell.kind != "probe" or one.cell.config["seed"] < count)
    if (preset := given["preset"]) is not None:
        tests.judging.append(lambda one: _has_preset(one, preset))
    if (protocol := given["protocol"]) is not None:
        tests.judging.append(lambda one: _has_protocol(one, protocol))
    if given["pairs"]:
        in_force = parse_settings(given["pairs"], [name for name in names if name in methods.METHODS])
        tests.judging.append(lambda one: has_settings(one.cell, in_force))
    return tests


def _method(one: Known) -> str:
    return one.cell.method


def judged_by(cell: Cell) -> str:
    """What tells a probe or an evaluation from others of its pretraining: freeze point or name; "" of neither."""
    return str(cell.config.get("freeze") or cell.config.get("evaluation") or "")


def _by_name(given: Mapping[str, Any], known: Mapping[str, Known]) -> Test:
    """Freeze points and evaluations that were named; those of a kind of which none was named are not meant.

    `--evaluate none` by itself means everything but evaluations.
    """
    chosen: dict[str, Collection[str]] = {}
    if given["probes"]:
        every = [*(p for row in FREEZE_POINTS.values() for p in row), *_names(known, "probe")]
        points = FREEZE_POINTS.get(given["backbone"] or "", ()) or tuple(dict.fromkeys(every))
        chosen["probe"] = {
            *select("freeze point", given["probes"], [p for p in points if p != "none"]),
            "none",
        }
    if given["evaluate"] and split(given["evaluate"]) != [NONE]:
        # An evaluation of a version that is gone is still a name here.
        chosen["evaluate"] = select(
            "evaluation", given["evaluate"], {**EVALUATIONS, **_names(known, "evaluate")}
        )
    elif not given["probes"]:
        chosen["probe"] = _names(known, "probe")
    return lambda one: judged_by(one.cell) in chosen.get(one.cell.kind, ())


def _of_tables(texts: tuple[str, ...], known: Mapping[str, Known]) -> Test:
    """Tables as "study/table", or by their number, which is then that of any study."""
    whole = dict.fromkeys(name for one in known.values() if one.asked for name in one.asked.tables)
    if not whole:
        raise UsageError("nothing was asked for as a table here: `bench run --table` does")
    chosen = select("table", texts, {**whole, **dict.fromkeys(name.partition("/")[2] for name in whole)})

    def test(one: Known) -> bool:
        mine = one.asked.tables if one.asked is not None else ()
        return any(name in chosen or name.partition("/")[2] in chosen for name in mine)

    return test


def _names(known: Mapping[str, Known], kind: str) -> dict[str, None]:
    return dict.fromkeys(judged_by(one.cell) for one in known.values() if one.cell.kind == kind)


def _values(known: Mapping[str, Known], key: Callable[[Known], str]) -> dict[str, None]:
    return dict.fromkeys(key(one) for one in known.values())


def _identity(name: str) -> str:
    """The name by which a configuration knows a data set."""
    whole, fraction = split_fraction(name)
    return typed_name({"name": known_name(whole), FRACTION: fraction})


def _typed(identity: Mapping[str, Any]) -> str:
    """A data set as a user names it to find its cells, whether its leaks were left out or not."""
    return split_dropped(typed_name(identity))[0]


def _on_datasets(texts: tuple[str, ...], known: Mapping[str, Known]) -> Test:
    for name in split(texts):
        # A plain name that is wrong gets the registry's own answer.
        if name != "all" and not set("*?[!") & set(name):
            datasets.spec(name)
    there = _values(known, lambda one: split_dropped(one.cell.source)[0])
    names = select("data set", texts, {**datasets.DATASETS, **there}, datasets.open_prefixes())
    sources = {absolute_source(name) for name in names}
    identities = {_identity(name) for name in names}

    def test(one: Known) -> bool:
        if one.asked is not None:
            return split_dropped(one.cell.source)[0] in sources
        return _typed(one.cell.config["dataset"]) in identities

    return test


def _has_preset(one: Known, preset: str) -> bool:
    """Whether a cell was asked for by a preset, or has its epochs; without a step, all presets share it."""
    if one.asked is not None and one.asked.selection.get("preset") == preset:
        return True
    config, pretrain = one.cell.config, pretraining(one.cell.config)
    epochs = preset_epochs(preset, pretrain["dataset"]["name"])[0]
    if pretrain["train"]["epochs"] not in (0, epochs):
        return False
    if one.cell.kind != "probe":
        return True
    return config["probe"]["epochs"] == preset_epochs(preset, config["dataset"]["name"])[1]


def _has_protocol(one: Known, protocol: str) -> bool:
    if one.cell.kind == "probe":
        return one.cell.config["protocol"] == protocol
    return one.asked is None or one.asked.selection.get("protocol") == protocol


def _settings(cell: Cell, group: str) -> Mapping[str, Any]:
    """The settings that a probe or an evaluation has under the name of a group; none of another's."""
    if cell.kind == "probe":
        return cell.config["probe"] if group == "probe" else {}
    return cell.config["evaluate"] if cell.config.get("evaluation") == group else {}


def has_settings(cell: Cell, settings: Mapping[str, Any]) -> bool:
    """Whether settings are in force in a cell; one that it does not have is left out, as in `bench run`."""
    pretrain = pretraining(cell.config)
    for key, value in settings.items():
        group, dot, name = key.partition(".")
        if not dot:
            if pretrain["method_config"].get(key, value) != value:
                return False
        elif group == "pretrain":
            # Without a step the rest means nothing.
            if pretrain["train"]["epochs"] and pretrain["train"].get(name, value) != value:
                return False
        elif _settings(cell, group).get(name, value) != value:
            return False
    return True
