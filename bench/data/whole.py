"""A whole data set as it was prepared, before a fraction of it is taken or its leaks are left out."""

from collections.abc import Callable
from pathlib import Path

from bench.data import registry
from bench.data.arrays import Dataset
from bench.data.compressed import open_compressed, stays_compressed
from bench.data.fractions import whole_name
from bench.data.leak_records import Record, entry_of, look
from bench.data.prepare import prepared
from bench.data.source import DatasetSpec, Progress


def whole(
    name: str,
    root: Path | None,
    skip_corrupt: bool = False,
    min_side: int = registry.MIN_SIDE,
    progress: Progress | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> tuple[Dataset, DatasetSpec, Path | None]:
    """A data set without its fraction, its row, and where what is found of it is kept.

    See `bench.data.registry.load` for the arguments and what it raises.
    """
    row, source = registry.spec(whole_name(name)), registry.find(name, root)
    root = None if root is None else Path(root).absolute()
    if source.layout is not None and stays_compressed(row, len(source.list_files())):
        data = open_compressed(row, source, root, skip_corrupt, progress)
    else:
        data = prepared(row, source, root, skip_corrupt, min_side, progress, waiting)
    return data, row, entry_of(row, source, root, data)


def recorded(name: str, root: Path | None, skip_corrupt: bool = False) -> tuple[Dataset, Record]:
    """A whole data set and what is known of its leaks, which is looked for if nobody has."""
    data, row, entry = whole(name, root, skip_corrupt)
    return data, look(data, entry, row.near_equal)
