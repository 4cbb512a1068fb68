"""The update of all parameters in one piece of memory is the update of each: Adam's, whatever their strides."""

import copy

import pytest
import torch

from bench.build import load_optimizer_state, optimizer_state
from bench.engines import PlainEngine, train_step, updated_names
from bench.flat import FlatAdam
from tests.learning import make_batch, make_method

RATE, BETAS = 1e-3, (0.5, 0.999)


def plain_adam(method):
    return torch.optim.Adam(method.parameters(), lr=RATE, betas=BETAS)


def flat_adam(method):
    updates = [updated_names(method, phase) for phase in method.phases]
    return FlatAdam(dict(method.named_parameters()), updates, RATE, BETAS)


def channels_last(name, dtype=torch.float64):
    return make_method(name, dtype=dtype, size=16).to(memory_format=torch.channels_last)


def steps(method, optimizer, *numbers, dtype=torch.float64):
    engine = PlainEngine(method)
    for step in numbers:
        batch, noises, schedule = make_batch(method, 0, step, dtype=dtype)
        train_step(engine, optimizer, batch, noises, schedule)


def assert_same(ours, theirs, tolerance):
    for key, value in theirs.state_dict().items():
        scale = max(1.0, value.abs().max().item())
        assert (ours.state_dict()[key] - value).abs().max().item() <= tolerance * scale, key


@pytest.mark.parametrize("name", ["beta-vae", "patchvae-gan", "bigan"])
def test_it_is_adam_on_every_parameter_of_every_phase(name):
    """To 1e-12 in fp64 after three steps: rounding alone, which a wrong entry of a wrong stride would exceed."""
    plain = channels_last(name)
    flat = copy.deepcopy(plain)
    steps(plain, plain_adam(plain), 0, 1, 2)
    steps(flat, flat_adam(flat), 0, 1, 2)
    assert_same(flat, plain, 1e-12)


def test_a_gradient_in_another_memory_order_reaches_the_entries_it_belongs_to():
    """torch's own fused Adam on the CPU, given these, updates wrong entries and says nothing."""
    layer = torch.nn.Conv2d(3, 4, 2, bias=False).to(memory_format=torch.channels_last)
    flat = copy.deepcopy(layer)
    grad = torch.arange(48.0).reshape(4, 3, 2, 2) - 20
    assert grad.stride() != layer.weight.stride()
    layer.weight.grad = grad
    torch.optim.Adam(layer.parameters(), lr=RATE, betas=BETAS).step()
    optimizer = FlatAdam(dict(flat.named_parameters()), [["weight"]], RATE, BETAS)
    optimizer.update({"weight": grad})
    torch.testing.assert_close(flat.weight, layer.weight)
    assert flat.weight.stride() == layer.weight.stride()


def test_parameters_keep_values_strides_and_identity():
    method = channels_last("patchvae-gan", torch.float32)
    before = {n: (p, p.detach().clone(), p.stride()) for n, p in method.named_parameters()}
    flat_adam(method)
    for name, parameter in method.named_parameters():
        was, value, stride = before[name]
        assert parameter is was
        assert parameter.stride() == stride
        assert torch.equal(parameter, value)
        assert parameter.data_ptr() % 64 == 0


def test_what_no_phase_updates_and_what_a_phase_leaves_alone_stays():
    method = channels_last("bigan", torch.float32)
    before = copy.deepcopy(method.state_dict())
    grads = {name: torch.ones_like(p) for name, p in method.named_parameters() if "discriminator" in name}
    flat_adam(method).update(grads)
    moved = {name for name, p in method.named_parameters() if not torch.equal(p, before[name])}
    assert moved == set(grads)


@pytest.mark.parametrize("begin", [plain_adam, flat_adam], ids=["plain first", "flat first"])
def test_a_run_saved_under_one_switch_goes_on_under_the_other(begin):
    """Checkpoints are by parameter: four steps with a change after two end as four plain ones."""
    name = "beta-vae-gan"
    whole, parts = channels_last(name), channels_last(name)
    steps(whole, plain_adam(whole), 0, 1, 2, 3)
    first = begin(parts)
    steps(parts, first, 0, 1)
    saved = {k: v.clone().contiguous() for k, v in optimizer_state(first).items()}
    other = channels_last(name)
    other.load_state_dict(copy.deepcopy(parts.state_dict()))
    second = (flat_adam if begin is plain_adam else plain_adam)(other)
    load_optimizer_state(second, saved)
    steps(other, second, 2, 3)
    assert_same(other, whole, 1e-11)


def test_both_kinds_of_adam_save_the_same_entries():
    plain, flat = channels_last("bigan"), channels_last("bigan")
    adams = plain_adam(plain), flat_adam(flat)
    steps(plain, adams[0], 0)
    steps(flat, adams[1], 0)
    theirs, ours = (optimizer_state(adam) for adam in adams)
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key].to(value.dtype), value, rtol=1e-9, atol=1e-12)
