"""A run on several ranks stops for all at once, and goes on at another number of them as if nothing had been."""

from typing import Any

import numpy as np
import pytest

from bench.checkpoint import read_tensors
from bench.devices.follow import NoAttempt
from bench.errors import Interrupted, UsageError
from bench.launch.control import RunOptions, Stop
from bench.train import pretrain
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.ranks import on_ranks
from tests.test_train import StopAfter, rows

# Four steps, a full batch and a short one in each epoch; stopped in the midst of an epoch.
TRAIN = {"batch_size": 9, "epochs": 2, "lr": 1e-5}


def attempt_in(folder):
    """What an earlier attempt has left there."""
    attempt = MemoryAttempt(folder)
    if (folder / "checkpoint.safetensors").exists():
        attempt.checkpoint = read_tensors(folder / "checkpoint.safetensors")
    return attempt


def train(share, folder, stop_after=None, devices=1) -> Any:
    """The rows of a run, or the line that ended it; None of a rank that follows."""
    leads = share is None or share.leads
    attempt = attempt_in(folder) if leads else NoAttempt()
    config = pretrain_config("patchvae-gan", size=16, **TRAIN)
    config["train"]["batch_norm_devices"] = devices
    try:
        pretrain(
            config,
            noise_data(14, 4, 16),
            attempt,  # pyright: ignore[reportArgumentType]
            device="cpu",
            stop=StopAfter(stop_after) if stop_after and leads else Stop(),
            progress=lambda *_: None,
            options=RunOptions(threads=1),
            share=share,
        )
    except (Interrupted, UsageError) as error:
        return f"{type(error).__name__}: {error}"
    return rows(attempt) if leads else None


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(None, folder), read_tensors(folder / "model.safetensors")[0]


@pytest.mark.parametrize("goes_on_with", [1, 4])
def test_a_run_stopped_on_two_ranks_goes_on_at_another_number(undisturbed, goes_on_with, tmp_path):
    assert on_ranks(2, train, tmp_path, 3) == ["Interrupted: stopped after step 3 of 4"] * 2
    found = train(None, tmp_path) if goes_on_with == 1 else on_ranks(4, train, tmp_path)[0]
    # The row of the epoch in whose midst it was stopped.
    assert found == [pytest.approx(undisturbed[0][1], rel=1e-5)]
    weights = read_tensors(tmp_path / "model.safetensors")[0]
    for key, value in undisturbed[1].items():
        np.testing.assert_allclose(weights[key].numpy(), value.numpy(), rtol=1e-4, atol=1e-4, err_msg=key)


def test_statistics_of_each_device_are_other_numbers_and_need_so_many(undisturbed, tmp_path):
    (found, _) = on_ranks(2, train, tmp_path, None, 2)
    # What a batch's mean and deviation are, is another question of half of it; yet the images are the same.
    assert found[0] != pytest.approx(undisturbed[0][0], rel=1e-3)
    assert found[0]["recon"] == pytest.approx(undisturbed[0][0]["recon"], rel=0.5)
    assert train(None, tmp_path, None, 2) == (
        "UsageError: batch norm of this cell is over the shares of 2 devices: it needs --devices 2"
    )
