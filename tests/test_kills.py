"""Killed at any moment, a study ends as if it had been left alone, and leaves nothing behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.checkpoint import read_tensors
from bench.records import load_runs
from tests.fake_trainer import anything

TIMES = {"seconds", "images_per_second", "feature_seconds", "peak_memory_bytes", "attempt"}
# What an attempt says of itself, which stays when it was killed.
SAYS = {"status.json", "provenance.json", "progress.json", "metrics.jsonl", "log.txt"}
# A file system whose fsync costs nothing, where there is one: what is asked is what was done before a kill.
FAST = Path("/dev/shm")


@pytest.fixture
def fast(tmp_path, tmp_path_factory):
    if not os.access(FAST, os.W_OK):
        yield tmp_path
        return
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="bench-kills-", dir=FAST))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("rounds", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_every_file_operation_of_a_cell_it_ends_the_same(rounds, fast):
    done = subprocess.run(
        [sys.executable, "-m", "tests.kill_points", str(fast), str(rounds)],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    operations, _, kills = done.stdout.split()[:3]
    assert int(operations) > 100
    assert int(kills) >= rounds


def command(results: Path, methods: str, seeds: int, epochs: int) -> list[str]:
    line = f"-m bench run -m {methods} -d digits -s {seeds} --probes conv1-3,conv1-5 --threads 1 --checkpoint-every 2"
    settings = (
        f"pretrain.epochs={epochs} pretrain.epoch_images=192 pretrain.batch_size=32"
        f" probe.epochs={epochs} probe.batch_size=256 probe.hidden=16"
    )
    pairs = [word for pair in settings.split() for word in ("--set", pair)]
    return [sys.executable, *line.split(), *pairs, "--results", str(results)]


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def files_of(run) -> dict[str, int]:
    """Sizes of what a cell's end leaves: its own files and those of the attempt that counts, but for its log."""
    own = [path for path in run.dir.iterdir() if path.is_file()]
    kept = [path for path in run.attempt_dir.iterdir() if path.name not in ("log.txt", "progress.json")]
    return {path.name: path.stat().st_size for path in own + kept}


def assert_equal_runs(found, expected):
    assert without_times(found.result) == without_times(expected.result)
    assert without_times(found.metrics()) == without_times(expected.metrics())
    assert (found.weights is None) == (expected.weights is None)
    if expected.weights is not None:
        ours, theirs = (read_tensors(run.weights)[0] for run in (found, expected))
        assert set(ours) == set(theirs)
        assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    for kind in ("predictions", "reconstructions"):
        ours, theirs = (getattr(run, kind)() for run in (found, expected))
        assert (ours is None) == (theirs is None)
        for name in theirs or ():
            np.testing.assert_array_equal(ours[name], theirs[name])


def kill_until(number: int, results: Path, line: list[str], longest: float, quiet) -> Counter:
    """Start a study again and again, and kill each process group at a random moment of its first seconds."""
    moments, landed = random.Random(number), Counter()
    for _ in range(number):
        process = subprocess.Popen(line, start_new_session=True, **quiet)
        attempts = sum(1 for _ in results.glob("runs/*/attempts/*"))
        try:
            process.wait(moments.uniform(0.1, longest))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            begun = sum(1 for _ in results.glob("runs/*/attempts/*")) > attempts
            landed["in a cell" if begun else "before one"] += 1
            # Of one cell at a time: its own two, the one it goes on from, and one being written.
            assert sum(1 for _ in results.glob("runs/*/attempts/*/[!.]*checkpoint*")) <= 4
        else:
            landed["too late"] += 1
    return landed


def killed_and_left_alone(tmp_path, kills, methods, seeds, epochs):
    quiet = {
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.PIPE,
        "env": {**os.environ, "OMP_NUM_THREADS": "1"},
        "text": True,
    }
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begun = time.monotonic()
    undisturbed = subprocess.Popen(command(whole, methods, seeds, epochs), **anything(quiet))
    while not any(whole.glob("runs/*/attempts/*")):
        assert undisturbed.poll() is None, anything(undisturbed.stderr).read()
        time.sleep(0.01)
    start = time.monotonic() - begun
    # Imports take most of a short life: about as many kills come before the first cell as in one.
    landed = kill_until(
        kills, killed, command(killed, methods, seeds, epochs), 2.5 * start, {**quiet, "stderr": -3}
    )
    assert undisturbed.wait(300) == 0, anything(undisturbed.stderr).read()
    anything(undisturbed.stderr).close()
    subprocess.run(command(killed, methods, seeds, epochs), check=True, timeout=600, **anything(quiet))

    expected = {run.id: run for run in load_runs(whole)}
    found = {run.id: run for run in load_runs(killed)}
    assert set(found) == set(expected)
    assert len(found) == len(methods.split(",")) * seeds * 3
    total = 0
    for key, run in expected.items():
        assert found[key].result is not None
        assert_equal_runs(found[key], run)
        ours, theirs = files_of(found[key]), files_of(run)
        assert set(ours) == set(theirs)
        # Numbers of times have more or fewer digits.
        assert all(abs(ours[name] - theirs[name]) < 1000 for name in theirs)
        attempts = sorted((found[key].dir / "attempts").iterdir())
        total += len(attempts)
        done = [folder for folder in attempts if (folder / "result.json").exists()]
        assert len(done) <= 2
        for folder in attempts:
            if folder not in done:
                assert {path.name for path in folder.iterdir()} <= SAYS
    # Every attempt beyond the first is a kill's.
    assert len(found) <= total <= len(found) + landed["in a cell"] + landed["too late"]
    names = [path.name for path in killed.rglob("*")]
    assert not [name for name in names if name.endswith(".tmp") or "claim" in name or "checkpoint" in name]
    assert {path.name for path in killed.iterdir()} == {path.name for path in whole.iterdir()}
    return landed


def test_killed_at_random_moments_a_study_ends_with_the_same_bits(tmp_path):
    landed = killed_and_left_alone(tmp_path, 8, "patchvae-gan-lw,random", 2, 1)
    assert landed["in a cell"] >= 2, landed


@pytest.mark.slow
def test_killed_fifty_times_a_study_ends_with_the_same_bits(tmp_path):
    landed = killed_and_left_alone(tmp_path, 50, "patchvae-gan-lw,supervised", 2, 6)
    assert landed["in a cell"] >= 15, landed
    assert landed["before one"] >= 5, landed
