"""What runs left on disk, read: one `Run` a cell. No torch.

results/bench.json holds the folder's schema. A cell's folder is results/runs/<id>/:

- config.json
- result.json: a link to the result of one attempt; the only mark of done
- claim.json: who works on it
- attempts/NNNN/: provenance.json, status.json, metrics.jsonl, log.txt, checkpoints, arrays
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from bench import claims
from bench.attempts import Attempt
from bench.config import SCHEMA, config_id
from bench.errors import RecordError, UsageError
from bench.files import read_json, write_json
from bench.run_folder import CONFIG, METRICS, PROVENANCE, RESULT, STATUS, attempt_dirs, run_dir

__all__ = [
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

FOLDER = "bench.json"
MIN_FREE_BYTES = 16 << 20
State = Literal["new", "running", "interrupted", "failed", "done"]


def _warn(text: str) -> None:
    print(f"bench: warning: {text}", file=sys.stderr)


class Once:
    """Says each line once, however often a file is read.

    Args:
        say: where a line goes; may be changed at any time.
    """

    def __init__(self, say: Callable[[str], None] = _warn) -> None:
        self.say = say
        self._said: set[str] = set()

    def __call__(self, text: str) -> None:
        """Say a line unless it was said before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)


def _object_or_none(path: Path, on_broken: Callable[[str], None]) -> dict[str, Any] | None:
    try:
        return read_json(path)
    except FileNotFoundError:
        return None
    except RecordError as error:
        on_broken(str(error))
        return None


class Run:
    """A cell's folder. What is there may be partial; what is broken reads as missing and is named once."""

    def __init__(
        self, folder: Path, config: dict[str, Any], on_broken: Callable[[str], None] = _warn
    ) -> None:
        self.dir = folder
        self.id = folder.name
        self.config = config
        self._on_broken = on_broken

    @cached_property
    def result(self) -> dict[str, Any] | None:
        """The published result, or None."""
        row = _object_or_none(self.dir / RESULT, self._on_broken)
        if row is not None and not (row.get("id") == self.id and row.get("attempt")):
            self._on_broken(f"{self.dir / RESULT} is not a result of this cell")
            return None
        return row

    @cached_property
    def attempt_dir(self) -> Path | None:
        """The folder of the attempt whose result is published; of the newest one while there is none."""
        if self.result is not None:
            return self.dir / "attempts" / str(self.result["attempt"])
        return next(iter(attempt_dirs(self.dir)), None)

    @cached_property
    def status(self) -> dict[str, Any]:
        """What the newest attempt says of itself; {} when there is none."""
        newest = next(iter(attempt_dirs(self.dir)), None)
        return (_object_or_none(newest / STATUS, self._on_broken) if newest else None) or {}

    @cached_property
    def provenance(self) -> dict[str, Any]:
        """Of the attempt in `attempt_dir`; {} when there is none."""
        folder = self.attempt_dir
        return (_object_or_none(folder / PROVENANCE, self._on_broken) if folder else None) or {}

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
            return "interrupted" if attempt_dirs(self.dir) else "new"
        return "failed" if self.status.get("state") == "failed" else "interrupted"

    def metrics(self) -> list[dict[str, Any]]:
        """Rows of metrics.jsonl; a last line that a kill cut short is left out."""
        folder = self.attempt_dir
        if folder is None or not (folder / METRICS).exists():
            return []
        rows = []
        for line in (folder / METRICS).read_text().splitlines():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows

    def _arrays(self, name: str) -> dict[str, Any] | None:
        folder = self.attempt_dir
        if folder is None or not (folder / name).exists():
            return None
        import zipfile

        import numpy as np

        try:
            with np.load(folder / name, allow_pickle=False) as file:
                return {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            self._on_broken(f"{folder / name} cannot be read: {error}")
            return None

    def predictions(self) -> dict[str, Any] | None:
        """Arrays of a probe: labels [n] and top5_<rule> [n, 5], the best class first."""
        return self._arrays("predictions.npz")

    def reconstructions(self) -> dict[str, Any] | None:
        """Arrays of a pretraining that decodes: images and reconstructions, uint8 [16, 3, h, w]."""
        return self._arrays("reconstructions.npz")

    @property
    def weights(self) -> Path | None:
        """The backbone's weights that a pretraining left."""
        if self.result is None or self.attempt_dir is None:
            return None
        path = self.attempt_dir / "model.safetensors"
        return path if path.exists() else None


def load_run(results: Path, cell_id: str, on_broken: Callable[[str], None] = _warn) -> Run | None:
    """One cell by its whole id, or None when there is nothing of it."""
    folder = run_dir(results, cell_id)
    config = _object_or_none(folder / CONFIG, on_broken)
    if config is None:
        return None
    if config_id(config) != cell_id:
        on_broken(f"{folder / CONFIG} does not belong to its folder")
        return None
    return Run(folder, config, on_broken)


def load_runs(results: Path | str, on_broken: Callable[[str], None] = _warn) -> list[Run]:
    """All runs of a results folder, by id.

    Args:
        results: the results folder; one that is missing or empty has no runs.
        on_broken: called with a line for every file that cannot be read; the others are read all the same.

    Raises:
        UsageError: another version's folder.
    """
    results = Path(results)
    check_results(results)
    try:
        names = sorted(e.name for e in os.scandir(results / "runs") if not e.name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []
    runs = [load_run(results, name, on_broken) for name in names]
    return [run for run in runs if run is not None]


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


def check_results(results: Path) -> None:
    """Refuse a results folder of another version; a new or empty one is fine.

    Raises:
        UsageError: it is no folder, or was written by an incompatible version.
    """
    first = next((path for path in (results, *results.absolute().parents) if path.exists()), None)
    if first is not None and not first.is_dir():
        inside = "" if first == results else f": {first} is a file"
        raise UsageError(f"{results} is not a folder{inside}")
    try:
        schema = read_json(results / FOLDER).get("schema")
    except FileNotFoundError:
        return
    except RecordError as error:
        raise UsageError(str(error)) from None
    if schema != SCHEMA:
        raise UsageError(
            f"{results} was written by an incompatible version of bench (schema {schema!r}; this one has"
            f" {SCHEMA}): choose another folder with --results"
        )


def open_results(results: Path, create: bool = True) -> None:
    """Check that runs can be written into a folder, then make it one of ours.

    Args:
        results: the folder.
        create: write it; otherwise only look, as `--dry-run` does.

    Raises:
        UsageError: another version's folder, one that cannot be written, or a full one. Nothing is written.
    """
    check_results(results)
    parent = next(path for path in (results, *results.absolute().parents) if path.exists())
    try:
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            raise UsageError(f"{results} cannot be written: choose another folder with --results")
        space = os.statvfs(parent)
        # A file system that counts no blocks does not say how full it is.
        if space.f_blocks and (free := space.f_bavail * space.f_frsize) < MIN_FREE_BYTES:
            raise UsageError(
                f"no space left for {results}: {free >> 20} MiB free, a run needs {MIN_FREE_BYTES >> 20}"
            )
        if create:
            (results / "runs").mkdir(parents=True, exist_ok=True)
            if not (results / FOLDER).exists():
                write_json(results / FOLDER, {"schema": SCHEMA})
    except OSError as error:
        raise UsageError(f"{results} cannot be written: {error.strerror or error}") from None
