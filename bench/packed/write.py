"""Runs into a file."""

from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.errors import UsageError
from bench.files import write_bytes
from bench.packed import layout, predictions
from bench.packed.columns import column
from bench.packed.predictions import Kept
from bench.packed.seal import BLANK, seal
from bench.records import PICTURES

if TYPE_CHECKING:
    from bench.records import Run

# Of zstd: higher ones take ten times as long for a twentieth of the size.
LEVEL = 9
# A group's arrays are unpacked together, and Parquet counts a page's bytes in 31 bits.
GROUP_BYTES, GROUP_ROWS = 128 << 20, 20_000


def pack(runs: Iterable["Run"], *, without: Collection[str] = PICTURES, predictions: Kept = "first") -> bytes:
    """The bytes of a file that holds runs.

    Args:
        runs: in any order, such as `bench.records.load_runs` gives them.
        without: names of arrays to leave out; all that hold pictures of a data set unless told otherwise.
        predictions: "first" keeps of a probe's predictions what a report needs, see `bench.packed.predictions`;
            "all" keeps five classes an image, in six times the space.

    Raises:
        RecordError: a packed file that the runs come from is broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = layout.schema()
    out = pa.BufferOutputStream()
    # Equal values are stored once a group, however far apart: the labels of a test set, an unchanged prediction.
    writer = pq.ParquetWriter(
        out, schema, compression="zstd", compression_level=LEVEL, use_dictionary=True,
        dictionary_pagesize_limit=1 << 30, write_statistics=False,
        store_schema=False,
    )  # fmt: skip
    with writer:
        version = str(layout.VERSION).encode()
        writer.add_key_value_metadata({layout.MARK: version, layout.CHECKSUM: BLANK})
        for rows in _groups(runs, frozenset(without), predictions):
            filled = [column(field.type, [row[field.name] for row in rows]) for field in schema]
            writer.write_table(pa.Table.from_arrays(filled, schema=schema))
    return seal(out.getvalue().to_pybytes())


def write_packed(runs: Iterable["Run"], path: Path, **options: Any) -> Path:
    """Write runs into a file; see `pack` for the options.

    Raises:
        UsageError: the file cannot be written. What was there before still is.
        RecordError: a packed file that the runs come from is broken.
    """
    data = pack(runs, **options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}") from None
    return path


def _groups(runs: Iterable["Run"], without: frozenset[str], kept: Kept) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for run in sorted(runs, key=lambda run: run.id):
        arrays = list(_arrays(run, without, kept))
        more = sum(len(array["data"]) for array in arrays)
        if rows and (size + more > GROUP_BYTES or len(rows) == GROUP_ROWS):
            yield rows
            rows, size = [], 0
        rows.append({**layout.row(run), "arrays": arrays})
        size += more
    yield rows


def _arrays(run: "Run", without: frozenset[str], kept: Kept) -> Iterator[dict[str, Any]]:
    # What a run that is not done left is half of something.
    if run.result is None:
        return
    for file in run.array_names:
        if file in without:
            continue
        for name, form, dtype, shape, data in _stored(run.arrays(file) or {}, kept):
            yield {
                "file": file,
                "name": name,
                "form": form,
                "dtype": dtype,
                "shape": ",".join(map(str, shape)),
                "data": data.tobytes(),
            }


def _stored(
    arrays: dict[str, np.ndarray], kept: Kept
) -> Iterator[tuple[str, str, str, tuple[int, ...], np.ndarray]]:
    labels = arrays.get(predictions.LABELS)
    for name in sorted(arrays):
        array = arrays[name]
        dtype = array.dtype.str
        if labels is not None and name.startswith(predictions.PREFIX):
            short = predictions.shorten(array, labels)
            if short is not None and (kept == "first" or _loses_nothing(array, labels, short)):
                yield name, predictions.FIRST, dtype, array.shape, short[0]
                yield name, predictions.HIT, dtype, array.shape, short[1]
                continue
        yield name, predictions.RAW, dtype, array.shape, np.ascontiguousarray(array)


def _loses_nothing(array: np.ndarray, labels: np.ndarray, short: tuple[np.ndarray, np.ndarray]) -> bool:
    if not predictions.is_short(array):
        return False
    return np.array_equal(predictions.lengthen(*short, labels, array.shape, array.dtype), array)
