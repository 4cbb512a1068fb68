"""One cell on two GPUs by NCCL."""

import pytest
import torch

from bench.cli import main
from bench.records import load_runs

CELLS = ["-m", "beta-vae,bigan", "-d", "digits", "-s", "1", "--probes", "conv1", "--evaluate", "none"]
CELLS += ["--set", "pretrain.epochs=1", "--set", "pretrain.epoch_images=300", "--set", "probe.epochs=1"]


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_train_the_cell_that_one_trains(tmp_path):
    found = {}
    for name, words in (("two", ["--devices", "2"]), ("one", [])):
        assert main(["run", *CELLS, *words, "--device", "cuda", "--results", str(tmp_path / name)]) == 0
        runs = [run for run in load_runs(tmp_path / name) if run.config["kind"] == "pretrain"]
        found[name] = {run.id: run.metrics()[0]["loss"] for run in runs}
        if name == "two":
            assert {run.provenance["devices"]["backend"] for run in runs} == {"nccl"}
    assert found["two"] == pytest.approx(found["one"], rel=1e-4)
