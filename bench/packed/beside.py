"""The records of a report as a file, written while the report is made."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.errors import UsageError
from bench.files import write_bytes
from bench.packed.write import write_packed
from bench.records import PICTURES, Run, packed_file

NAME = "records.parquet"
# Fewer are packed sooner than another Python has started.
FEW = 1000


@contextlib.contextmanager
def packed_beside(results: Path, runs: Sequence[Run], out: Path) -> Iterator[Path]:
    """Write `records.parquet` into a report's folder; it is there when the block has ended well.

    No pictures are in it, and of predictions what a report needs. Many runs are packed by a process of its own while
    the block goes on: that takes as long as the report. Where a run has changed in the meantime, all are packed anew
    as the report has them. Records that are packed already, without pictures, are copied.

    Args:
        results: where the runs were read from.
        runs: what is packed.
        out: the report's folder.

    Raises:
        UsageError: it cannot be written, or what is there is no Parquet file.
    """
    target, source = out / NAME, packed_file(results)
    check_target(target)
    if source is not None or len(runs) <= FEW or (os.cpu_count() or 1) < 2:
        yield target
        if source is None or any(PICTURES & {*run.array_names} for run in runs):
            write_packed(runs, target, without=PICTURES, predictions="first")
        elif not (target.exists() and target.samefile(source)):
            _copy(source, target)
        return
    words = ["pack", "--to", str(target), "--no-pictures", "--predictions", "first", "--", str(results)]
    process = subprocess.Popen(
        # -P, or what lies in the working folder, such as a folder `models`, would be taken for ours.
        [sys.executable, "-P", "-m", "bench", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
    )
    try:
        yield target
        _, said = process.communicate()
    finally:
        process.kill()
    if process.returncode:
        lines = said.strip().splitlines() or [f"exit code {process.returncode}"]
        raise UsageError(f"{target} cannot be written: {lines[-1].removeprefix('bench: error: ')}")
    if _states(target) != {run.id: run.state for run in runs}:
        write_packed(runs, target, without=PICTURES, predictions="first")


def check_target(path: Path) -> None:
    """Refuse to write records over what is something else.

    Raises:
        UsageError: a folder, or a file that is no Parquet file, is there.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name a file, such as {path / NAME}")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(4) != b"PAR1":
                raise UsageError(f"{path} is there already and no Parquet file: it is left alone")


def _states(path: Path) -> dict[str, str]:
    import pyarrow.parquet as pq

    found = pq.read_table(path, columns=["id", "state"])
    return dict(zip(found["id"].to_pylist(), found["state"].to_pylist(), strict=True))


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, source.read_bytes())
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from None
