"""Pretraining: every method learns, and a run that was stopped ends like one that was not."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from bench.checkpoint import read_tensors
from bench.data.batches import MEAN_STD, Pixels, batch_bounds, flips
from bench.data.shuffling import epoch_order
from bench.errors import Diverged, Interrupted, OutOfTime, UsageError
from bench.launch.control import RunOptions, Stop
from bench.train import pretrain
from models.registry import METHODS
from tests.learning import MemoryAttempt, noise_data, pretrain_config

TIMES = ("seconds", "images_per_second")


def quiet(step, total, rate, values):
    pass


class StopAfter(Stop):
    """Asks to stop at the n-th step it is asked about."""

    def __init__(self, steps, reason="interrupt"):
        super().__init__()
        self.left, self.reason = steps, reason

    def check(self) -> Any:
        self.left -= 1
        return self.reason if self.left <= 0 else None


def run(config, attempt, stop=None, data=None, **options):
    return pretrain(
        config,
        data or noise_data(),
        attempt,
        device="cpu",
        stop=stop or Stop(),
        progress=quiet,
        options=RunOptions(threads=1, **options),
    )


def rows(attempt):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in attempt.rows]


@pytest.mark.parametrize("name", METHODS)
def test_every_method_trains_on_a_whole_epoch_and_leaves_finite_weights(name, tmp_path):
    attempt = MemoryAttempt(tmp_path)
    row = METHODS[name]
    result = run(pretrain_config(name, epochs=1 if row.trained else 0), attempt)
    tensors, _ = read_tensors(tmp_path / "model.safetensors")
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    assert result["params"]["backbone"] == 683_072
    assert result["steps"] == (5 if row.trained else 0)
    if row.trained:
        assert all(math.isfinite(v) for v in result["metrics"].values())
    if row.trained and name != "supervised":
        images = attempt.arrays["reconstructions"]
        assert images["images"].shape == images["reconstructions"].shape == (16, 3, 32, 32)
        assert images["reconstructions"].dtype == np.uint8


@pytest.mark.parametrize("name", ["patchvae-gan-lw", "bigan", "supervised"])
@pytest.mark.parametrize("steps", [1, 5, 8])
def test_stopped_after_any_step_it_ends_bit_for_bit_alike(name, steps, tmp_path):
    """Ten steps in two epochs: within the first, at its end, within the second."""
    config = pretrain_config(name, flip=True)
    whole = MemoryAttempt(tmp_path / "whole")
    expected = run(config, whole)
    parts = MemoryAttempt(tmp_path / "parts")
    with pytest.raises(Interrupted, match=f"step {steps} of 10"):
        run(config, parts, StopAfter(steps))
    result = run(config, parts)
    assert rows(parts) == rows(whole)
    assert result["metrics"] == expected["metrics"]
    ours, _ = read_tensors(tmp_path / "parts/model.safetensors")
    theirs, _ = read_tensors(tmp_path / "whole/model.safetensors")
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert torch.equal(ours[key], value), key


def test_how_often_it_is_saved_changes_nothing(tmp_path):
    config = pretrain_config("patchvae")
    often, never = MemoryAttempt(tmp_path / "often"), MemoryAttempt(tmp_path / "never")
    run(config, often, checkpoint_every_steps=1)
    run(config, never)
    assert often.saves == 9
    assert never.saves == 0
    assert rows(often) == rows(never)


def test_a_spent_time_budget_is_another_ending_than_an_interrupt(tmp_path):
    with pytest.raises(OutOfTime):
        run(pretrain_config("supervised"), MemoryAttempt(tmp_path), StopAfter(2, "time"))


def test_a_loss_that_is_not_finite_ends_the_run_and_names_the_step(tmp_path):
    attempt = MemoryAttempt(tmp_path)
    with pytest.raises(Diverged, match=r"from step \d+ on"):
        run(pretrain_config("beta-vae", lr=1e6, epochs=4), attempt)
    assert attempt.checkpoint is None
    assert not (tmp_path / "model.safetensors").exists()


def test_weights_that_are_not_finite_after_the_last_step_are_not_kept(tmp_path, monkeypatch):
    """The last step's loss is computed before its update ruins the weights."""
    from bench import train

    def ruin(engine, *arguments):
        values = train_step(engine, *arguments)
        with torch.no_grad():
            engine.parameters["classifier.bias"].fill_(float("inf"))
        return values

    train_step = train.train_step
    monkeypatch.setattr(train, "train_step", ruin)
    with pytest.raises(Diverged, match="a weight is not finite"):
        run(pretrain_config("supervised", batch_size=40, epochs=1), MemoryAttempt(tmp_path))
    assert not (tmp_path / "model.safetensors").exists()


def test_too_few_images_for_a_batch_are_refused(tmp_path):
    with pytest.raises(UsageError, match="do not fill one batch of 64"):
        run(pretrain_config("patchvae", batch_size=64, drop_last=True), MemoryAttempt(tmp_path))


def test_the_reference_epoch_wraps_around_a_small_data_set(tmp_path):
    result = run(
        pretrain_config("supervised", epochs=1, epoch_images=100, drop_last=True), MemoryAttempt(tmp_path)
    )
    assert result["steps"] == 12


def test_order_of_an_epoch_is_a_permutation_of_its_own():
    first, second = epoch_order(50, 7, "order", 0), epoch_order(50, 7, "order", 1)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(50))
    assert not torch.equal(first, second)
    assert torch.equal(first, epoch_order(50, 7, "order", 0))
    wrapped = epoch_order(50, 7, "order", 0, epoch_images=120)
    assert torch.equal(wrapped[:50], first)
    assert sorted(wrapped[50:100].tolist()) == list(range(50))
    assert len(wrapped) == 120


def test_bounds_keep_or_drop_the_short_batch():
    assert batch_bounds(10, 4, False) == [(0, 4), (4, 8), (8, 10)]
    assert batch_bounds(10, 4, True) == [(0, 4), (4, 8)]


@pytest.mark.parametrize("scale", ["imagenet", "symmetric"])
def test_pixels_are_scaled_mirrored_and_come_back(scale):
    data = noise_data().train
    pixels = Pixels(data, "cpu", scale)
    index = torch.tensor([3, 0])
    images, labels = pixels.batch(index, torch.tensor([True, False]))
    mean, std = (np.array(v)[:, None, None] for v in MEAN_STD[scale])
    expected = (data.images[[3, 0]] / 255.0 - mean) / std
    expected[0] = expected[0][:, :, ::-1]
    np.testing.assert_allclose(images.numpy(), expected, atol=1e-5)
    assert labels.tolist() == [3, 0]
    back = pixels.to_bytes(images).numpy()
    np.testing.assert_array_equal(back[1], data.images[0])


def test_half_of_the_images_are_mirrored():
    assert 0.45 < torch.cat([flips(100, 0, "flip", step, "cpu") for step in range(50)]).float().mean() < 0.55
