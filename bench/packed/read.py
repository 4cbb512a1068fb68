"""A file of packed runs, read: the runs as they were, but that nobody works on them and they left no weights."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.broken import warn
from bench.config import config_id
from bench.errors import RecordError, UsageError
from bench.files import cannot_read
from bench.packed import layout, predictions
from bench.records import Run, State, rows_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow


class _File:
    """An open file; a column is read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self.path = path
        try:
            self._file = pq.ParquetFile(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            if isinstance(error, OSError) and error.errno:
                raise RecordError(cannot_read(path, error)) from None
            with path.open("rb") as file:
                ours = file.read(4) == b"PAR1"
            if ours:
                raise self.broken(error) from None
            raise UsageError(f"{path} holds no packed records: `bench pack` writes them") from None
        version = (self._file.metadata.metadata or {}).get(layout.MARK)
        if version is None:
            raise UsageError(f"{path} holds no packed records: `bench pack` writes them")
        if version != str(layout.VERSION).encode():
            raise UsageError(
                f"{path} is of version {version.decode(errors='replace')} of packed records; this bench reads"
                f" {layout.VERSION}"
            )
        self._texts: dict[str, list[Any]] = {}
        self._arrays: dict[int, pyarrow.ChunkedArray] = {}
        metadata = self._file.metadata
        sizes = [metadata.row_group(k).num_rows for k in range(metadata.num_row_groups)]
        self._places = [(k, i) for k, size in enumerate(sizes) for i in range(size)]

    def broken(self, error: Exception) -> RecordError:
        """The line for a file that is damaged."""
        return RecordError(f"{self.path} is broken: {(str(error).splitlines() or [type(error).__name__])[0]}")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        import pyarrow as pa

        try:
            yield
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as error:
            raise self.broken(error) from None

    def column(self, name: str) -> list[Any]:
        """A column of texts."""
        if name not in self._texts:
            with self._reading():
                self._texts[name] = self._file.read(columns=[name]).column(name).to_pylist()
        return self._texts[name]

    def arrays(self, row: int) -> Any:
        """What is stored of a run's arrays: a struct each."""
        group, place = self._places[row]
        with self._reading():
            if group not in self._arrays:
                self._arrays[group] = self._file.read_row_group(group, columns=["arrays"]).column("arrays")
            return self._arrays[group][place]

    def object(self, name: str, row: int) -> dict[str, Any] | None:
        """A JSON object; None where there is none."""
        text = self.column(name)[row]
        if text is None:
            return None
        with self._reading():
            return json.loads(text)


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
        """What the newest attempt said of itself; {} when there was none."""
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
        return rows_of((self._file.column("epochs")[self._row] or "").encode())[0]

    @property
    def array_names(self) -> list[str]:
        """Names under which it has arrays, see `arrays`."""
        return sorted({str(one["file"]) for one in self._file.arrays(self._row)})

    def arrays(self, name: str) -> "dict[str, np.ndarray] | None":
        """The arrays that were saved as `name`.npz; None when there are none."""
        stored = [one for one in self._file.arrays(self._row) if one["file"].as_py() == name]
        if not stored:
            return None
        with self._file._reading():
            return _arrays(stored)


def _arrays(stored: list[Any]) -> "dict[str, np.ndarray]":
    import numpy as np

    found: dict[str, np.ndarray] = {}
    short: dict[str, dict[str, Any]] = {}
    for one in stored:
        name, form = one["name"].as_py(), one["form"].as_py()
        data = np.frombuffer(one["data"].as_buffer(), np.uint8)
        if form == predictions.RAW:
            found[name] = data.view(np.dtype(one["dtype"].as_py())).reshape(_shape(one))
        else:
            short.setdefault(name, {})[form] = data
            short[name]["like"] = one
    for name, parts in short.items():
        shape, labels = _shape(parts["like"]), found[predictions.LABELS]
        first = parts[predictions.FIRST]
        if len(first) != shape[0]:
            first = first.view("<i2")
        dtype = np.dtype(parts["like"]["dtype"].as_py())
        found[name] = predictions.lengthen(first, parts[predictions.HIT], labels, shape, dtype)
    return found


def _shape(one: Any) -> tuple[int, ...]:
    text = one["shape"].as_py()
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
    runs = []
    for row, cell_id in enumerate(ids):
        config = file.object("config", row) if texts[row] is not None else None
        if not isinstance(config, dict) or config_id(config) != cell_id:
            on_broken(f"{path}: the configuration of {cell_id} is not its own")
            continue
        runs.append(PackedRun(file, row, cell_id, config, on_broken))
    return runs
