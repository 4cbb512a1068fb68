"""`bench data prepare`."""

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from bench.commands.options import data_option, json_option, user_path
from bench.data import registry as datasets
from bench.data.entries import entries
from bench.data.fractions import split_fraction
from bench.files import dumps
from bench.progress import file_bar
from bench.time_left import duration

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

LINE_SECONDS = 30.0


@click.command("prepare")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@data_option
@click.option("--skip-corrupt", is_flag=True, help="Leave out images that cannot be decoded.")
@json_option
def command(names: tuple[str, ...], root: Path | None, skip_corrupt: bool, as_json: bool) -> None:
    """Decode data sets ahead of runs, with all cores, into arrays that several processes map at once.

    Killed at any moment, it goes on where it was: type the same line again. What is prepared is not decoded again.
    Of a data set that stays compressed every file is decoded once, to find those that are broken.

    \b
    bench data prepare places205 --data /data
    bench data prepare folder:birds@128 --skip-corrupt
    """  # noqa: D301
    for name in names:
        datasets.spec(name)
    facts = []
    for name in names:
        facts.append(prepare(name, user_path(root), skip_corrupt))
        if not as_json:
            click.echo("\n".join(_words(facts[-1])))
    if as_json:
        click.echo(dumps(facts, indent=1))


def prepare(name: str, root: Path | None, skip_corrupt: bool) -> dict[str, Any]:
    """Prepare one data set; gives what is known of it then.

    Raises:
        DataError: it is missing, incomplete or broken, or its arrays can be kept nowhere.
    """
    import numpy as np

    begun, row = time.monotonic(), datasets.spec(name)

    def waiting() -> None:
        click.echo(f"{name}: another process prepares it; waiting until it is done", err=True)

    with _Shown(name) as shown:
        compressed = datasets.is_compressed(name, root)
        if compressed:
            # Nothing is kept but which files are broken, so that a run is not the one to find out.
            datasets.load(name, root, skip_corrupt=True, min_side=1, progress=shown)
        # Whether images are large enough is a question of the backbone, which a run knows.
        data = datasets.load(name, root, skip_corrupt, min_side=1, progress=shown, waiting=waiting)
    part = split_fraction(name)[1] is not None
    found = entries(row, datasets.find(name, root), root)
    entry = next((one for one in found if part or one.about["sha256"] == data.fingerprint), None)
    each = np.bincount(data.train.labels[data.train.labels >= 0], minlength=len(data.classes))
    return {
        "name": name,
        "compressed": compressed,
        "decoded": shown.decoded,
        "seconds": time.monotonic() - begun,
        "path": None if entry is None else str(entry.path),
        "bytes": None if entry is None else entry.num_bytes,
        "image_size": data.train.images.shape[-1],
        "classes": len(data.classes),
        "train": len(data.train),
        "test": len(data.test),
        "pool": len(data.pool),
        "images_a_class": [int(each.min()), int(each.max())],
        "corrupt": list(data.corrupt),
        "notes": list(data.notes),
        "fingerprint": data.fingerprint,
    }


def _words(fact: dict[str, Any]) -> list[str]:
    """What was prepared, for a person."""
    least, most = fact["images_a_class"]
    each = f"{least:,}" if least == most else f"{least:,} to {most:,}"
    pool = f", {fact['pool']:,} to pretrain on" if fact["pool"] != fact["train"] else ""
    took = f"{fact['decoded']:,} files decoded in {duration(fact['seconds'])}"
    kept = f"{fact['path']} ({fact['bytes'] / 1e6:,.1f} MB)" if fact["path"] else "no folder"
    kept = "nothing but which files are broken" if fact["compressed"] else kept
    lines = [
        f"{fact['name']}: {took if fact['decoded'] else 'nothing to decode'}",
        f"  kept in      {kept}",
        f"  images       {fact['train']:,} train, {fact['test']:,} test{pool}; {fact['image_size']} pixels a side",
        f"  classes      {fact['classes']:,}; {each} training images each",
        f"  fingerprint  {fact['fingerprint']}",
        *(f"  note         {note}" for note in fact["notes"]),
    ]
    if broken := fact["corrupt"]:
        lines.insert(3, f"  corrupt      {len(broken):,} left out, the first is {broken[0]}")
    return lines


class _Shown:
    """How far decoding is, on standard error: a bar on a terminal, else a line now and then.

    Attributes:
        decoded: files that were decoded here; those that a killed process had finished are not among them.
    """

    def __init__(self, name: str) -> None:
        self.name, self.decoded = name, 0
        self._first: int | None = None
        self._last = time.monotonic()
        self._bar: RichProgress | None = None

    def __call__(self, done: int, total: int) -> None:
        """See `bench.data.source.Progress`."""
        if self._first is None:
            self._first = done
            self._begin(done, total)
        self.decoded = done - self._first
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)
        elif time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            click.echo(f"{self.name}: {done:,} of {total:,} files", err=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _begin(self, done: int, total: int) -> None:
        where = f" from file {done:,} on" if done else ""
        click.echo(f"{self.name}: decoding {total:,} files{where}", err=True)
        if sys.stderr.isatty():
            self._bar = file_bar(sys.stderr)
            self._bar.add_task(self.name, total=total, completed=done)
            self._bar.start()
