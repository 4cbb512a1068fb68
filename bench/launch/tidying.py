"""Tidies up after a process that was killed between a cell's result and its own last breath."""

from collections.abc import Callable
from pathlib import Path

from bench import claims
from bench.errors import RecordError
from bench.launch.outcome import one_line
from bench.plan import Cell
from bench.records import Run, load_run
from bench.run_folder import run_dir, sweep, write_config


def tidy_up(
    cell: Cell, run: Run, results: Path, note: Callable[[str], None], on_broken: Callable[[str], None]
) -> None:
    """Tidy a finished cell where there is something left of such a process.

    What attempts after its result have saved stays: whoever forces the cell may come back to it.

    Args:
        cell: the cell.
        run: what is there of it, its result among that.
        results: the results folder.
        note: told what the user should see.
        on_broken: told of files that cannot be read.
    """
    assert run.result is not None
    folder = run_dir(results, cell.id)
    if not claims.left(folder) and load_run(results, cell.id, on_broken) is not None:
        return
    try:
        claim = claims.claim(folder)
        if isinstance(claim, claims.Owner):
            return
        try:
            sweep(folder, int(run.result["attempt"]))
            if (said := write_config(folder, cell.config)) is not None:
                note(f"{cell.label}: {said}")
        finally:
            claim.release()
    except (OSError, RecordError) as error:
        note(f"{cell.label} is done; what a killed process left stays: {one_line(error)}")
