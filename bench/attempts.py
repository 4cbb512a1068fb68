"""One attempt at a cell: the folder it writes, what it saves on the way, and how its result is published.

Every attempt has a folder of its own, made by an exclusive mkdir, and writes nowhere else but for the one
exclusive link that publishes its result.
"""

import io
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import checkpoint
from bench.config import SCHEMA, config_id
from bench.errors import RecordError
from bench.files import dumps, publish, read_json, set_aside, temporary, write_bytes, write_json
from bench.provenance import determinism, now, peak_memory_bytes

if TYPE_CHECKING:
    from torch import Tensor

RESULT, CONFIG, STATUS, PROVENANCE, METRICS, LOG = (
    "result.json", "config.json", "status.json", "provenance.json", "metrics.jsonl", "log.txt",
)  # fmt: skip


def run_dir(results: Path, cell_id: str) -> Path:
    """Where a cell's files are."""
    return results / "runs" / cell_id


def attempt_dirs(folder: Path) -> list[Path]:
    """The attempts of a run, the newest first."""
    try:
        names = [entry.name for entry in os.scandir(folder / "attempts") if entry.name.isdigit()]
    except FileNotFoundError:
        return []
    return [folder / "attempts" / name for name in sorted(names, key=int, reverse=True)]


def _make_folder(folder: Path) -> Path:
    parent = folder / "attempts"
    parent.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in attempt_dirs(folder)), default=0)
    while True:
        number += 1
        try:
            (parent / f"{number:04d}").mkdir()
        except FileExistsError:
            continue
        return parent / f"{number:04d}"


def _ignore(_: Any) -> None:
    pass


class Attempt:
    """What the trainer is given to keep its records by.

    The caller holds the cell's claim, so nobody else writes into this run.
    """

    def __init__(
        self,
        results: Path,
        config: dict[str, Any],
        *,
        fresh: bool = False,
        provenance: dict[str, Any] | None = None,
        on_row: Callable[[dict[str, Any]], None] = _ignore,
        on_note: Callable[[str], None] = _ignore,
    ) -> None:
        """Make the folder.

        Args:
            results: the results folder.
            config: of the cell.
            fresh: start over: no checkpoint of an earlier attempt is read, and the result replaces one that
                is there.
            provenance: what `bench.provenance.collect` gave.
            on_row: called with every row of metrics.
            on_note: called with every line that the user should see.
        """
        self.config = config
        self.id = config_id(config)
        self.run_dir = run_dir(results, self.id)
        self.fresh = fresh
        self.finished = False
        self._on_row, self._on_note = on_row, on_note
        self._rows = 0
        self._begun = time.monotonic()
        self.run_dir.mkdir(parents=True, exist_ok=True)
        if not (self.run_dir / CONFIG).exists():
            write_json(self.run_dir / CONFIG, config)
        self._clear_temporary()
        self.dir = _make_folder(self.run_dir)
        self._status: dict[str, Any] = {"fresh": fresh, "started": now()}
        self._provenance = dict(provenance or {})
        self._write_status("running")
        write_json(self.dir / PROVENANCE, self._provenance)

    @property
    def name(self) -> str:
        """Number of the attempt, such as "0001"."""
        return self.dir.name

    @property
    def log_path(self) -> Path:
        """Where notes and tracebacks go."""
        return self.dir / LOG

    def _clear_temporary(self) -> None:
        """Remove what a kill left half written. The run is ours, but others may be writing a claim to it."""
        for path in (*self.run_dir.glob(".*.tmp"), *self.run_dir.glob("attempts/*/.*.tmp")):
            if not path.name.startswith(".claim.json"):
                path.unlink(missing_ok=True)

    def _write_status(self, state: str, **more: Any) -> None:
        self._status = {**self._status, "state": state, **more}
        write_json(self.dir / STATUS, self._status)

    def note(self, text: str) -> None:
        """A line for the user and the log."""
        self._append_log(text)
        self._on_note(text)

    def _append_log(self, text: str) -> None:
        with self.log_path.open("a") as file:
            file.write(f"{now()} {text}\n")

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        with (self.dir / METRICS).open("a") as file:
            file.write(dumps(row) + "\n")
        self._rows += 1
        self._on_row(row)

    def save_checkpoint(self, tensors: "dict[str, Tensor]", meta: dict[str, Any]) -> None:
        """Save what a later attempt goes on from; the one before it is kept."""
        path = self.dir / METRICS
        if path.exists():
            # The rows that the checkpoint counts must be on the disk before it is.
            with path.open("rb") as file:
                os.fsync(file.fileno())
        checkpoint.save_checkpoint(self.dir, tensors, {"metrics_rows": self._rows, **meta})

    def _resumable(self) -> Iterator[Path]:
        """Checkpoints of this run that this attempt may go on from, the newest first."""
        for folder in attempt_dirs(self.run_dir):
            yield from checkpoint.checkpoint_files(folder)
            if folder == self.dir and self.fresh:
                return
            try:
                if read_json(folder / STATUS).get("fresh"):
                    return
            except (FileNotFoundError, RecordError):
                continue

    def load_checkpoint(self) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """The newest valid checkpoint of any attempt of this run, and metrics.jsonl as it was then.

        A broken one is set aside, named to the user, and the one before it is taken.

        Returns:
            Tensors on the CPU and the JSON that were saved, or None to begin at the beginning.
        """
        for path in self._resumable():
            try:
                tensors, meta = checkpoint.read_tensors(path)
                self._restore_rows(path.parent / METRICS, int(meta["metrics_rows"]))
            except RecordError as error:
                aside = set_aside(path)
                self.note(f"{error}; set aside as {aside.name}, going on from the one before it")
                continue
            self._append_log(f"resumed from {path.parent.name}/{path.name}")
            self._provenance["resumed_from"] = path.parent.name
            write_json(self.dir / PROVENANCE, self._provenance)
            return tensors, meta
        return None

    def _restore_rows(self, source: Path, rows: int) -> None:
        lines = source.read_text().splitlines(keepends=True)[:rows] if source.exists() else []
        if len(lines) < rows or (lines and not lines[-1].endswith("\n")):
            raise RecordError(f"{source} has fewer rows than its checkpoint counts")
        write_bytes(self.dir / METRICS, "".join(lines).encode())
        self._rows = rows

    def save_model(self, tensors: "dict[str, Tensor]") -> None:
        """Save model.safetensors: the backbone's weights, which the probes read."""
        checkpoint.write_tensors(self.dir / "model.safetensors", tensors, {"id": self.id})

    def save_arrays(self, name: str, **arrays: Any) -> None:
        """Save arrays as `name`.npz, for the figures and tests of a report."""
        import numpy as np

        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(self.dir / f"{name}.npz", buffer.getvalue())

    def _end(self) -> None:
        self._provenance |= {
            "determinism": determinism(),
            "ended": now(),
            "seconds": time.monotonic() - self._begun,
            "peak_memory_bytes": peak_memory_bytes(),
        }
        write_json(self.dir / PROVENANCE, self._provenance)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Publish the result: from here on the cell is done.

        Returns:
            The result as published.

        Raises:
            RecordError: somebody else has published one meanwhile.
        """
        head = {"schema": SCHEMA, "id": self.id, "kind": self.config["kind"], "attempt": self.name}
        result = {**head, **result}
        write_json(self.dir / RESULT, result)
        self._end()
        target = self.run_dir / RESULT
        if self.fresh and target.exists():
            place = temporary(target)
            if not publish(self.dir / RESULT, place):
                raise RecordError(f"{place} is in the way")
            place.replace(target)
        elif not publish(self.dir / RESULT, target):
            raise RecordError(f"{target} was published by another attempt; this one's is in {self.dir}")
        self.finished = True
        self._write_status("done", ended=now())
        for folder in attempt_dirs(self.run_dir):
            for path in checkpoint.checkpoint_files(folder):
                path.unlink(missing_ok=True)
        self._clear_temporary()
        return result

    def fail(self, reason: str, kind: str = "Error", trace: str = "") -> None:
        """Mark the attempt failed.

        Args:
            reason: one line.
            kind: name of the error's class.
            trace: what only log.txt should hold.
        """
        self._close("failed", reason, kind, trace)

    def interrupt(self, reason: str) -> None:
        """Mark the attempt stopped on purpose; the next one goes on from its checkpoint."""
        self._close("interrupted", reason, "Interrupted", "")

    def _close(self, state: str, text: str, kind: str, trace: str) -> None:
        # Each by itself: on a full disk the log may still take a line where a new file has no room.
        problems: list[OSError] = []
        for write in (
            lambda: self._append_log(f"{state}: {text}\n{trace}".rstrip()),
            lambda: self._write_status(state, error=text, error_kind=kind, ended=now()),
            self._end,
        ):
            try:
                write()
            except OSError as problem:
                problems.append(problem)
        if problems:
            self._on_note(f"{self.dir} could not be marked {state}: {problems[0]}")
