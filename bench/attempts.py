"""One attempt at a cell: the folder it writes, what it saves on the way, and how its result is published.

Every attempt has a folder of its own, made by an exclusive mkdir, and writes nowhere else but for the one
exclusive link that publishes its result. Before each checkpoint and before it publishes, it looks whether the
cell is still its own: the process of a node that was taken for dead stops there.
"""

import contextlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench import checkpoint
from bench.config import SCHEMA, config_id
from bench.errors import RecordError, Superseded, Unreadable
from bench.files import append_text, dumps, read_json, set_aside, write_bytes, write_json
from bench.other_sources import other_sources
from bench.provenance import determinism, now, peak_memory_bytes
from bench.run_folder import (
    LOG,
    METRICS,
    PROGRESS,
    PROGRESS_SECONDS,
    PROVENANCE,
    RESULT,
    STATUS,
    attempt_dirs,
    clear_temporary,
    make_attempt,
    publish_result,
    run_dir,
    sweep,
    write_config,
)

if TYPE_CHECKING:
    from torch import Tensor


class Attempt:
    """What the trainer is given to keep its records by.

    The caller holds the cell's claim, so nobody else writes into this run.
    """

    def __init__(
        self,
        results: Path,
        config: dict[str, Any],
        *,
        forget: int = 0,
        fence: Callable[[], bool] = lambda: True,
        provenance: dict[str, Any] | None = None,
        on_row: Callable[[dict[str, Any]], None] = lambda _: None,
        on_note: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Make the folder.

        Args:
            results: the results folder.
            config: of the cell.
            forget: attempts up to this number count for nothing: none of their checkpoints is read, and a
                result of one of them is replaced.
            fence: whether the cell is still this process's.
            provenance: what `bench.provenance.collect` gave.
            on_row: called with every row of metrics.
            on_note: called with every line that the user should see.
        """
        self.config = config
        self.id = config_id(config)
        self.run_dir = run_dir(results, self.id)
        self.forget = forget
        self.finished = False
        self._fence = fence
        self._on_row, self._on_note = on_row, on_note
        self._metrics = ""
        self._resumed_from: Path | None = None
        self._alone = False
        self._begun = time.monotonic()
        self._told: tuple[float, int] | None = None
        self._next_progress = 0.0
        self.run_dir.mkdir(parents=True, exist_ok=True)
        if (said := write_config(self.run_dir, config)) is not None:
            on_note(said)
        self.dir = make_attempt(self.run_dir)
        clear_temporary(self.run_dir, int(self.dir.name))
        self._status: dict[str, Any] = {"forget": forget, "started": now()}
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

    def _write_status(self, state: str, **more: Any) -> None:
        self._status = {**self._status, "state": state, **more}
        write_json(self.dir / STATUS, self._status)

    def note(self, text: str) -> None:
        """A line for the user and the log."""
        self._on_note(text)
        self._append_log(text)

    def add_provenance(self, **facts: Any) -> None:
        """Write down what has turned out later."""
        self._provenance |= facts
        write_json(self.dir / PROVENANCE, self._provenance)

    def _append_log(self, text: str) -> None:
        append_text(self.log_path, f"{now()} {text}\n")

    def log(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl."""
        line = dumps(row) + "\n"
        append_text(self.dir / METRICS, line)
        self._metrics += line
        self._on_row(row)

    def progress(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """Tell whoever looks at the folder how far this has come, every ten seconds at most."""
        clock = time.monotonic()
        self._told = self._told or (clock, step)
        if clock < self._next_progress:
            return
        self._next_progress = clock + PROGRESS_SECONDS
        since, first = self._told
        facts = {
            "step": step,
            "total": total,
            "steps_per_second": (step - first) / (clock - since) if step > first else None,
            "images_per_second": images_per_second,
            "values": values,
            "seconds": clock - self._begun,
            "written": now(),
        }
        # A full disk fails a cell where it loses something: at its next checkpoint.
        with contextlib.suppress(OSError):
            write_json(self.dir / PROGRESS, facts, flush=False)

    def _check_fence(self) -> None:
        if not self._fence():
            raise Superseded(f"{self.run_dir} was taken over by another process")

    def save_checkpoint(self, tensors: "dict[str, Tensor]", meta: dict[str, Any]) -> None:
        """Save what a later attempt goes on from; the one before it is kept, be it an earlier attempt's.

        It holds the rows of metrics, too, so that nothing else is needed to go on from it.

        Raises:
            Superseded: the cell is somebody else's now.
        """
        self._check_fence()
        checkpoint.save_checkpoint(self.dir, tensors, {"metrics": self._metrics, **meta})
        if not self._alone:
            self._remove_earlier()

    def _remove_earlier(self) -> None:
        """Remove the checkpoints of earlier attempts that are of no use any more: each preemption leaves two."""
        self._alone = (self.dir / checkpoint.PREVIOUS).exists()
        for folder in attempt_dirs(self.run_dir):
            if int(folder.name) < int(self.name):
                for path in checkpoint.checkpoint_files(folder):
                    if self._alone or path != self._resumed_from:
                        path.unlink(missing_ok=True)

    def _resumable(self) -> Iterator[Path]:
        """Checkpoints of this run that this attempt may go on from, the newest first."""
        forget = self.forget
        for folder in attempt_dirs(self.run_dir):
            if int(folder.name) <= forget:
                return
            yield from checkpoint.checkpoint_files(folder)
            try:
                # What an attempt forgot stays forgotten for those that go on from it.
                forget = max(forget, int(read_json(folder / STATUS).get("forget") or 0))
            except FileNotFoundError:
                continue
            except Unreadable:
                raise
            except (RecordError, TypeError, ValueError) as error:
                self.note(f"{folder / STATUS} does not say what was forgotten, so all before it is: {error}")
                return

    def load_checkpoint(
        self, accept: Callable[[dict[str, Any]], bool] = lambda _: True
    ) -> "tuple[dict[str, Tensor], dict[str, Any]] | None":
        """The newest valid checkpoint of any attempt of this run; metrics.jsonl becomes what it was then.

        A broken one is set aside, named to the user, and the one before it is taken.

        Args:
            accept: whether a checkpoint is one to go on from, by the JSON saved with it.

        Returns:
            Tensors on the CPU and the JSON that were saved, or None to begin at the beginning.
        """
        for path in self._resumable():
            try:
                tensors, meta = checkpoint.read_tensors(path)
                if not accept(meta):
                    self._append_log(f"{path.parent.name}/{path.name} is of other weights: not used")
                    continue
            except FileNotFoundError:
                # Whoever was taken for dead renames or removes it.
                continue
            except RecordError as error:
                aside = set_aside(path)
                self.note(f"{error}; set aside as {aside.name}, going on from the one before it")
                continue
            self._metrics = str(meta.pop("metrics", ""))
            write_bytes(self.dir / METRICS, self._metrics.encode())
            self._resumed_from = path
            others, said = other_sources(path.parent / PROVENANCE, self._provenance)
            self._append_log(f"resumed from {path.parent.name}/{path.name}{said}")
            self.add_provenance(resumed_from=path.parent.name, **others)
            return tensors, meta
        return None

    def save_model(self, tensors: "dict[str, Tensor]") -> None:
        """Save model.safetensors: the whole method's weights, which probes and evaluations read."""
        checkpoint.write_tensors(self.dir / "model.safetensors", tensors, {"id": self.id})

    def save_arrays(self, name: str, **arrays: Any) -> None:
        """Save arrays as `name`.npz, for the figures and tests of a report."""
        import numpy as np

        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        write_bytes(self.dir / f"{name}.npz", buffer.getvalue())

    def _end(self) -> None:
        seconds, peak = time.monotonic() - self._begun, peak_memory_bytes()
        self.add_provenance(determinism=determinism(), ended=now(), seconds=seconds, peak_memory_bytes=peak)

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        """Publish the result: from here on the cell is done.

        Returns:
            The result as published.

        Raises:
            Superseded: the cell is somebody else's now, or somebody else has published a result meanwhile.
        """
        head = {"schema": SCHEMA, "id": self.id, "kind": self.config["kind"], "attempt": self.name}
        result = {**head, **result}
        write_json(self.dir / RESULT, result)
        self._end()
        self._check_fence()
        if not publish_result(self.dir / RESULT, self.run_dir / RESULT, self.forget):
            raise Superseded(f"{self.run_dir} has another attempt's result; this one's is in {self.dir}")
        self.finished = True
        # The cell is done, whatever becomes of its papers.
        self._try_all(
            "is done, and could not be tidied up",
            lambda: self._write_status("done", ended=now()),
            lambda: sweep(self.run_dir, int(self.dir.name)),
        )
        return result

    def fail(self, reason: str, kind: str = "Error", trace: str = "") -> None:
        """Mark the attempt failed.

        Args:
            reason: one line.
            kind: name of the error's class.
            trace: what only log.txt should hold.
        """
        self._close("failed", reason, kind, trace)

    def interrupt(self, reason: str, kind: str = "Interrupted") -> None:
        """Mark the attempt stopped on purpose; the next one goes on from its checkpoint."""
        self._close("interrupted", reason, kind, "")

    def _close(self, state: str, text: str, kind: str, trace: str) -> None:
        self._try_all(
            f"could not be marked {state}",
            lambda: self._append_log(f"{state}: {text}\n{trace}".rstrip()),
            lambda: self._write_status(state, error=text, error_kind=kind, ended=now()),
            self._end,
        )

    def _try_all(self, else_say: str, *steps: Callable[[], object]) -> None:
        # Each by itself: on a full disk the log may still take a line where a new file has no room.
        problems: list[OSError] = []
        for step in steps:
            try:
                step()
            except OSError as problem:
                problems.append(problem)
        if problems:
            self._on_note(f"{self.dir} {else_say}: {problems[0]}")
