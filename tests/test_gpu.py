"""What only an accelerator can show: every method trains there and starts where the CPU starts."""

from typing import Any

import pytest
import torch

from bench.errors import Interrupted
from bench.launch.control import RunOptions, Stop
from bench.probe_speed import PLAIN_PROBE, choose_probe
from bench.speed import Speed
from bench.together import pretrain_together
from bench.together_speed import measure
from bench.train import pretrain
from tests.fake_trainer import anything
from tests.learning import TRAINED, MemoryAttempt, noise_data, pretrain_config
from tests.test_probe import probe_config, save_weights
from tests.test_train import StopAfter, quiet

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no accelerator here"),
]


def run(config, folder, device, *, attempt: Any = None, stop: Any = None, **options) -> Any:
    arguments: Any = {"stop": stop or Stop(), "progress": quiet, "options": RunOptions(**options)}
    attempt = attempt or MemoryAttempt(folder)
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


@pytest.mark.parametrize("freeze", ["conv1-3", "conv1-5"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_probe_as_a_run_has_it_is_near_the_plain_one(freeze, precision, tmp_path):
    from bench.probe import probe

    weights = save_weights(tmp_path / "w.safetensors")

    def rows(probing):
        attempt: Any = MemoryAttempt(tmp_path)
        options: Any = {"stop": Stop(), "progress": quiet, "options": RunOptions(probing=probing)}
        config = probe_config(freeze, flip=True)
        return probe(config, noise_data(), weights, attempt, device="cuda", **options)["epochs"]

    plain, found = rows(PLAIN_PROBE), rows(choose_probe("cuda", "auto", precision))
    assert len(plain) == len(found) == 3
    for ours, theirs in zip(found, plain, strict=True):
        for key in ("train_loss", "test_loss"):
            assert ours[key] == pytest.approx(theirs[key], rel=0.05 if precision == "bf16" else 0.01), key


SWITCHES = {
    "flat update": Speed(flat_update=True),
    "captured": Speed(flat_update=True, graph=True),
    "compiled": Speed(flat_update=True, compile="always"),
    "bf16": Speed(flat_update=True, precision="bf16"),
    "bf16, captured": Speed(flat_update=True, precision="bf16", graph=True),
}


@pytest.mark.parametrize("name", ["beta-vae", "patchvae-gan-lw", "bigan"])
@pytest.mark.parametrize("words", SWITCHES)
def test_switches_change_the_losses_no_more_than_rounding_does(name, words, tmp_path):
    """Two epochs, whose last batch is short, from the same weights and draws."""
    config = pretrain_config(name, epochs=2, batch_size=16, flip=True)
    plain = run(config, tmp_path / "plain", "cuda")["metrics"]
    attempt: Any = MemoryAttempt(tmp_path / "fast")
    found = run(config, tmp_path, "cuda", attempt=attempt, switches=SWITCHES[words])["metrics"]
    # Else the plain way would be held against itself.
    assert not any("not captured" in note or "not compiled" in note for note in attempt.notes)
    tolerance = 0.05 if SWITCHES[words].precision == "bf16" else 0.01
    for key, value in plain.items():
        assert found[key] == pytest.approx(value, rel=tolerance, abs=0.05), key


@pytest.mark.parametrize("graph", [False, True])
def test_a_captured_run_that_was_stopped_ends_as_one_that_was_not(graph, tmp_path):
    """What warms up before the capture is undone, so that the first step is the first."""
    config = pretrain_config("patchvae-gan", epochs=2)
    switches = Speed(flat_update=True, graph=graph)
    whole = run(config, tmp_path / "whole", "cuda", switches=switches)["metrics"]
    attempt: Any = MemoryAttempt(tmp_path / "parts")
    with pytest.raises(Interrupted):
        run(config, tmp_path, "cuda", attempt=attempt, stop=StopAfter(3), switches=switches)
    parts = run(config, tmp_path, "cuda", attempt=attempt, switches=switches)["metrics"]
    assert parts == pytest.approx(whole, rel=1e-3)
    assert not any("not captured" in note for note in attempt.notes)


@pytest.mark.parametrize("name", ["beta-vae", "patchvae-gan-lw", "bigan", "supervised"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_seeds_together_have_the_losses_of_seeds_alone(name, precision, tmp_path):
    configs = [pretrain_config(name, seed, epochs=2, batch_size=16, flip=True) for seed in range(3)]
    switches = Speed(flat_update=True, precision=anything(precision))
    attempts: Any = [MemoryAttempt(tmp_path / str(seed)) for seed in range(3)]
    endings: Any = pretrain_together(
        configs,
        noise_data(),
        attempts,
        device="cuda",
        stop=Stop(),
        progress=[quiet] * 3,
        options=RunOptions(switches=switches),
    )
    found = dict(endings)
    tolerance = 0.05 if precision == "bf16" else 0.01
    for seed, config in enumerate(configs):
        alone = run(config, tmp_path / f"alone{seed}", "cuda", switches=switches)["metrics"]
        for key, value in alone.items():
            assert found[seed]["metrics"][key] == pytest.approx(value, rel=tolerance, abs=0.05), key


def test_whether_seeds_are_faster_together_is_measured_on_the_device():
    configs = [pretrain_config("beta-vae", seed, batch_size=16) for seed in range(3)]
    options = RunOptions(switches=Speed(flat_update=True))
    found = measure(configs, noise_data(), device="cuda", options=options)
    assert found.together is not None
    assert found.times_faster > 0
