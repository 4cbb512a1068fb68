"""A real process killed at random moments and started again ends like one that was left alone."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.checkpoint import read_tensors
from bench.records import load_runs

TIMES = {"seconds", "images_per_second", "feature_seconds", "peak_memory_bytes", "attempt"}
KILLS = 6


def command(results: Path, method: str) -> list[str]:
    return [
        *(
            sys.executable,
            "-m",
            "bench",
            "run",
            "-m",
            method,
            "-d",
            "digits",
            "-s",
            "1",
            "--probes",
            "conv1-3",
        ),
        *("--set", "pretrain.epochs=2", "--set", "probe.epochs=2", "--set", "pretrain.batch_size=256"),
        *("--threads", "1", "--checkpoint-every", "2", "--results", str(results)),
    ]


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("method", ["patchvae-gan-lw"])
def test_killed_at_random_moments_it_ends_with_the_same_bits(method, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "env": environment}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    subprocess.run(command(whole, method), check=True, timeout=300, **quiet)

    moments = random.Random(0)
    interrupted = 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(killed, method), start_new_session=True, **quiet)
        seen = sum(1 for _ in killed.glob("runs/*/attempts/*"))
        deadline = time.monotonic() + 120
        while process.poll() is None and sum(1 for _ in killed.glob("runs/*/attempts/*")) == seen:
            assert time.monotonic() < deadline, "no attempt was begun"
            time.sleep(0.02)
        try:
            process.wait(moments.uniform(0.2, 3.0))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            interrupted += process.wait() == -signal.SIGKILL
    assert interrupted >= 3, "the kills came too late to interrupt anything"
    subprocess.run(command(killed, method), check=True, timeout=300, **quiet)

    expected = {run.id: run for run in load_runs(whole)}
    found = {run.id: run for run in load_runs(killed)}
    assert set(found) == set(expected)
    assert len(found) == 2
    for key, run in expected.items():
        assert found[key].result is not None
        assert without_times(found[key].result) == without_times(run.result)
        assert without_times(found[key].metrics()) == without_times(run.metrics())
    assert sum(1 for _ in killed.glob("runs/*/attempts/*")) > 2

    def weights(results: Path) -> dict[str, torch.Tensor]:
        (path,) = results.glob("runs/*/attempts/*/model.safetensors")
        return read_tensors(path)[0]

    ours, theirs = weights(killed), weights(whole)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert set(ours) == set(theirs)
    arrays = [np.load(next(r.glob("runs/*/attempts/*/predictions.npz"))) for r in (whole, killed)]
    for name in arrays[0].files:
        np.testing.assert_array_equal(arrays[0][name], arrays[1][name])
    leftovers = [p for p in killed.rglob("*") if p.name.endswith(".tmp")]
    assert leftovers == []
    json.loads((killed / "bench.json").read_text())
