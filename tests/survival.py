"""A small study, run as a process or here, and what the tests of its survival compare."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from bench.checkpoint import read_tensors
from bench.records import load_runs
from tests.fake_trainer import anything

TIMES = {"seconds", "images_per_second", "feature_seconds", "peak_memory_bytes", "attempt"}
QUIET = {**os.environ, "OMP_NUM_THREADS": "1"}


def words(
    results: Path, methods: str, seeds: int = 1, epochs: int = 1, probes: str = "conv1-5", *more: str
) -> list[str]:
    """A line of `bench`: pretrainings of six steps an epoch, probes of as many, evaluations if `more` has them."""
    line = f"run -m {methods} -d digits -s {seeds} --probes {probes} --threads 1 --checkpoint-every 2"
    line += "" if "--evaluate" in more else " --evaluate none"
    settings = (
        f"pretrain.epochs={epochs} pretrain.epoch_images=192 pretrain.batch_size=32"
        f" probe.epochs={epochs} probe.batch_size=256 probe.hidden=16"
    )
    pairs = [word for pair in settings.split() for word in ("--set", pair)]
    return [*line.split(), *pairs, "--results", str(results), *more]


def start(line: list[str], **options: Any) -> "subprocess.Popen[str]":
    """`bench` as a process; what it says, errors too, is its output."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "env": QUIET, "text": True, **options}
    return anything(subprocess.Popen([sys.executable, "-m", "bench", *line], **options))


def end(process: "subprocess.Popen[str]", timeout: float = 300) -> tuple[int, str]:
    """Exit code and what was said."""
    out = process.communicate(timeout=timeout)[0]
    return process.returncode, out


def bench(line: list[str], timeout: float = 300, **options: Any) -> tuple[int, str]:
    """`bench` as a process, to its end."""
    return end(start(line, **options), timeout)


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def equal_arrays(ours: Any, theirs: Any) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return set(ours) == set(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def assert_same_run(found: Any, expected: Any) -> None:
    """Two runs of one cell have the same numbers, weights and predictions, bit for bit."""
    assert found.result is not None
    assert without_times(found.result) == without_times(expected.result)
    assert without_times(found.metrics()) == without_times(expected.metrics())
    for kind in ("predictions", "reconstructions"):
        assert equal_arrays(getattr(found, kind)(), getattr(expected, kind)()), kind
    assert equal_arrays(weights_of(found), weights_of(expected))


def weights_of(run: Any) -> dict[str, Any] | None:
    if run.weights is None:
        return None
    return {name: tensor.numpy() for name, tensor in read_tensors(run.weights)[0].items()}


def assert_same_study(found: Path, expected: Path) -> None:
    """All cells are there, and the same."""
    ours, theirs = ({run.id: run for run in load_runs(folder)} for folder in (found, expected))
    assert set(ours) == set(theirs)
    for key, run in theirs.items():
        assert_same_run(ours[key], run)


def left_over(results: Path) -> list[str]:
    """Names of what only a run under way may have."""
    names = [path.name for path in results.rglob("*")]
    return [name for name in names if name.endswith(".tmp") or "claim" in name or "checkpoint" in name]
