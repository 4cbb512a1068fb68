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
    the block goes on: that takes as long as the report. Records that are packed already are copied.

    Args:
        results: where the runs were read from.
        runs: what is packed.
        out: the report's folder.

    Raises:
        UsageError: it cannot be written.
    """
    target, source = out / NAME, packed_file(results)
    if source is not None or len(runs) <= FEW or (os.cpu_count() or 1) < 2:
        yield target
        if source is None:
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


def _copy(source: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(target, source.read_bytes())
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror or error}") from None
