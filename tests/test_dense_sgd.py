"""The update of tensors as memory is torch's fused SGD to the last bit, and leaves to it what is unlike."""

import copy

import pytest
import torch

from bench.dense_sgd import DenseSGD

SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-2, "fused": True}
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


@pytest.mark.parametrize("unlike", ["no momentum", "not fused", "gradients in another layout"])
def test_what_is_unlike_is_left_to_torch(unlike, monkeypatch):
    given = dict(SETTINGS)
    if unlike == "no momentum":
        given["momentum"] = 0.0
    if unlike == "not fused":
        given["fused"] = False
    layout = torch.contiguous_format if unlike == "gradients in another layout" else torch.channels_last
    taken = torchs_own_steps(monkeypatch)
    train(DenseSGD(parameters(torch.channels_last), **given), 3, layout)
    assert len(taken) == 3


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
