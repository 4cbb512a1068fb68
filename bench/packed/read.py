"""A file of packed runs, read: the runs as they were, but that nobody works on them and they left no weights."""

import functools
import itertools
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.broken import warn
from bench.errors import RecordError, UsageError
from bench.files import cannot_read
from bench.packed import layout, predictions
from bench.packed.seal import is_sealed, is_whole
from bench.reading import Configs, rows_of
from bench.records import Run, State

if TYPE_CHECKING:
    import numpy as np
    import pyarrow

_PARQUET = b"PAR1"


class _File:
    """A file's content; a column is unpacked when it is first asked for."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            data = path.read_bytes()
        except OSError as error:
            raise RecordError(cannot_read(path, error)) from None
        if data[:4] != _PARQUET or (data[-4:] == _PARQUET and not is_sealed(data)):
            raise UsageError(f"{path} holds no packed records: `bench pack` writes them")
        if not is_whole(data):
            raise RecordError(f"{path} is broken: its checksum does not fit what is in it")
        self._file = pq.ParquetFile(pa.BufferReader(data))
        metadata = self._file.metadata
        version = metadata.metadata[layout.MARK].decode()
        if version != str(layout.VERSION):
            raise UsageError(
                f"{path} is of version {version} of packed records; this bench reads {layout.VERSION}"
            )
        self._texts: dict[str, list[Any]] = {}
        self._arrays: dict[int, list[list[_Stored]]] = {}
        sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self._places = [(k, i) for k, size in enumerate(sizes) for i in range(size)]

    def column(self, name: str) -> list[Any]:
        """A column of texts."""
        if name not in self._texts:
            self._texts[name] = self._file.read(columns=[name]).column(name).to_pylist()
        return self._texts[name]

    def object(self, name: str, row: int) -> dict[str, Any] | None:
        """A JSON object; None where there is none."""
        text = self.column(name)[row]
        return None if text is None else json.loads(text)

    def arrays(self, row: int) -> "list[_Stored]":
        """What is stored of a run's arrays."""
        group, place = self._places[row]
        if group not in self._arrays:
            column = self._file.read_row_group(group, columns=["arrays"]).column("arrays")
            self._arrays[group] = _unpacked(column)
        return self._arrays[group][place]


class PackedRun(Run):
    """A run of a packed file. `dir` is the file."""

    def __init__(
        self, file: _File, row: int, cell_id: str, config: dict[str, Any], on_broken: Callable[[str], None]
    ) -> None:
        super().__init__(file.path, config, on_broken)
        self.id = cell_id
        self._file, self._row = file, row

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The published result, or None."""
        return self._file.object("result", self._row)

    @cached_property
    def attempt_dir(self) -> Path | None:
        """None: attempts are not packed."""
        return None

    @cached_property
    def attempts(self) -> list[Path]:
        """None of them is packed."""
        return []

    @cached_property
    def status(self) -> dict[str, Any]:
        """What the newest attempt of a run that is not done said of itself."""
        return self._file.object("status", self._row) or {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """As it was published, see `bench.packed.scrub`."""
        return self._file.object("provenance", self._row) or {}

    @cached_property
    def owner(self) -> None:
        """Nobody works on a packed run."""
        return

    @property
    def state(self) -> State:
        """As it was when it was packed."""
        return self._file.column("state")[self._row]

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl."""
        return rows_of(self.metrics_text().encode())[0]

    def metrics_text(self) -> str:
        """Its lines as they were written."""
        return self._file.column("epochs")[self._row] or ""

    @property
    def array_names(self) -> list[str]:
        """Names under which it has arrays, see `arrays`."""
        return sorted({one.file for one in self._file.arrays(self._row)})

    def arrays(self, name: str) -> "dict[str, np.ndarray] | None":
        """The arrays that were saved as `name`.npz; None when there are none."""
        stored = [one for one in self._file.arrays(self._row) if one.file == name]
        return _decoded(stored) if stored else None


class _Stored(NamedTuple):
    """One array, or a part of one, as it lies in the file."""

    file: str
    name: str
    form: str
    dtype: str
    shape: str
    data: "np.ndarray"


def _unpacked(column: "pyarrow.ChunkedArray") -> list[list[_Stored]]:
    """The arrays of each run; the bytes stay where they were read."""
    import numpy as np

    found = []
    for lists in column.chunks:
        values = lists.flatten()
        fields = [values.field(name).to_pylist() for name in _Stored._fields[:-1]]
        data = values.field("data")
        _, places, content = data.buffers()
        ends = np.frombuffer(places, np.int32)[data.offset : data.offset + len(data) + 1].tolist()
        whole = np.frombuffer(content, np.uint8) if content is not None else np.zeros(0, np.uint8)
        parts = [whole[a:b] for a, b in itertools.pairwise(ends)]
        stored = [_Stored(*row) for row in zip(*fields, parts, strict=True)]
        starts = np.frombuffer(lists.buffers()[1], np.int32)[lists.offset : lists.offset + len(lists) + 1]
        sizes = np.diff(starts).tolist()
        at = 0
        for size in sizes:
            found.append(stored[at : at + size])
            at += size
    return found


def _decoded(stored: list[_Stored]) -> "dict[str, np.ndarray]":
    found: dict[str, np.ndarray] = {}
    short: dict[str, dict[str, _Stored]] = {}
    for one in stored:
        if one.form == predictions.RAW:
            found[one.name] = one.data.view(one.dtype).reshape(_shape(one.shape))
        else:
            short.setdefault(one.name, {})[one.form] = one
    for name, parts in short.items():
        first, hit = parts[predictions.FIRST], parts[predictions.HIT]
        shape = _shape(first.shape)
        best = first.data if len(first.data) == shape[0] else first.data.view("<i2")
        found[name] = predictions.lengthen(best, hit.data, found[predictions.LABELS], shape, first.dtype)
    return found


@functools.lru_cache(1024)
def _shape(text: str) -> tuple[int, ...]:
    return tuple(int(side) for side in text.split(",")) if text else ()


def load_packed(path: Path, on_broken: Callable[[str], None] = warn) -> list[PackedRun]:
    """All runs of a file, by id.

    Args:
        path: the file.
        on_broken: told of each run whose configuration is not the one that its id names.

    Raises:
        UsageError: it holds no packed records, or those of another version.
        RecordError: it is broken.
    """
    file = _File(path)
    ids, texts = file.column("id"), file.column("config")
    runs, configs = [], Configs()
    for row, (cell_id, text) in enumerate(zip(ids, texts, strict=True)):
        config, own_id = configs.read(text.encode())
        if own_id != cell_id:
            on_broken(f"{path}: the configuration of {cell_id} is not its own")
            continue
        runs.append(PackedRun(file, row, cell_id, config, on_broken))
    return runs
