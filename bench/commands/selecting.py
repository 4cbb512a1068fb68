"""The selection flags of `bench run` as filters on the cells that are known; a flag that is absent restricts nothing.

A selection means the cells that `bench run` with the same flags would run, as far as they are known: a pretraining
belongs to it with its probes and evaluations. But --probes means no evaluation, and --evaluate no probe.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from bench import plugins
from bench.commands.filters import Test, judged_by, make_tests
from bench.commands.options import counted
from bench.data.fractions import typed_name
from bench.errors import UsageError
from bench.plan import pretraining
from bench.protocols import PRESETS, PROTOCOLS
from bench.status import Known

F = TypeVar("F", bound=Callable[..., Any])

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
    click.option("--evaluate", multiple=True, metavar="NAMES", help="Evaluations, and the pretrainings of these."),
    click.option("--table", "tables", multiple=True, metavar="NAMES", help="Asked for as these: 3, patchvae/3."),
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
    "evaluate": "--evaluate", "tables": "--table", "probe_seeds": "--probe-seeds", "backbone": "--backbone",
    "preset": "--preset", "protocol": "--protocol", "pairs": "--set",
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
        whole: take a pretraining only when all known cells that need it are meant too, for what cannot be undone.

    Raises:
        UsageError: a name that does not exist, or nothing that is known fits.
    """
    plugins.load()
    tests = make_tests(given, known)
    mine = {id for prefix in given["prefixes"] for id in by_prefix(prefix, known, results)}
    fits = {
        id: one
        for id, one in known.items()
        if (not given["prefixes"] or id in mine) and all(test(one) for test in tests.both)
    }
    if tests.judging and not given["prefixes"]:
        fits = _with_parents(fits, known, tests.judging, whole)
    elif tests.judging:
        fits = {id: one for id, one in fits.items() if all(test(one) for test in tests.judging)}
    if not fits:
        what = describe(known.values())
        where = f"known in {results}: {what}" if what else f"nothing was ever asked for in {results}"
        raise UsageError(f"no cell fits the selection; {where}" if is_selected(given) else where)
    return fits


def _with_parents(
    fits: dict[str, Known], known: Mapping[str, Known], tests: list[Test], whole: bool
) -> dict[str, Known]:
    """Probes and evaluations that pass, and the pretrainings that belong to them."""
    judging: dict[str, list[bool]] = {}
    chosen = set()
    for id, one in known.items():
        if one.cell.kind == "pretrain":
            continue
        passes = id in fits and all(test(one) for test in tests)
        judging.setdefault(one.cell.config["pretrain_id"], []).append(passes)
        if passes:
            chosen.add(id)
    for id, one in fits.items():
        if one.cell.kind == "pretrain":
            mine = judging.get(id)
            # One that nobody has probed yet is judged as if it were its own probe.
            belongs = all(test(one) for test in tests) if mine is None else all(mine) if whole else any(mine)
            if belongs:
                chosen.add(id)
    return {id: one for id, one in known.items() if id in chosen}


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
    seeds = sorted({pretraining(cell.config)["seed"] for cell in cells})
    runs = f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 1 else str(seeds[0])
    points = list(dict.fromkeys(judged_by(cell) for cell in cells if cell.kind != "pretrain"))
    parts = [", ".join(names), f"on {', '.join(sets)}", f"{'seeds' if len(seeds) > 1 else 'seed'} {runs}"]
    return f"{counted(len(cells), 'cell')}: " + "; ".join([*parts, *([", ".join(points)] if points else [])])


__all__ = [
    "by_prefix",
    "choose",
    "describe",
    "is_selected",
    "selected_words",
    "selection_options",
]
