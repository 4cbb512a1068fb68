"""What only an accelerator can show: every method trains there and starts where the CPU starts."""

from typing import Any

import pytest
import torch

from bench.launch.control import RunOptions, Stop
from bench.train import pretrain
from tests.learning import TRAINED, MemoryAttempt, noise_data, pretrain_config
from tests.test_probe import probe_config, save_weights
from tests.test_train import quiet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here"),
]


def run(config, folder, device) -> Any:
    arguments: Any = {"stop": Stop(), "progress": quiet, "options": RunOptions()}
    attempt: Any = MemoryAttempt(folder)
    return pretrain(config, noise_data(), attempt, device=device, **arguments)


@pytest.mark.parametrize("name", ["beta-vae", "supervised"])
def test_the_first_epoch_is_near_the_cpus(name, tmp_path):
    """Noise streams differ between devices, so the losses agree only closely."""
    config = pretrain_config(name, epochs=1)
    here, there = (run(config, tmp_path / device, device)["metrics"]["loss"] for device in ("cpu", "cuda"))
    assert there == pytest.approx(here, rel=0.05)


@pytest.mark.parametrize("name", TRAINED)
def test_every_method_trains_on_the_accelerator(name, tmp_path):
    metrics = run(pretrain_config(name, epochs=2), tmp_path, "cuda")["metrics"]
    assert all(torch.isfinite(torch.tensor(v)) for v in metrics.values())


def test_a_probe_runs_on_the_accelerator(tmp_path):
    from bench.probe import probe

    attempt: Any = MemoryAttempt(tmp_path)
    weights = save_weights(tmp_path / "w.safetensors")
    result = probe(
        probe_config("conv1-3", flip=True),
        noise_data(),
        weights,
        attempt,
        device="cuda",
        stop=Stop(),
        progress=quiet,
        options=RunOptions(),
    )
    assert len(result["epochs"]) == 3
