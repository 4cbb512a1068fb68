"""Columns from lists, by their buffers: pyarrow's own conversion looks for pandas first, half a second."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow


def _buffer(values: np.ndarray) -> "pyarrow.Buffer":
    import pyarrow as pa

    return pa.py_buffer(np.ascontiguousarray(values))


def _present(values: Sequence[Any]) -> "pyarrow.Buffer":
    return _buffer(np.packbits(np.array([value is not None for value in values], bool), bitorder="little"))


def _ends(sizes: Sequence[int]) -> np.ndarray:
    ends = np.zeros(len(sizes) + 1, np.int64)
    np.cumsum(sizes, out=ends[1:])
    return ends.astype(np.int32)


def numbers(kind: "pyarrow.DataType", values: Sequence[float | int | None]) -> "pyarrow.Array":
    """Integers or real numbers of 64 bits; None is null."""
    import pyarrow as pa

    plain = [0 if value is None else value for value in values]
    data = np.array(plain, np.int64 if kind == pa.int64() else np.float64)
    return pa.Array.from_buffers(kind, len(data), [_present(values), _buffer(data)])


def texts(kind: "pyarrow.DataType", values: Sequence[str | bytes | None]) -> "pyarrow.Array":
    """Texts or bytes; None is null."""
    import pyarrow as pa

    parts = [b"" if v is None else v.encode() if isinstance(v, str) else v for v in values]
    ends = _buffer(_ends([len(part) for part in parts]))
    return pa.Array.from_buffers(kind, len(parts), [_present(values), ends, pa.py_buffer(b"".join(parts))])


def column(kind: "pyarrow.DataType", values: Sequence[Any]) -> "pyarrow.Array":
    """A column of one of the types of `bench.packed.layout.schema`.

    Args:
        kind: numbers, texts, bytes, maps from texts to numbers, or lists of structs of these.
        values: one a row; pairs for a map, dicts for structs.
    """
    import pyarrow as pa

    if pa.types.is_map(kind):
        pairs = [pair for row in values for pair in row]
        keys, items = (
            column(t, [pair[k] for pair in pairs]) for k, t in enumerate((kind.key_type, kind.item_type))
        )
        return pa.MapArray.from_arrays(_offsets(values), keys, items)
    if pa.types.is_list(kind):
        rows, fields = [one for row in values for one in row], list(kind.value_type)
        parts = [column(field.type, [one[field.name] for one in rows]) for field in fields]
        return pa.ListArray.from_arrays(_offsets(values), pa.StructArray.from_arrays(parts, fields=fields))
    return (numbers if kind in (pa.int64(), pa.float64()) else texts)(kind, values)


def _offsets(values: Sequence[Sequence[Any]]) -> "pyarrow.Array":
    import pyarrow as pa

    ends = _ends([len(row) for row in values])
    return pa.Array.from_buffers(pa.int32(), len(ends), [None, _buffer(ends)])
