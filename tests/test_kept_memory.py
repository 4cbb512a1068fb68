"""Memory that stays with the process: nothing that is computed hangs on what lies in it."""

import pytest
import torch

from bench import memory, prepared, probe_speed
from bench.checkpoint import read_tensors
from bench.memory import keep_freed_memory, release_freed_memory
from bench.probe_speed import ProbeSpeed
from bench.speed import Speed
from tests.learning import MemoryAttempt, pretrain_config
from tests.test_probe import probe_config, save_weights
from tests.test_probe import run as run_probe
from tests.test_train import run


@pytest.fixture(autouse=True)
def _as_it_was():
    yield
    release_freed_memory()


def map_afresh():
    """Has glibc take new pages, full of zeros, for each tensor of these small batches, and give them back."""
    assert memory._set(1 << 14, 1 << 14)


def test_a_pretraining_has_the_same_bits_whether_or_not_freed_memory_is_kept(tmp_path, monkeypatch):
    told, found = [], []
    monkeypatch.setattr(prepared, "keep_freed_memory", lambda: told.append(keep_freed_memory()))
    for keeps in (False, True):
        map_afresh()
        run(
            pretrain_config("patchvae-gan", epochs=2),
            MemoryAttempt(tmp_path),
            switches=Speed(keep_memory=keeps),
        )
        found.append(read_tensors(tmp_path / "model.safetensors")[0])
    assert told == [True]
    plain, kept = found
    assert plain.keys() == kept.keys()
    assert all(torch.equal(kept[name], tensor) for name, tensor in plain.items())


def test_a_probe_has_the_same_bits_whether_or_not_freed_memory_is_kept(tmp_path, monkeypatch):
    told, found = [], []
    monkeypatch.setattr(probe_speed, "keep_freed_memory", lambda: told.append(keep_freed_memory()))
    weights = save_weights(tmp_path / "w.safetensors")
    for keeps in (False, True):
        map_afresh()
        speed = ProbeSpeed(keep_memory=keeps)
        found.append(run_probe(probe_config("conv1-3"), weights, MemoryAttempt(tmp_path), probing=speed))
    assert told == [True]
    assert found[0]["epochs"] == found[1]["epochs"]
