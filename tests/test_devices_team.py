"""`bench run --devices 2`: what becomes of a cell whose rank dies, and of the ranks."""

import sys

import psutil
import pytest

from bench.cli import main
from bench.devices import team
from bench.records import load_runs

CELL = [
    "-m",
    "beta-vae",
    "-d",
    "digits@10%",
    "-s",
    "1",
    "--probes",
    "conv1",
    "--evaluate",
    "none",
]
CELL += ["--set", "pretrain.epochs=1", "--set", "pretrain.epoch_images=48", "--set", "pretrain.batch_size=16"]
CELL += ["--set", "probe.epochs=1", "--checkpoint-every", "1", "--device", "cpu"]


def pretraining(results):
    (run,) = (run for run in load_runs(results) if run.config["kind"] == "pretrain")
    return run


def log_of(run):
    return (run.attempts[0] / "log.txt").read_text()


@pytest.fixture
def ends(monkeypatch):
    def ends(how):
        monkeypatch.setattr(team, "COMMAND", (sys.executable, "-m", "tests.failing_follower", how))

    yield ends
    words = [" ".join(child.cmdline()) for child in psutil.Process().children()]
    assert not [line for line in words if "follow" in line], "every rank has ended"


@pytest.mark.slow
def test_a_rank_that_is_killed_leaves_a_cell_that_goes_on(ends, tmp_path, capsys):
    ends("killed")
    words = ["run", *CELL, "--results", str(tmp_path)]
    assert main([*words, "--devices", "2"]) == 1
    run = pretraining(tmp_path)
    assert run.state == "interrupted"
    said = capsys.readouterr()
    assert "rank 1 of 2" in said.out + said.err
    assert "was killed by SIGKILL" in log_of(run)
    assert main(words) == 0
    run = pretraining(tmp_path)
    assert run.state == "done"
    assert "resumed from 0001" in log_of(run)


def test_a_rank_that_fails_fails_the_cell_with_its_traceback(ends, tmp_path, capsys):
    ends("raises")
    assert main(["run", *CELL, "--results", str(tmp_path), "--devices", "2"]) == 1
    run = pretraining(tmp_path)
    assert run.state == "failed"
    said = capsys.readouterr()
    assert "rank 1: a word of the method" in said.out + said.err, "what is printed is no message to rank 0"
    assert run.status["error"] == "rank 1 of 2: ValueError: this rank cannot"
    assert "failing_follower.py" in log_of(run)
    assert run.provenance["devices"]["world_size"] == 2
    assert run.provenance["threads"] == 1
