"""Machines whose clocks are an hour apart share a results folder as if they were not."""

import json
import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.survival import QUIET, assert_same_study, bench, end, left_over, start, words

LIBRARY = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))), None)
METHOD = "beta-vae"


def clock(shift: str) -> dict:
    """The environment of a process whose clock is wrong; how long things take is as ever."""
    if LIBRARY is None:
        pytest.skip("Debian's package faketime is not installed")
    # Times of files are the file system's own, as they are on a server.
    options = {
        "FAKETIME": shift,
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }
    return {**QUIET, "LD_PRELOAD": str(LIBRARY), **options}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The study that nothing happened to."""
    results = tmp_path_factory.mktemp("whole")
    code, out = bench(words(results, METHOD, epochs=2))
    assert code == 0, out
    return results


def wait_for(process, results: Path, pattern: str) -> None:
    deadline = time.monotonic() + 120
    while not any(results.glob(pattern)):
        assert process.poll() is None, process.stdout.read()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def states(results: Path, **options) -> dict[str, str]:
    code, out = bench(["status", "--json", "--results", str(results)], **options)
    assert code == 0, out
    return {cell["id"]: cell["state"] for cell in json.loads(out)["cells"]}


@pytest.mark.parametrize("shift", [pytest.param("+3600", marks=pytest.mark.slow), "-3600"])
def test_a_clock_an_hour_off_changes_nothing(shift, tmp_path, whole):
    results, wrong = tmp_path / "results", clock(shift)
    line = words(results, METHOD, epochs=2)
    writer = start(line, env=wrong)
    wait_for(writer, results, "runs/*/attempts/*/checkpoint.previous.safetensors")
    os.kill(writer.pid, signal.SIGSTOP)
    # What is at work is at work, for whom the clock is right, and is not taken from it.
    (held,) = [path.parent.name for path in results.glob("runs/*/claim.json")]
    assert states(results)[held] == "running"
    code, out = bench(line)
    assert (code, "works on it" in out) == (3, True), out
    os.kill(writer.pid, signal.SIGKILL)
    end(writer)
    for path in Path("/dev/shm").glob(f"*faketime_*_{writer.pid}"):
        # Which faketime itself removes at a process's end, but not at its kill.
        path.unlink()
    # What has ended has ended, and is gone on from.
    assert states(results)[held] == "lost"
    code, out = bench(line)
    assert code == 0, out
    assert "taken over from" in out
    assert_same_study(results, whole)
    assert left_over(results) == []
    (first, second) = sorted(results.glob(f"runs/{held}/attempts/*/status.json"))
    begun = [json.loads(path.read_text())["started"] for path in (first, second)]
    # The clock was wrong indeed.
    assert (begun[0] > begun[1]) == (shift[0] == "+")
    assert json.loads((second.parent / "provenance.json").read_text())["resumed_from"] == "0001"
    # And the other way round: the reader's clock is wrong.
    assert set(states(results, env=wrong).values()) == {"done"}
    code, out = bench(line, env=wrong)
    assert (code, "2 of 2 cells are done (0 now" in out) == (0, True), out


# Reads of the wall clock, and why each is none that a decision hangs on.
READS = {
    "provenance.py": "now(), written down for people",
    "dispatches.py": "names a dispatch; the newest of those that are there moves the name on",
    "cleaning.py": "a copy of the source that nobody needs is a day old; the user is asked",
    "launch/slurm/doctor.py": "says how far apart the clocks are",
    "launch/slurm/trial.py": "says how far apart the clocks are",
    "perf/in_turn.py": "when a line was stopped, held against when files were written; turns go by the monotonic one",
}
CLOCK = re.compile(r"time\.time\(|time\.time_ns\(|datetime\.now|utcnow|fromtimestamp|fromisoformat|strptime")


def test_the_wall_clock_is_read_only_where_it_decides_nothing():
    root = Path(__file__).parent.parent / "bench"
    found = {str(path.relative_to(root)) for path in root.rglob("*.py") if CLOCK.search(path.read_text())}
    assert found == set(READS)
