"""What runs left on disk, read: one `Run` a cell. No torch.

A cell's folder is results/runs/<id>/:

- config.json
- result.json: a link to the result of one attempt; the only mark of done
- claim.json: who works on it
- attempts/NNNN/: provenance.json, status.json, metrics.jsonl, log.txt, checkpoints, arrays

Records that were published are one file instead, see `bench.packed`; `load_runs` reads either.
"""

import contextlib
import os
import re
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench import claims
from bench.attempts import Attempt
from bench.broken import Once, object_or_none, warn
from bench.config import config_id
from bench.errors import RecordError, UsageError
from bench.files import cannot_read
from bench.reading import Configs, read_at_once, rows_of
from bench.results_folder import PACKED, check_results, open_results, packed_file
from bench.run_folder import CONFIG, METRICS, PROVENANCE, RESULT, STATUS, attempt_dirs, is_result, run_dir

__all__ = [
    "PACKED",
    "PICTURES",
    "Attempt",
    "Once",
    "Run",
    "check_results",
    "find_run",
    "load_run",
    "load_runs",
    "open_results",
    "packed_file",
    "run_dir",
]

_ID = re.compile("[0-9a-f]{16}")
# Arrays that hold pictures of a data set, by the name of their file: records that are published leave them out.
PICTURES = frozenset({"reconstructions", "masks", "parts"})
_FEW_BYTES = 1 << 14
State = Literal["new", "running", "interrupted", "failed", "done"]


class Run:
    """A cell's folder. What is there may be partial; what is broken reads as missing and is named once."""

    def __init__(
        self, folder: Path | str, config: dict[str, Any], on_broken: Callable[[str], None] = warn
    ) -> None:
        # As text: a report of ten thousand runs spends a second on making paths.
        self._folder = os.fspath(folder)
        self.id = self._folder.rpartition(os.sep)[2]
        self.config = config
        self._on_broken = on_broken

    @cached_property
    def dir(self) -> Path:
        """Its folder."""
        return Path(self._folder)

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The published result, or None."""
        row = object_or_none(f"{self._folder}/{RESULT}", self._on_broken)
        if row is not None and not is_result(row, self.id):
            self._on_broken(f"{self.dir / RESULT} is not a result of this cell")
            return None
        return row

    @cached_property
    def attempt_dir(self) -> Path | None:
        """The folder of the attempt whose result is published; of the newest one while there is none."""
        return None if self._attempt is None else Path(self._attempt)

    @cached_property
    def _attempt(self) -> str | None:
        if self.result is not None:
            return f"{self._folder}/attempts/{self.result['attempt']}"
        newest = next(iter(self.attempts), None)
        return None if newest is None else str(newest)

    @cached_property
    def attempts(self) -> list[Path]:
        """Folders of its attempts, the newest first."""
        try:
            return attempt_dirs(self.dir, self._on_broken)
        except OSError as error:
            self._on_broken(cannot_read(self.dir, error))
            return []

    @cached_property
    def status(self) -> dict[str, Any]:
        """What the newest attempt says of itself; {} when there is none."""
        newest = next(iter(self.attempts), None)
        return (object_or_none(newest / STATUS, self._on_broken) if newest else None) or {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Of the attempt in `attempt_dir`; {} when there is none."""
        folder = self._attempt
        return (object_or_none(f"{folder}/{PROVENANCE}", self._on_broken) if folder else None) or {}

    @cached_property
    def owner(self) -> claims.Owner | None:
        """Who works on it now."""
        with contextlib.suppress(RecordError):
            return claims.holder(self.dir)
        return None

    @property
    def state(self) -> State:
        """Done by the result; running by the claim; failed by the newest attempt's word; else interrupted."""
        if self.result is not None:
            return "done"
        if self.owner is not None:
            return "running"
        if not self.status:
            return "interrupted" if self.attempts else "new"
        return "failed" if self.status.get("state") == "failed" else "interrupted"

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl, up to the first that is broken; a last line that a kill cut short is no fault."""
        return self._metrics()[0]

    def metrics_text(self) -> str:
        """The lines of those rows as they were written."""
        rows, text = self._metrics()
        return b"".join(text.splitlines(keepends=True)[: len(rows)]).decode()

    def _metrics(self) -> tuple[list[dict[str, Any]], bytes]:
        folder = self._attempt
        if folder is None:
            return [], b""
        path = f"{folder}/{METRICS}"
        try:
            text = read_at_once(path)
        except FileNotFoundError:
            return [], b""
        except OSError as error:
            self._on_broken(cannot_read(Path(path), error))
            return [], b""
        rows, broken = rows_of(text)
        if broken and (self.result is not None or text.count(b"\n") >= broken):
            self._on_broken(f"{path} is broken from line {broken} on: what is before it is taken")
        return rows, text

    def arrays(self, name: str) -> dict[str, Any] | None:
        """The arrays that were saved as `name`.npz; None when there are none that can be read."""
        if name in self._kept:
            return dict(self._kept[name])
        folder = self._attempt
        if folder is None:
            return None
        from bench.npz import read_npz

        path = f"{folder}/{name}.npz"
        try:
            found = read_npz(path)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._on_broken(f"{path} cannot be read: {error}")
            return None
        if sum(array.nbytes for array in found.values()) <= _FEW_BYTES:
            self._kept[name] = found
        return dict(found)

    @cached_property
    def _kept(self) -> dict[str, dict[str, Any]]:
        """Arrays that were read, where they are small: a report asks for them three times."""
        return {}

    @property
    def array_names(self) -> list[str]:
        """Names under which it has arrays, see `arrays`."""
        folder = self._attempt
        if folder is None:
            return []
        try:
            with os.scandir(folder) as entries:
                return sorted(e.name[:-4] for e in entries if e.name.endswith(".npz") and e.name[0] != ".")
        except OSError:
            # Whoever asks for the attempt's other files is told.
            return []

    def predictions(self) -> dict[str, Any] | None:
        """Of a probe: labels [n] and top5_<rule> [n, 5], the best class first; of `features`, top5_knn and _linear.

        Where fewer than five classes have a claim, the rest is -1.
        """
        return self.arrays("predictions")

    def reconstructions(self) -> dict[str, Any] | None:
        """Arrays of a pretraining that decodes: images and reconstructions, uint8 [16, 3, h, w]."""
        return self.arrays("reconstructions")

    @property
    def weights(self) -> Path | None:
        """The weights that a pretraining left."""
        if self.result is None or self.attempt_dir is None:
            return None
        path = self.attempt_dir / "model.safetensors"
        return path if path.exists() else None


def load_run(results: Path, cell_id: str, on_broken: Callable[[str], None] = warn) -> Run | None:
    """One cell by its whole id, or None when there is nothing of it."""
    return _load(str(run_dir(results, cell_id)), cell_id, Configs(), on_broken)


def _load(folder: str, cell_id: str, configs: Configs, on_broken: Callable[[str], None]) -> Run | None:
    path = f"{folder}/{CONFIG}"
    try:
        config, own_id = configs.read(read_at_once(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        config = object_or_none(path, on_broken)
        if config is None:
            return None
        own_id = config_id(config)
    if own_id != cell_id:
        on_broken(f"{path} does not belong to its folder")
        return None
    return Run(folder, config, on_broken)


def load_runs(results: Path | str, on_broken: Callable[[str], None] = warn) -> list[Run]:
    """All runs of a results folder, or of a file of packed ones, by id.

    Args:
        results: the results folder, a file that `bench pack` wrote, or a folder that holds one and no runs; one
            that is missing or empty has no runs.
        on_broken: called with a line for every file that cannot be read; the others are read all the same.

    Raises:
        UsageError: another version's folder, or a file of no records.
        RecordError: a file of packed records that is broken.
    """
    results = Path(results)
    if (file := packed_file(results)) is not None:
        from bench.packed import load_packed

        return list(load_packed(file, on_broken))
    check_results(results, on_broken)
    try:
        names = sorted(e.name for e in os.scandir(results / "runs") if not e.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        on_broken(cannot_read(results / "runs", error))
        return []
    runs, parent, configs = [], str(results / "runs"), Configs()
    for name in names:
        if not _ID.fullmatch(name):
            on_broken(f"{parent}/{name} is no cell's folder: it is left alone")
        elif (run := _load(f"{parent}/{name}", name, configs, on_broken)) is not None:
            runs.append(run)
    return runs


def find_run(results: Path, prefix: str) -> Run:
    """The run whose id begins with `prefix`, of a results folder or a file of packed runs.

    Raises:
        UsageError: none or several do.
        RecordError: it cannot be read.
    """
    packed: dict[str, Run] = {}
    if packed_file(results) is not None:
        packed = {run.id: run for run in load_runs(results)}
        names = sorted(name for name in packed if name.startswith(prefix))
    else:
        check_results(results)
        try:
            names = sorted(e.name for e in os.scandir(results / "runs") if e.name.startswith(prefix))
        except (FileNotFoundError, NotADirectoryError):
            names = []
    if not names or not prefix:
        raise UsageError(f"no run {prefix!r} in {results}: `bench list runs` names them")
    if len(names) > 1:
        raise UsageError(f"{prefix!r} fits {len(names)} runs: {', '.join(names[:5])}")
    run = packed.get(names[0]) or load_run(results, names[0])
    if run is None:
        raise RecordError(f"{run_dir(results, names[0])} has no configuration that can be read")
    return run
