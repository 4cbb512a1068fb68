"""`bench data verify`."""

import csv
import dataclasses
import io
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.commands.options import counted, data_option, json_option, table, user_path
from bench.data import registry as datasets
from bench.data.fractions import whole_name
from bench.data.source import Progress
from bench.errors import UsageError
from bench.files import dumps, naming, write_bytes

if TYPE_CHECKING:
    from bench.data.verify import Verified

SECONDS = 2.0  # between two lines of progress
KEYS = ("kind", "train", "test", "train_class", "test_class", "agreement", "train_path", "test_path")


@click.command("verify")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_option
@click.option(
    "--show", type=click.IntRange(0), default=0, metavar="N", help="Also the first N pairs of leaks."
)
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE.csv", help="All pairs of leaks.")
@click.option(
    "--judged",
    type=click.Path(path_type=Path),
    metavar="FILE.csv",
    help="Instead: how often near-equal is right, by pairs that people judged (ciFAIR's TestID, Judgment).",
)
@json_option
def command(
    names: tuple[str, ...], root: Path | None, show: int, to: Path | None, judged: Path | None, as_json: bool
) -> int:
    """Counts, class balance, image sizes, greyscale and broken files, fingerprint, copies and leaks.

    Arrays that are not there yet are prepared first. Exit code 1 where something is broken: files, numbers of images
    or the fingerprint. Leaks and unequal classes are facts of a data set, and no faults of its copy here.
    """
    to = user_path(to)
    if to is not None and not to.parent.is_dir():
        raise UsageError(f"no folder {to.parent} for --to {to.name}")
    if to is not None and to.is_dir():
        raise UsageError(f"--to {to} is a folder: name a file, such as {to / 'leaks.csv'}")
    for name in names:
        datasets.spec(name)
        if (whole := whole_name(name)) != name:
            raise UsageError(f"{name}: a whole data set is looked at: bench data verify {whole}")
    if judged is not None:
        return _held_against(names, user_path(root), user_path(judged) or judged, as_json)
    from bench.data.verify import verify

    found = []
    for name in names:
        begun = time.monotonic()
        one = verify(name, user_path(root), _Teller(name))
        one.facts["seconds"] = round(time.monotonic() - begun, 2)
        one.facts["sound"] = one.sound
        found.append(one)
        if not as_json:
            click.echo(("\n" if len(found) > 1 else "") + "\n".join(_lines(one, show)))
    if to is not None:
        with naming(to):
            write_bytes(to, _table(found).encode())
    if as_json:
        click.echo(dumps([one.facts | {"pairs": _pairs(one)[:show]} for one in found], indent=1))
    return 0 if all(one.sound for one in found) else 1


def _held_against(names: tuple[str, ...], root: Path | None, judged: Path, as_json: bool) -> int:
    from bench.data.judged import as_table, held_against

    if len(names) != 1:
        raise UsageError("--judged speaks of one data set: leave the others out")
    rows = held_against(names[0], root, judged)
    header, lines = as_table(rows)
    facts = [dataclasses.asdict(row) for row in rows]
    click.echo(dumps(facts, indent=1) if as_json else table(header, lines))
    return 0


class _Teller:
    """Says on standard error what is being done and how far it is, at most every other second."""

    def __init__(self, name: str) -> None:
        self._name, self._last = name, time.monotonic()

    def __call__(self, what: str) -> Progress:
        def report(done: int, total: int) -> None:
            now = time.monotonic()
            if now - self._last >= SECONDS:
                self._last = now
                click.echo(f"{self._name}: {what}: {done:,} of {total:,}", err=True)

        return report


def _lines(one: "Verified", show: int) -> list[str]:
    """What was found, for a person."""
    f = one.facts
    images = f["images"]
    pool = f", {images['pool']:,} to pretrain on" if images["pool"] != images["train"] else ""
    lines = [
        f"{f['name']}: {'sound' if one.sound else 'BROKEN'}, {f['seconds']:.1f} s",
        f"  where        {f['where'] or 'comes with a package'}",
        f"  images       {images['train']:,} train, {images['test']:,} test{pool}; {f['classes']} classes;"
        f" {_counts(f)}",
        *(f"  balance      {split}: {_balance(fact)}" for split, fact in f["balance"].items()),
        *_sizes(f["sizes"]),
        "  greyscale    " + ", ".join(f"{count:,} {split}" for split, count in f["grey"].items()),
        f"  corrupt      {_corrupt(f['corrupt'])}",
        f"  fingerprint  {_fingerprint(f['fingerprint'])}",
        "  copies       " + ", ".join(f"{count:,} within {split}" for split, count in f["copies"].items()),
        *_leaks(f["leaks"]),
        *(f"  note         {note}" for note in f["notes"]),
    ]
    pairs = _pairs(one)
    for pair in pairs[:show]:
        same = "same class" if pair["same_class"] else f"{pair['train_class']} and {pair['test_class']}"
        names = [pair[f"{side}_path"] or f"{side} {pair[side]}" for side in ("train", "test")]
        lines.append(
            f"    {pair['kind']:5}  {names[0]}, {names[1]}: {same}"
            + (f", agreement {pair['agreement']:.2f}" if pair["kind"] == "near" else "")
        )
    if show and len(pairs) > show:
        lines.append(f"    and {len(pairs) - show:,} more: --to FILE.csv")
    return lines


def _counts(f: dict[str, Any]) -> str:
    wrong = [
        f"{fact['found']:,} {what} where {fact['published']:,} are published"
        for what, fact in f["published"].items()
        if fact["found"] != fact["published"]
    ]
    if wrong:
        return "; ".join(wrong)
    return "as published" if f["published"] else "no numbers are published"


def _balance(fact: dict[str, Any]) -> str:
    if fact["min"] == fact["max"]:
        return f"{fact['min']:,} of every class"
    text = (
        f"{fact['min']:,} ({fact['smallest']}) to {fact['max']:,} ({fact['largest']}) of a class,"
        f" median {fact['median']:,.0f}"
    )
    if fact["empty"]:
        text += f"; {counted(len(fact['empty']), 'class').replace('classs', 'classes')} without one"
    return text + ("; UNBALANCED: accuracy is mostly that of the large classes" if fact["unbalanced"] else "")


def _sizes(fact: dict[str, Any] | None) -> list[str]:
    if fact is None:
        return []
    side = fact["shorter_side"]
    low, high = fact["smallest"], fact["largest"]
    common = ", ".join(f"{c['size'][0]}x{c['size'][1]} ({c['files']:,})" for c in fact["commonest"])
    return [
        f"  sizes        shorter side {side['min']} to {side['max']} px, median {side['50%']},"
        f" nine tenths {side['5%']} to {side['95%']}; commonest {common}",
        f"               smallest {low['size'][0]}x{low['size'][1]} {low['path']}",
        f"               largest {high['size'][0]}x{high['size'][1]} {high['path']}",
    ]


def _corrupt(paths: list[str]) -> str:
    if not paths:
        return "none"
    return f"{len(paths):,}: " + ", ".join(paths[:3]) + (" ..." if len(paths) > 3 else "")


def _fingerprint(fact: dict[str, Any] | None) -> str:
    if fact is None:
        return "none is kept: there are no prepared arrays"
    if fact["same"]:
        return f"{fact['computed'][:16]}, as it was when the arrays were prepared"
    return f"{fact['computed'][:16]}, NOT {fact['kept'][:16]} as prepared: remove the folder of the arrays"


def _leaks(fact: dict[str, Any]) -> list[str]:
    of = f"of {fact['test']:,} test images"
    files = "" if fact["equal_files"] is None else f", {fact['equal_files']:,} of equal files"
    lines = [
        f"  leaks        {fact['equal']:,} {of} are in the training split byte for byte"
        f" ({fact['equal_pairs']:,} pairs{files})"
    ]
    if fact["near"] is None:
        return [
            *lines,
            "               near-equal ones are not looked for: images as plain as these are all alike",
        ]
    lines.append(
        f"               {fact['near']:,} more are near-equal to a training image ({fact['near_pairs']:,} pairs;"
        f" hashes within {fact['distance']} of 64 bits, gradients that agree to {fact['agreement']})"
    )
    if pool := fact.get("pool"):
        lines.append(
            f"               in the pool: {pool['equal']:,} byte for byte, {pool['near']:,} near-equal"
        )
    return lines


def _pairs(one: "Verified") -> list[dict[str, Any]]:
    """Every pair: the equal ones, then the near-equal, those that agree most first."""
    leaks, rows = one.leaks, []
    near = sorted(zip(leaks.near.tolist(), leaks.agreement.tolist(), strict=True), key=lambda row: -row[1])
    for (train, test), agreement in [*((pair, 1.0) for pair in leaks.equal.tolist()), *near]:
        labels = int(one.train_labels[train]), int(one.test_labels[test])
        rows.append(
            {
                "kind": "equal" if len(rows) < len(leaks.equal) else "near",
                "train": train,
                "test": test,
                "train_class": one.classes[labels[0]],
                "test_class": one.classes[labels[1]],
                "same_class": labels[0] == labels[1],
                "agreement": round(agreement, 4),
                "train_path": None if one.paths is None else one.paths["train"][train],
                "test_path": None if one.paths is None else one.paths["test"][test],
            }
        )
    return rows


def _table(found: "list[Verified]") -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["dataset", *KEYS])
    for one in found:
        writer.writerows([one.facts["name"], *(pair[key] for key in KEYS)] for pair in _pairs(one))
    return text.getvalue()
