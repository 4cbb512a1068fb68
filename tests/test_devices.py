"""One cell on several ranks: every step is that of one process with the whole batch."""

import numpy as np
import pytest
import torch

from bench.build import build_method
from bench.data.batches import Pixels
from bench.devices.batch_norm import synchronise
from bench.train import Steps
from tests.learning import noise_data, pretrain_config
from tests.ranks import on_ranks

# Every family, both switches, each kind of phase: gradients kept, parameters that a phase leaves alone.
CASES = {
    "beta-vae": {},
    "patchvae-gan": {},
    "patchvae-gan-lw": {"elbo_twice": True},
    "bigan": {},
    "supervised": {},
}
# A full batch that four ranks share unevenly, and a short one of which the last has no image.
NUM_IMAGES, BATCH, STEPS = 9, 6, 2


def curve(share, name, dtype, per_device=False):
    """Losses by step; then all weights and statistics."""
    torch.set_num_threads(1)
    config = pretrain_config(name, size=16)
    config["method_config"] |= CASES[name]
    method = build_method(config, 10).to(dtype).train()
    pixels = Pixels(noise_data(NUM_IMAGES, 4, 16).train, "cpu", "symmetric", dtype)
    train = {"batch_size": BATCH, "epoch_images": None, "drop_last": False, "epochs": 2, "flip": True}
    steps = Steps(method, pixels, {**train, "lr": 1e-4, "beta1": 0.5, "beta2": 0.999}, 0, share=share)
    if share is not None and not per_device:
        synchronise(method, share)
    rows = [{k: float(v) for k, v in steps.next()[0].items()} for _ in range(STEPS)]
    return rows, {k: v.detach().double().numpy() for k, v in method.state_dict().items()}


def curves(share):
    """Of every case: in fp64 what must be equal but for rounding, in fp32 as it is trained."""
    found = {name: curve(share, name, torch.float64) for name in CASES}
    return found, {name: curve(share, name, torch.float32)[0] for name in ("beta-vae", "bigan")}


@pytest.fixture(scope="module")
def alone():
    return curves(None)


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request):
    return on_ranks(request.param, curves)


@pytest.mark.parametrize("name", CASES)
def test_losses_and_weights_are_those_of_one_process(name, alone, ranks):
    rows, state = alone[0][name]
    for found, _ in ranks:
        for ours, theirs in zip(found[name][0], rows, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-8)
        for key, value in state.items():
            # Adam turns a gradient that is rounding alone into a step of any size up to lr.
            np.testing.assert_allclose(found[name][1][key], value, rtol=1e-6, atol=1e-6, err_msg=key)


def test_in_fp32_the_loss_curve_is_that_of_one_process_to_1e_5(alone, ranks):
    for name, rows in alone[1].items():
        for ours, theirs in zip(ranks[0][1][name], rows, strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5), name


def test_every_rank_ends_with_the_same_bits(ranks):
    for found, _ in ranks[1:]:
        for name in CASES:
            for key, value in ranks[0][0][name][1].items():
                np.testing.assert_array_equal(found[name][1][key], value, err_msg=f"{name} {key}")
