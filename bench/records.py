"""What runs left on disk, read: one `Run` a cell. No torch.

A cell's folder is results/runs/<id>/:

- config.json
- result.json: a link to the result of one attempt; the only mark of done
- claim.json: who works on it
- attempts/NNNN/: provenance.json, status.json, metrics.jsonl, log.txt, checkpoints, arrays
"""

import contextlib
import json
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
from bench.results_folder import check_results, open_results
from bench.run_folder import CONFIG, METRICS, PROVENANCE, RESULT, STATUS, attempt_dirs, is_result, run_dir

__all__ = [
    "PICTURES",
    "Attempt",
    "Once",
    "Run",
    "check_results",
    "find_run",
    "load_run",
    "load_runs",
    "open_results",
    "run_dir",
]

_ID = re.compile("[0-9a-f]{16}")
# Arrays that hold pictures of a data set, by the name of their file: records that are published leave them out.
PICTURES = frozenset({"reconstructions", "masks", "parts"})
State = Literal["new", "running", "interrupted", "failed", "done"]


class Run:
    """A cell's folder. What is there may be partial; what is broken reads as missing and is named once."""

    def __init__(self, folder: Path, config: dict[str, Any], on_broken: Callable[[str], None] = warn) -> None:
        self.dir = folder
        self.id = folder.name
        self.config = config
        self._on_broken = on_broken

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The published result, or None."""
        row = object_or_none(self.dir / RESULT, self._on_broken)
        if row is not None and not is_result(row, self.id):
            self._on_broken(f"{self.dir / RESULT} is not a result of this cell")
            return None
        return row

    @cached_property
    def attempt_dir(self) -> Path | None:
        """The folder of the attempt whose result is published; of the newest one while there is none."""
        if self.result is not None:
            return self.dir / "attempts" / self.result["attempt"]
        return next(iter(self.attempts), None)

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
        folder = self.attempt_dir
        return (object_or_none(folder / PROVENANCE, self._on_broken) if folder else None) or {}

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
        folder = self.attempt_dir
        if folder is None:
            return []
        path = folder / METRICS
        try:
            lines = path.read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        except OSError as error:
            self._on_broken(cannot_read(path, error))
            return []
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict):
                if self.result is not None or line.endswith(b"\n"):
                    self._on_broken(f"{path} is broken from line {number} on: what is before it is taken")
                break
            rows.append(row)
        return rows

    def arrays(self, name: str) -> dict[str, Any] | None:
        """The arrays that were saved as `name`.npz; None when there are none that can be read."""
        folder = self.attempt_dir
        if folder is None or not (folder / f"{name}.npz").exists():
            return None
        import zipfile
        import zlib

        import numpy as np

        try:
            with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            AttributeError,
            zipfile.BadZipFile,
            zlib.error,
        ) as error:
            self._on_broken(f"{folder / name}.npz cannot be read: {error}")
            return None

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
    folder = run_dir(results, cell_id)
    config = object_or_none(folder / CONFIG, on_broken)
    if config is None:
        return None
    if config_id(config) != cell_id:
        on_broken(f"{folder / CONFIG} does not belong to its folder")
        return None
    return Run(folder, config, on_broken)


def load_runs(results: Path | str, on_broken: Callable[[str], None] = warn) -> list[Run]:
    """All runs of a results folder, by id.

    Args:
        results: the results folder; one that is missing or empty has no runs.
        on_broken: called with a line for every file that cannot be read; the others are read all the same.

    Raises:
        UsageError: another version's folder.
    """
    results = Path(results)
    check_results(results, on_broken)
    try:
        names = sorted(e.name for e in os.scandir(results / "runs") if not e.name.startswith("."))
    except FileNotFoundError:
        return []
    except OSError as error:
        on_broken(cannot_read(results / "runs", error))
        return []
    runs = []
    for name in names:
        if not _ID.fullmatch(name):
            on_broken(f"{results / 'runs' / name} is no cell's folder: it is left alone")
        elif (run := load_run(results, name, on_broken)) is not None:
            runs.append(run)
    return runs


def find_run(results: Path, prefix: str) -> Run:
    """The run whose id begins with `prefix`.

    Raises:
        UsageError: none or several do.
    """
    check_results(results)
    try:
        names = sorted(e.name for e in os.scandir(results / "runs") if e.name.startswith(prefix))
    except (FileNotFoundError, NotADirectoryError):
        names = []
    if not names or not prefix:
        raise UsageError(f"no run {prefix!r} in {results}: `bench list runs` names them")
    if len(names) > 1:
        raise UsageError(f"{prefix!r} fits {len(names)} runs: {', '.join(names[:5])}")
    run = load_run(results, names[0])
    if run is None:
        raise RecordError(f"{run_dir(results, names[0])} has no configuration that can be read")
    return run
