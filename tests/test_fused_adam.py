"""torch's fused Adam of a processor is Adam's loop, whatever strides gradients have; a run goes on under either."""

import copy
from typing import Any

import pytest
import torch

from bench.build import load_optimizer_state, optimizer_state
from bench.data.batches import Pixels
from bench.devices.share import Share
from bench.errors import Interrupted
from bench.flat import FlatAdam
from bench.fused_adam import FusedAdam, make_adam
from bench.speed import PLAIN, Speed, choose, in_words, kept, stacked
from bench.stacked import StackedSteps
from bench.train import Steps, make_optimizer
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_flat import BETAS, RATE, assert_same, channels_last, steps
from tests.test_train import StopAfter, read_tensors, run

FUSED = Speed(fused_adam=True)
SETTINGS = {"lr": RATE, "beta1": BETAS[0], "beta2": BETAS[1]}
TRAIN = {"batch_size": 6, "epoch_images": None, "drop_last": False, "epochs": 2, "flip": True, **SETTINGS}


class OneRank(Share):
    """All of a batch, by the code that sums over ranks."""

    def __init__(self):
        super().__init__(0, 1)

    def sums(self, vector):
        return vector


def adam(method, speed=FUSED) -> Any:
    return make_optimizer(method, dict(method.named_parameters()), SETTINGS, speed)


def pixels():
    return Pixels(noise_data(9, 4, 16).train, "cpu", "symmetric", torch.float64)


@pytest.mark.parametrize("name", ["supervised", "beta-vae", "patchvae-gan", "bigan"])
def test_it_is_adam_on_every_parameter_of_every_phase(name):
    """To 1e-12 in fp64 after three steps."""
    loop = channels_last(name)
    fused = copy.deepcopy(loop)
    steps(loop, adam(loop, PLAIN), 0, 1, 2)
    steps(fused, adam(fused), 0, 1, 2)
    assert_same(fused, loop, 1e-12)


@pytest.mark.parametrize("share", [None, OneRank], ids=["alone", "sums over ranks"])
def test_a_run_whose_gradients_are_sums_over_ranks_ends_alike(share):
    """Such sums are not in channels_last, as the parameters are."""
    ended = []
    for speed in (PLAIN, FUSED):
        method = channels_last("patchvae-gan")
        taken = Steps(method, pixels(), TRAIN, 0, speed, share=share and share())
        for _ in range(3):
            taken.next()
        ended.append(method)
    assert_same(ended[1], ended[0], 1e-12)


def test_seeds_at_once_end_alike():
    ended = []
    for speed in (PLAIN, FUSED):
        methods = [channels_last("patchvae-gan") for _ in range(2)]
        together = StackedSteps(methods, pixels(), TRAIN, [0, 1], stacked(speed))
        assert isinstance(together.optimizer, FusedAdam) is speed.fused_adam
        for _ in range(3):
            together.next()
        ended.append(methods)
    for fused, loop in zip(*reversed(ended), strict=True):
        assert_same(fused, loop, 1e-12)


def test_a_gradient_in_another_memory_order_reaches_the_entries_it_belongs_to():
    layer = torch.nn.Conv2d(3, 4, 2, bias=False).to(memory_format=torch.channels_last)
    fused = copy.deepcopy(layer)
    for one, way in ((layer, False), (fused, True)):
        one.weight.grad = torch.arange(48.0).reshape(4, 3, 2, 2) - 20
        assert one.weight.grad.stride() != one.weight.stride()
        make_adam(one.parameters(), RATE, BETAS, fused=way).step()
    torch.testing.assert_close(fused.weight, layer.weight)


def test_moments_that_were_loaded_in_another_memory_order_are_laid_first():
    """torch's `load_state_dict` keeps the order that it is given."""
    layer = torch.nn.Conv2d(3, 4, 2, bias=False).to(memory_format=torch.channels_last)
    fused = copy.deepcopy(layer)
    for one, way in ((layer, False), (fused, True)):
        saved = None
        for _ in range(2):
            optimizer = make_adam(one.parameters(), RATE, BETAS, fused=way)
            if saved is not None:
                optimizer.load_state_dict(saved)
            one.weight.grad = torch.arange(48.0).reshape(4, 3, 2, 2) - 20
            optimizer.step()
            saved = copy.deepcopy(optimizer.state_dict())
            for moment in ("exp_avg", "exp_avg_sq"):
                saved["state"][0][moment] = saved["state"][0][moment].contiguous()
    torch.testing.assert_close(fused.weight, layer.weight)


def test_what_a_phase_leaves_alone_stays():
    method = channels_last("bigan")
    before = copy.deepcopy(method.state_dict())
    touched = {name for name, _ in method.named_parameters() if "discriminator" in name}
    for name, parameter in method.named_parameters():
        parameter.grad = torch.ones_like(parameter) if name in touched else None
    adam(method).step()
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == touched


def test_which_adam_is_built():
    method = channels_last("beta-vae")
    fused, loop = adam(method), adam(method, PLAIN)
    assert isinstance(fused, FusedAdam)
    assert [one.param_groups[0]["fused"] for one in (fused, loop)] == [True, None]
    assert type(loop) is torch.optim.Adam
    assert isinstance(adam(method, Speed(fused_adam=True, flat_update=True)), FlatAdam)


@pytest.mark.parametrize(
    "parameter", [torch.zeros(4, 6)[:, ::2], torch.zeros(4, device="meta")], ids=["with gaps", "elsewhere"]
)
def test_what_it_cannot_be_given_keeps_the_loop(parameter):
    made = make_adam([torch.nn.Parameter(parameter)], RATE, BETAS, fused=True)
    assert made.param_groups[0]["fused"] is None


def test_processors_have_it_and_none_else():
    assert choose("cpu").fused_adam
    assert choose("cpu", precision="bf16").fused_adam
    for other in (choose("cuda"), choose("cpu", "plain"), kept(FUSED.as_json(), "cuda"), kept({}, "cpu")):
        assert not other.fused_adam
    assert kept(FUSED.as_json(), "cpu") == FUSED
    assert in_words(FUSED.as_json()) == "fp32; fused Adam"


@pytest.mark.parametrize(
    ("first", "then"), [(PLAIN, FUSED), (FUSED, PLAIN)], ids=["loop first", "fused first"]
)
def test_a_run_saved_under_one_goes_on_under_the_other(first, then):
    """Four steps with a change after two end as four of the loop; the saved moments have lost their memory order."""
    whole, parts, other = (channels_last("patchvae-gan") for _ in range(3))
    steps(whole, adam(whole, PLAIN), 0, 1, 2, 3)
    begun = adam(parts, first)
    steps(parts, begun, 0, 1)
    saved = {key: value.clone().contiguous() for key, value in optimizer_state(begun).items()}
    other.load_state_dict(copy.deepcopy(parts.state_dict()))
    gone_on = adam(other, then)
    load_optimizer_state(gone_on, saved)
    steps(other, gone_on, 2, 3)
    assert gone_on.param_groups[0]["fused"] is (True if then.fused_adam else None)
    assert_same(other, whole, 1e-11)
    for key, value in optimizer_state(gone_on).items():
        assert (value.dtype, value.shape) == (saved[key].dtype, saved[key].shape)


def test_stopped_and_gone_on_with_it_ends_bit_for_bit_alike(tmp_path):
    config = pretrain_config("patchvae-gan")
    whole, parts = MemoryAttempt(tmp_path / "whole"), MemoryAttempt(tmp_path / "parts")
    run(config, whole, switches=FUSED)
    with pytest.raises(Interrupted):
        run(config, parts, StopAfter(3), switches=FUSED)
    run(config, parts, switches=FUSED)
    ours, theirs = (read_tensors(tmp_path / name / "model.safetensors")[0] for name in ("parts", "whole"))
    assert all(torch.equal(ours[key], value) for key, value in theirs.items())
