"""Which file an image of a split came from, and which files of two data sets have the same bytes."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

from bench.data.arrays import Dataset
from bench.data.source import Source
from bench.errors import DataError


def split_paths(source: Source, data: Dataset) -> dict[str, list[str]] | None:
    """Paths of a whole data set's images, split by split, in the order of its arrays.

    Args:
        source: what its reader found.
        data: what was loaded from it.

    Returns:
        "train", "pool" and "test" -> paths below `Source.images_where`; None where images are no files.
    """
    if source.layout is None:
        return None
    layout, broken = source.layout(), frozenset(data.corrupt)
    train = [path for path, _ in layout.train]
    paths = {
        "train": train,
        "pool": [*train[layout.pool_start :], *layout.unlabelled],
        "test": [path for path, _ in layout.test],
    }
    found = {name: [path for path in some if path not in broken] for name, some in paths.items()}
    lengths = {"train": len(data.train), "pool": len(data.pool), "test": len(data.test)}
    return found if {name: len(some) for name, some in found.items()} == lengths else None


def equal_files(
    where: Path, paths: Sequence[str], other: Path, others: Sequence[str]
) -> list[tuple[int, int]]:
    """Pairs of files of the same bytes, as positions in `paths` and in `others`, sorted by the second.

    Only files of a size that both sides have are read.

    Raises:
        DataError: one of them cannot be read.
    """
    sizes, other_sizes = [_size(where / path) for path in paths], [_size(other / path) for path in others]
    shared = set(sizes) & set(other_sizes)
    known: dict[bytes, list[int]] = {}
    for i, size in enumerate(sizes):
        if size in shared:
            known.setdefault(_digest(where / paths[i]), []).append(i)
    return [
        (i, j)
        for j, size in enumerate(other_sizes)
        if size in shared
        for i in known.get(_digest(other / others[j]), ())
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _digest(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
