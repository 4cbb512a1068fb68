"""Every data set by name: where its reader is and what is known of it. Cheap to import.

A new data set is a function `(DatasetSpec, root) -> Source` and a row of `bench.data.rows`.
A package's data set comes by the entry point `bench.datasets` (docs/plugins.md).
"""

import dataclasses
import hashlib
import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.data.dropped import DROP_LEAKS, FOUND_BY, FOUND_BY_VERSION, split_dropped
from bench.data.fractions import FRACTION, split_fraction, whole_name
from bench.data.names import FOLDER, TIMM, known_name, parse
from bench.data.rows import DATASETS
from bench.data.source import DatasetSpec, Progress, Source, check_row, given_folder
from bench.data.with_path import MIN_SIDE, row_with_path
from bench.errors import BenchError, DataError, UsageError, choice_error
from bench.protocols import PRESETS
from models import plugins

if TYPE_CHECKING:
    from bench.data.arrays import Dataset

__all__ = [
    "DATASETS",
    "DatasetSpec",
    "describe",
    "download",
    "find",
    "identity",
    "load",
    "locate",
    "open_prefixes",
    "spec",
]


def open_prefixes() -> tuple[str, ...]:
    """What a data set's name begins with where a path follows: "folder:", "imagenet:" and the like."""
    return tuple(
        f"{kind}:" for kind in (FOLDER, TIMM, *(row.name for row in DATASETS.values() if row.takes_path))
    )


def load_plugins() -> None:
    """Add the data sets that packages offer; one that cannot be used is noted in `models.plugins.BROKEN`."""
    plugins.load("bench.datasets", DatasetSpec, DATASETS, check_row)
    for row in DATASETS.values():
        for preset, epochs in row.epochs.items():
            PRESETS[preset].setdefault(row.name, epochs)


def spec(name: str) -> DatasetSpec:
    """The row of a data set, or one made for `folder:PATH` or `LAYOUT:PATH`, `@SIZE` behind it or not.

    A fraction (`cifar100@10%`) has the row of its data set; only its number of training images is its own. So has
    one without leaks (`cifar100@noleaks`).

    Raises:
        UsageError: no such data set; names the nearest one.
    """
    whole, fraction = split_fraction(split_dropped(name)[0])
    if whole != name:
        row = spec(whole)
        if fraction is None:
            return row
        count = None if row.num_train is None else max(1, round(fraction * row.num_train))
        return dataclasses.replace(row, num_train=count)
    if ":" in name:
        if not name.startswith(open_prefixes()):
            load_plugins()
        return row_with_path(name, DATASETS, open_prefixes())
    if name not in DATASETS:
        load_plugins()
    if name not in DATASETS:
        if broken := plugins.broken("bench.datasets", name):
            raise UsageError(str(broken))
        raise choice_error("data set", name, [*DATASETS, "folder:PATH"])
    return DATASETS[name]


def find(name: str, root: Path | None) -> Source:
    """What the reader of a data set finds, of a fraction that of the whole; nothing is decoded.

    Raises:
        UsageError: no such data set.
        DataError: it is not there; says what to download from where into which folder.
    """
    return _find(spec(whole_name(name)), root)


def locate(name: str, root: Path | None) -> dict[str, Any]:
    """Find a data set without decoding anything: {"name", "where", "files"}.

    Raises:
        UsageError: no such data set.
        DataError: it is not there or not whole; says what to download from where into which folder.
    """
    source = find(name, root)
    files = source.list_files()
    return {"name": name, "where": None if source.where is None else str(source.where), "files": len(files)}


def identity(name: str, root: Path | None, skip_corrupt: bool = False) -> dict[str, Any]:
    """What enters the id of a run. No path is in it, so that data may be moved.

    A `folder:PATH` or `LAYOUT:PATH` is known by its base name and by the paths and sizes of its images.

    Raises:
        UsageError: no such data set.
        DataError: what a path names is not there or not usable.
    """
    name, other = split_dropped(name)
    name, fraction = split_fraction(name)
    row = spec(name)
    about: dict[str, Any] = {"name": row.name, "version": row.version}
    if fraction is not None:
        about[FRACTION] = fraction
    if row.at is not None:
        source = _find(row, root)
        listing = [(file.path, file.size) for file in source.list_files()]
        plain = parse(name).kind in (FOLDER, TIMM)
        about["name"] = known_name(name, source.where if plain else given_folder(row, root))
        if listing:  # of what timm finds by a name, nothing is listed
            about["listing"] = hashlib.sha256(json.dumps(listing).encode()).hexdigest()[:16]
    if skip_corrupt and row.files:
        about["skip_corrupt"] = True
    if other is not None:
        about[DROP_LEAKS] = identity(other, root, skip_corrupt) if other else True
        about[FOUND_BY] = FOUND_BY_VERSION
    return about


def load(
    name: str,
    root: Path | None,
    skip_corrupt: bool = False,
    *,
    min_side: int = MIN_SIDE,
    progress: Progress | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> "Dataset":
    """The arrays of a data set, decoded on the first call and memory-mapped from then on.

    Of a data set that stays compressed (`bench.data.compressed`), what reads like arrays.

    Args:
        name: of a row of `DATASETS`, or `folder:PATH`, or `folder:PATH@SIZE`, or a row's layout elsewhere,
            `LAYOUT:PATH`; `@10%` after it takes a tenth of the training images; `@noleaks` leaves out those
            that are in the test split too, see `bench.data.dropped`.
        root: the data folder; None for data that need none.
        skip_corrupt: leave out files that cannot be decoded (`Dataset.corrupt`) instead of refusing.
        min_side: refuse images with fewer pixels on the shorter side; a backbone's stride.
        progress: called with (files done, files in all) while decoding.
        waiting: called where another process prepares them, before this one waits for it.

    Raises:
        UsageError: no such data set.
        DataError: it is missing, incomplete or broken, or its arrays can be kept nowhere.
    """
    from bench.data.guards import guarded
    from bench.data.whole import recorded, whole

    data, row, entry = whole(name, root, skip_corrupt, min_side, progress, waiting)
    other = split_dropped(name)[1]
    return guarded(data, name, row, entry, recorded(other, root, skip_corrupt) if other else None)


def is_compressed(name: str, root: Path | None) -> bool:
    """Whether a data set's images are decoded when they are asked for; see `bench.data.compressed`.

    Raises:
        UsageError: no such data set.
        DataError: it is missing or incomplete.
    """
    return _compressed(spec(whole_name(name)), find(name, root))


def _compressed(row: DatasetSpec, source: Source) -> bool:
    from bench.data.compressed import stays_compressed

    return source.layout is not None and stays_compressed(row, len(source.list_files()))


def describe(name: str, root: Path | None) -> dict[str, Any]:
    """Facts of a data set and whether it is there, for listings; never raises DataError."""
    row = spec(name)
    facts: dict[str, Any] = {
        key: getattr(row, key)
        for key in (
            "name",
            "title",
            "image_size",
            "num_classes",
            "num_train",
            "num_test",
            "flip",
            "paper",
            "version",
        )
    }
    try:
        where = find(name, root).where
    except DataError as error:
        return facts | {"found": False, "where": None, "problem": str(error)}
    return facts | {"found": True, "where": None if where is None else str(where), "problem": None}


def download(name: str, root: Path | None) -> None:
    """Fetch a data set into the data folder, where that can be done by program.

    Raises:
        DataError: it cannot; says how to get the data by hand.
    """
    row = spec(whole_name(name))
    if row.loader.startswith("bench.data.cifar:") and root is not None:
        from bench.data import cifar

        cifar.download(row, Path(root))
    elif parse(name).kind == TIMM:
        from bench.data import timm_readers

        timm_readers.download(row, root)
    elif row.needs_root:
        if root is None:
            raise DataError(f"{name} needs a data folder to be downloaded into (--data DIR or BENCH_DATA)")
        raise DataError(f"{name} cannot be downloaded by program: {row.source.format(root=root)}")


def _find(row: DatasetSpec, root: Path | None) -> Source:
    module, _, function = row.loader.partition(":")
    package = plugins.PACKAGES.get(("bench.datasets", row.name.partition(":")[0]))
    try:
        reader = getattr(importlib.import_module(module), function)
        return reader(row, None if root is None else Path(root).absolute())
    except BenchError:
        raise
    except Exception as error:
        # A stranger's reader must not end the listing of all the others.
        if package is None:
            raise
        raise DataError(
            f"{row.name}: its reader in {package} raises {type(error).__name__}: {error}"
        ) from error
