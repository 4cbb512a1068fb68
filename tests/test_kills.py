"""Killed at any moment, a study ends as if it had been left alone, and leaves nothing behind."""

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from bench.records import load_runs
from tests.survival import assert_same_study, bench, end, left_over, start, words

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


def files_of(run) -> dict[str, int]:
    """Sizes of what a cell's end leaves: its own files and those of the attempt that counts, but for its log."""
    own = [path for path in run.dir.iterdir() if path.is_file()]
    kept = [path for path in run.attempt_dir.iterdir() if path.name not in ("log.txt", "progress.json")]
    return {path.name: path.stat().st_size for path in own + kept}


def kill_until(number: int, results: Path, line: list[str], longest: float) -> Counter:
    """Start a study again and again, and kill each process group at a random moment of its first seconds."""
    moments, landed = random.Random(number), Counter()
    for _ in range(number):
        attempts = sum(1 for _ in results.glob("runs/*/attempts/*"))
        process = start(line, start_new_session=True, stdout=subprocess.DEVNULL)
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


def killed_and_left_alone(tmp_path: Path, kills: int, methods: str, seeds: int, epochs: int) -> Counter:
    """Kill a study, let it end, and compare it with one that was left alone; where the kills came."""
    study = methods, seeds, epochs, "conv1-3,conv1-5", "--evaluate", "features"
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    begun = time.monotonic()
    undisturbed = start(words(whole, *study))
    while not any(whole.glob("runs/*/attempts/*")):
        assert undisturbed.poll() is None, end(undisturbed)
        time.sleep(0.01)
    imports = time.monotonic() - begun
    # Imports take most of a short life: about as many kills come before the first cell as in one.
    landed = kill_until(kills, killed, words(killed, *study), 2.5 * imports)
    for code, out in (end(undisturbed), bench(words(killed, *study), timeout=900)):
        assert code == 0, out

    assert_same_study(killed, whole)
    found, expected = ({run.id: run for run in load_runs(results)} for results in (killed, whole))
    assert len(found) == len(methods.split(",")) * seeds * 4
    total = 0
    for key, run in expected.items():
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
    assert left_over(killed) == []
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
