"""The update of tensors as memory is torch's fused SGD to the last bit, and leaves to it what is unlike."""

import copy
from typing import Any

import pytest
import torch

from bench.dense_sgd import DenseSGD

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "fused": True}
LOOP = {"fused": False, "foreach": False}
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


def parameters(layout):
    generator = torch.Generator().manual_seed(0)
    shapes = ((24, 16, 3, 3), (40, 130), (7,), (16, 8, 1, 1))
    made = [torch.randn(shape, generator=generator) for shape in shapes]
    made = [t.contiguous(memory_format=layout) if t.dim() == 4 else t for t in made]
    return [torch.nn.Parameter(t) for t in made]


def train(optimizer, steps, layout, first=0):
    """The same gradients whichever optimiser."""
    (group,) = optimizer.param_groups
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(1 + step)
        for p in group["params"]:
            grad = torch.randn(p.shape, generator=generator)
            p.grad = grad.contiguous(memory_format=layout) if p.dim() == 4 else grad
        group["lr"] = 0.1 / (1 + step)
        optimizer.step()
    return group["params"]


def torchs_own_steps(monkeypatch):
    taken = []
    monkeypatch.setattr(
        torch.optim.SGD,
        "step",
        lambda self, closure=None, own=torch.optim.SGD.step: taken.append(1) or own(self),
    )
    return taken


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("nesterov", [False, True])
def test_its_steps_are_torchs(layout, nesterov):
    ours = train(DenseSGD(parameters(layout), **SETTINGS, nesterov=nesterov), 5, layout)
    theirs = train(torch.optim.SGD(parameters(layout), **SETTINGS, nesterov=nesterov), 5, layout)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one, other)


def test_torch_is_asked_for_the_first_step_which_makes_the_momentum(monkeypatch):
    taken = torchs_own_steps(monkeypatch)
    train(DenseSGD(parameters(torch.channels_last), **SETTINGS), 5, torch.channels_last)
    assert len(taken) == 1


@pytest.mark.parametrize("unlike", [{"momentum": 0.0}, {"fused": False}], ids=str)
def test_what_is_unlike_is_left_to_torch(unlike, monkeypatch):
    layout = torch.channels_last
    taken = torchs_own_steps(monkeypatch)
    train(DenseSGD(parameters(layout), **SETTINGS | unlike), 3, layout)
    assert len(taken) == 3


def test_a_gradient_scaler_has_torchs_steps(monkeypatch):
    optimizer: Any = DenseSGD(parameters(torch.channels_last), **SETTINGS)
    train(optimizer, 2, torch.channels_last)
    taken = torchs_own_steps(monkeypatch)
    before = [p.detach().clone() for p in optimizer.param_groups[0]["params"]]
    # As `torch.amp.GradScaler` says that a gradient is infinite: nothing is updated.
    optimizer.grad_scale, optimizer.found_inf = torch.ones(()), torch.ones(())
    after = train(optimizer, 1, torch.channels_last, first=2)
    assert len(taken) == 1
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


@pytest.mark.parametrize("of", ["gradients", "momentum", "neither"])
def test_what_lies_in_another_order_is_added_to_the_right_entries(of, monkeypatch):
    """Torch's fused update, which goes through memory whatever the strides, would not."""
    last, first = torch.channels_last, torch.contiguous_format
    optimizer = DenseSGD(parameters(last), **SETTINGS)
    loop = torch.optim.SGD(parameters(last), **SETTINGS | LOOP)
    for one in (optimizer, loop):
        train(one, 2, last)
    if of == "momentum":
        for state in optimizer.state.values():
            buffer = state["momentum_buffer"]
            state["momentum_buffer"] = buffer.contiguous()
    taken = torchs_own_steps(monkeypatch)
    ours = train(optimizer, 3, first if of == "gradients" else last, first=2)
    assert len(taken) == 0
    for p, other in zip(ours, train(loop, 3, last, first=2), strict=True):
        assert torch.allclose(p, other, rtol=1e-5, atol=1e-6)
        assert optimizer.state[p]["momentum_buffer"].stride() == p.stride()


def test_a_parameter_of_part_of_its_memory_is_updated_in_torchs_loop():
    whole = torch.arange(40.0).view(4, 10)
    parts = [torch.nn.Parameter(tensor[:, ::2]) for tensor in (whole.clone(), whole.clone())]
    assert not any(p.is_contiguous() for p in parts)
    optimizers = [
        DenseSGD([parts[0]], **SETTINGS),
        torch.optim.SGD([parts[1]], **SETTINGS | {"fused": False}),
    ]
    for p, optimizer in zip(parts, optimizers, strict=True):
        for _ in range(3):
            p.grad = torch.ones(4, 5)
            optimizer.step()
    assert torch.equal(*parts)


@pytest.mark.parametrize("ways", [(DenseSGD, torch.optim.SGD), (torch.optim.SGD, DenseSGD)], ids=str)
def test_one_goes_on_with_the_others_state(ways):
    layout = torch.channels_last
    straight = train(torch.optim.SGD(parameters(layout), **SETTINGS), 6, layout)
    begun = ways[0](parameters(layout), **SETTINGS)
    train(begun, 3, layout)
    going = ways[1](copy.deepcopy(begun.param_groups[0]["params"]), **SETTINGS)
    going.load_state_dict(copy.deepcopy(begun.state_dict()))
    for one, other in zip(train(going, 3, layout, first=3), straight, strict=True):
        assert torch.equal(one, other)


def test_without_gradients_nothing_is_updated():
    optimizer = DenseSGD(parameters(torch.channels_last), **SETTINGS)
    optimizer.step()
    for p, before in zip(optimizer.param_groups[0]["params"], parameters(torch.channels_last), strict=True):
        assert torch.equal(p, before)


def test_a_closure_makes_the_gradients_that_are_laid():
    last, first = torch.channels_last, torch.contiguous_format
    optimizers = [
        DenseSGD(parameters(last), **SETTINGS),
        torch.optim.SGD(parameters(last), **SETTINGS | LOOP),
    ]

    def gradients(params):
        for k, p in enumerate(params):
            grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(k))
            p.grad = grad.contiguous(memory_format=first) if p.dim() == 4 else grad
        return 7.0

    for optimizer in optimizers:
        params = optimizer.param_groups[0]["params"]
        for _ in range(3):
            optimizer.zero_grad()
            assert optimizer.step(lambda params=params: gradients(params)) == 7.0
    for p, other in zip(*(o.param_groups[0]["params"] for o in optimizers), strict=True):
        assert torch.allclose(p, other, rtol=1e-5, atol=1e-6)
