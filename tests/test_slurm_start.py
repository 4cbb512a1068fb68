"""How a job starts: signals wait while Python imports, what a kill left is mended. No cluster."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.launch.slurm import start
from tests.test_snapshot import ROOT

UNBLOCK = """
import signal, sys, time
print("up", flush=True)
time.sleep(float(sys.argv[1]))
got = []
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, _: got.append(signal.Signals(number).name))
signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGUSR2, signal.SIGTERM))
print(sorted(got))
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
"""


@pytest.fixture(autouse=True)
def signals(monkeypatch):
    """The signals are as they were afterwards, and no job is around unless a test says so."""
    kept = {number: signal.getsignal(number) for number in start.SIGNALS}
    for name in os.environ:
        if name.startswith(("SLURM_", "SUBMITIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, start.SIGNALS)


def shell(*words, cwd=ROOT, **environment):
    """A process that starts as a job does."""
    line = f"{start.command(sys.executable, ROOT)} {shlex.join(words)}"
    return subprocess.Popen(
        ["bash", "-c", f"exec {line}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )


def test_signals_that_come_while_python_imports_wait_for_their_handlers():
    process = shell("-c", UNBLOCK, "0.3")
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    for number in (signal.SIGUSR2, signal.SIGTERM):
        process.send_signal(number)
    out, errors = process.communicate(timeout=30)
    assert (out, errors) == ("['SIGTERM', 'SIGUSR2']\n", "")


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.01, 0.02, 0.04])
def test_no_signal_ends_a_job_that_is_just_starting(delay):
    process = shell("-c", UNBLOCK, "0")
    # From where the shell has become Python, whose own start is unprotected but for what the shell ignores.
    # Before it is a shell it has the name and the words of this very process.
    while Path(f"/proc/{process.pid}/cmdline").read_text().split("\0")[1:2] not in (["-I"], ["-P"]):
        time.sleep(0.0005)
    time.sleep(delay)
    process.send_signal(signal.SIGUSR2)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 0


def test_the_folder_of_submission_does_not_hide_the_copy(tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise SystemExit('the wrong one')")
    process = shell("-c", "import bench; print(bench.__file__)", cwd=tmp_path, PYTHONPATH=str(ROOT))
    out, errors = process.communicate(timeout=30)
    assert (out, errors) == (f"{ROOT}/bench/__init__.py\n", "")


@pytest.mark.parametrize(
    ("there", "left"),
    [
        (["7_submitted.pkl"], ["7_submitted.pkl"]),
        (["7_submitted.pkl", "7_submitted.pkl.save_tmp"], ["7_submitted.pkl"]),
        (["7_submitted.pkl.save_tmp"], ["7_submitted.pkl"]),
        (["7_submitted.pkl", "7_0_result.pkl.save_tmp"], ["7_submitted.pkl"]),
        (["7_submitted.pkl", "8_submitted.pkl.save_tmp"], ["7_submitted.pkl", "8_submitted.pkl.save_tmp"]),
    ],
)
def test_what_a_kill_left_of_submitits_saving_is_mended(tmp_path, there, left):
    for name in there:
        (tmp_path / name).touch()
    process = shell("-c", "pass", str(tmp_path), SLURM_JOB_ID="7")
    assert process.communicate(timeout=30) == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == left


def test_an_interpreter_whose_path_has_spaces_and_a_command_both_start(tmp_path):
    folder = tmp_path / "a place"
    folder.mkdir()
    (folder / "python").symlink_to(sys.executable)
    for python in (str(folder / "python"), f"env X=1 {sys.executable}"):
        line = start.command(python, ROOT)
        # As the batch script has it: a line of shell.
        done = subprocess.run(["bash", "-c", f"{line} -c 'print(7)'"], capture_output=True, text=True)
        assert (done.stdout, done.stderr) == ("7\n", "")


def test_a_results_folder_that_the_node_lacks_is_one_line(tmp_path):
    lines = start.setup(ROOT, tmp_path / "away")
    done = subprocess.run(["bash", "-c", "\n".join([*lines, "echo on"])], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{tmp_path}/away cannot be written on " in done.stderr
    lines = start.setup(ROOT, tmp_path)
    done = subprocess.run(
        ["bash", "-c", "\n".join([*lines, "echo $PYTHONPATH"])], capture_output=True, text=True
    )
    assert done.stdout.split(":")[0].strip() == str(ROOT)


@pytest.mark.parametrize("strict", ["", "set -e"])
def test_the_batch_script_requeues_what_sigusr2_killed_and_nothing_else(tmp_path, strict):
    for name, text in (("srun", 'exit "$1"'), ("scontrol", 'echo "$@"')):
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7"}
    for code, array, said in (
        (140, {}, "requeue 7\n"),
        (140, {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "2"}, "requeue 5_2\n"),
        (143, {}, ""),
        (1, {}, ""),
        (0, {}, ""),
    ):
        script = "\n".join([strict, *start.setup(ROOT, tmp_path), f"srun {code}"])
        words = ["bash", "-c", script]
        done = subprocess.run(words, env=environment | array, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (code, said)
