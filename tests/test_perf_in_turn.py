"""`python -m bench.perf.in_turn`: two command lines, each stopped with its children while the other runs."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil

COMMAND = [sys.executable, "-m", "bench.perf.in_turn"]
# Looks at the clock all the time, in a child of the shell's child; says when.
CLOCK = """
import sys, time
end, stamps = {seconds}, []
began = last = time.monotonic()
used = 0.0
while used < end:
    now = time.monotonic()
    # What is longer is a stop.
    used += min(now - last, 0.1)
    last = now
    stamps.append(time.time())
    time.sleep(0.005)
open({path!r}, "w").write(repr(stamps))
"""


def group(pid):
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def clock(path, seconds):
    script = path.with_suffix(".py")
    script.write_text(CLOCK.format(seconds=seconds, path=str(path)))
    return f"bash -c '{sys.executable} {script}; true'"


def test_neither_runs_in_the_others_turn_and_both_end(tmp_path):
    one, other, stops = tmp_path / "one", tmp_path / "other", tmp_path / "stops.json"
    words = [clock(one, 1.5), clock(other, 2.5), "--seconds", "0.4", "0.5", "--stops", str(stops)]
    done = subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=True)
    stamps = [json.loads(path.read_text()) for path in (one, other)]
    away = json.loads(stops.read_text())
    for mine, theirs, stopped in zip(stamps, stamps[::-1], away, strict=True):
        assert len(stopped) >= 2
        # A little late is the clock's reading after the signal.
        assert not [t for t in mine for a, b in stopped if a + 0.05 < t < b - 0.05]
        assert [t for t in theirs for a, b in stopped if a < t < b]
    rows = [line.split("|") for line in done.stdout.splitlines() if line.startswith("| `")]
    ran = [float(row[2]) for row in rows]
    # Of each stop the clock takes a tenth of a second for its own.
    assert 0.9 < ran[0] < 3.0
    assert 1.5 < ran[1] < 4.0
    told = float(done.stdout.rsplit("other / one: ", 1)[1].split(";")[0])
    assert abs(told - ran[1] / ran[0]) < 0.15


def test_what_failed_is_told(tmp_path):
    done = subprocess.run([*COMMAND, "exit 3", "true"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "| `exit 3` |" in done.stdout
    assert "| 3 |" in done.stdout


def test_cpu_seconds_are_those_of_all_processes(tmp_path):
    burn = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.6: pass'"
    done = subprocess.run([*COMMAND, burn, "true", "--seconds", "0.2", "0.2"], capture_output=True, text=True)
    row = next(line for line in done.stdout.splitlines() if line.endswith("| 0 |") and "process_time" in line)
    assert 0.55 < float(row.split("|")[-3]) < 2.0


def test_an_interrupt_ends_both_though_one_is_stopped(tmp_path):
    words = [
        f"echo $$ > {tmp_path}/a; sleep 60",
        f"echo $$ > {tmp_path}/b; sleep 60",
        "--seconds",
        "0.2",
        "0.2",
    ]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while not (tmp_path / "b").exists() and time.monotonic() < end:
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) != 0
    groups = {int((tmp_path / name).read_text()) for name in ("a", "b")}
    assert not [
        p for p in psutil.process_iter() if p.status() != psutil.STATUS_ZOMBIE and group(p.pid) in groups
    ]


def test_a_turn_of_no_time_is_one_line():
    done = subprocess.run([*COMMAND, "true", "true", "--seconds", "0", "1"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "a turn takes more than none" in done.stderr
