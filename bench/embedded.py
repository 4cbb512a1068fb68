"""Files of features: npy with what belongs to it beside it, or one Parquet file. Whole or not there. No torch."""

import contextlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import UsageError
from bench.files import dumps, temporary, trouble, write_bytes

if TYPE_CHECKING:
    from bench.embed import Rows

SUFFIXES = (".npy", ".parquet")
# In a Parquet file's own metadata, where its features are from.
KEY = b"bench"


def files_of(path: Path) -> list[Path]:
    """Every file that features at a path consist of."""
    return (
        [path]
        if path.suffix == ".parquet"
        else [path.with_suffix(".labels.npz"), path.with_suffix(".json"), path]
    )


def check_target(path: Path, force: bool) -> None:
    """Refuse a path that is not ours to write.

    Raises:
        UsageError: no such kind of file, or one is there and `force` is not set, or there is no folder for it.
    """
    if path.suffix not in SUFFIXES:
        raise UsageError(f"--to {path}: features are written as {' or '.join(SUFFIXES)}")
    for file in files_of(path):
        if file.is_dir() or (file.exists() and not force):
            raise UsageError(f"{file} is there already: choose another, or --force replaces it")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.absolute().parent}")


def write(
    path: Path, chunks: "Iterable[Rows]", total: int, classes: Sequence[str], facts: dict[str, Any]
) -> int:
    """Write features as they come; gives the width of a row.

    Args:
        path: ends in .npy or .parquet.
        chunks: in the order of writing.
        total: rows in all.
        classes: names, in the order of the labels.
        facts: where the features are from, as JSON.

    Raises:
        UsageError: the file system refuses. No file is left.
    """
    writer = _parquet if path.suffix == ".parquet" else _npy
    places = [temporary(file) for file in files_of(path)]
    try:
        width = writer(places, chunks, total, classes, facts)
        # The features last: where they are, what belongs to them is.
        for place, file in zip(places, files_of(path), strict=True):
            place.replace(file)
        return width
    except OSError as error:
        raise UsageError(trouble(error) or f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        for place in places:
            with contextlib.suppress(OSError):
                place.unlink(missing_ok=True)


def _npy(
    places: list[Path], chunks: "Iterable[Rows]", total: int, classes: Sequence[str], facts: dict[str, Any]
) -> int:
    labels, rows, splits = [], [], []
    array, done = None, 0
    for part in chunks:
        if array is None:
            shape = (total, part.features.shape[1])
            array = np.lib.format.open_memmap(places[2], mode="w+", dtype=np.float32, shape=shape)
        array[done : done + len(part.rows)] = part.features
        done += len(part.rows)
        labels.append(part.labels)
        rows.append(part.rows)
        splits.append(np.full(len(part.rows), part.split, dtype="U5"))
    assert array is not None
    assert done == total
    array.flush()
    with places[0].open("wb") as file:
        np.savez(
            file, labels=np.concatenate(labels), rows=np.concatenate(rows), splits=np.concatenate(splits)
        )
    write_bytes(places[1], (dumps({**facts, "classes": list(classes)}, indent=1) + "\n").encode())
    return array.shape[1]


def _parquet(
    places: list[Path], chunks: "Iterable[Rows]", total: int, classes: Sequence[str], facts: dict[str, Any]
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from bench.packed.columns import column

    def batches() -> Iterator[pa.RecordBatch]:
        for part in chunks:
            count, width = part.features.shape
            values = pa.Array.from_buffers(
                pa.float32(), count * width, [None, pa.py_buffer(np.ascontiguousarray(part.features))]
            )
            names = [classes[label] if label >= 0 else None for label in part.labels]
            columns = {
                "split": column(pa.string(), [part.split] * count),
                "row": column(pa.int64(), part.rows.tolist()),
                "label": column(
                    pa.int64(), [label if label >= 0 else None for label in part.labels.tolist()]
                ),
                "class": column(pa.string(), names),
                "features": pa.FixedSizeListArray.from_arrays(values, width),
            }
            yield pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    writer, done, width = None, 0, 0
    try:
        for batch in batches():
            if writer is None:
                text = json.dumps({**facts, "classes": list(classes)}, allow_nan=False)
                writer = pq.ParquetWriter(places[0], batch.schema.with_metadata({KEY: text.encode()}))
            writer.write_batch(batch)
            done, width = done + batch.num_rows, batch.schema.field("features").type.list_size
    finally:
        if writer is not None:
            writer.close()
    assert done == total
    return width
