"""Runs by what a person calls them: the beginning of an id, or a label. No torch."""

import difflib
import re
from pathlib import Path

from bench.errors import UsageError
from bench.plan import label
from bench.records import Run, find_run, load_runs

_PREFIX = re.compile("[0-9a-f]{1,16}")


def named_run(results: Path, text: str) -> Run:
    """The run that a text means.

    Args:
        results: the results folder, or a file of packed records.
        text: the beginning of an id, or a label as `bench list runs` prints it.

    Raises:
        UsageError: none or several fit; names the nearest label.
    """
    if _PREFIX.fullmatch(text):
        return find_run(results, text)
    runs = {}
    for run in load_runs(results):
        runs.setdefault(label(run.config), []).append(run)
    fitting = runs.get(text, [])
    if len(fitting) > 1:
        raise UsageError(f"{text!r} fits {len(fitting)} runs: {', '.join(run.id for run in fitting[:5])}")
    if not fitting:
        near = difflib.get_close_matches(text, runs, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(f"no run {text!r} in {results}: {hint}`bench list runs` names them")
    return fitting[0]
