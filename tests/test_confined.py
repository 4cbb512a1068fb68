"""A phase computes no gradient that it does not step by, and its numbers are those of an engine that would."""

import copy
import functools
from typing import Any

import pytest
import torch
from torch import nn

from bench.accelerated import CompilingEngine
from bench.engines import PlainEngine, draw, train_step
from models.method import Batch
from tests.learning import make_method


class _Told(torch.autograd.Function):
    """An image as it is, beside a weight: says whether the weight's gradient is wanted."""

    @staticmethod
    def forward(ctx, x, weight, told):
        ctx.told, ctx.shape = told, weight.shape
        return x.view_as(x)

    @staticmethod
    def backward(ctx, *grads):
        ctx.told.append(ctx.needs_input_grad[1])
        return grads[0], grads[0].new_zeros(ctx.shape), None


def _step(method, confined):
    engine = PlainEngine(method, confined)
    optimizer = torch.optim.SGD(method.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(3)
    batch = Batch(torch.rand(4, 3, 32, 32, generator=generator) * 2 - 1, torch.zeros(4, dtype=torch.int64))
    noises = [draw(method.noise(), 4, 0, phase.loss, 0, batch.image) for phase in method.phases]
    schedule = {k: torch.tensor(v) for k, v in method.schedule(0).items()}
    return train_step(engine, optimizer, batch, noises, schedule)


@pytest.mark.parametrize("name", ["patchvae-gan", "bigan"])
def test_a_confined_step_has_the_same_bits(name):
    plain = make_method(name)
    confined = copy.deepcopy(plain)
    losses = [_step(method, i == 1) for i, method in enumerate((plain, confined))]
    assert losses[0].keys() == losses[1].keys()
    assert all(torch.equal(losses[0][key], losses[1][key]) for key in losses[0])
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), confined.parameters(), strict=True))
    assert all(p.requires_grad for p in confined.parameters())


def test_who_is_to_be_fooled_has_no_gradient_computed_where_the_step_is_confined():
    asked = {}
    for confined in (False, True):
        method = make_method("beta-vae-gan")
        layer: Any = method.get_submodule("discriminator.tower.2")
        asked[confined] = []
        for phase in method.phases:
            told: list[bool] = []

            def forward(x, layer=layer, told=told):
                return nn.Conv2d.forward(layer, _Told.apply(x, layer.weight, told))

            layer.forward = forward
            _only(method, phase, confined)
            asked[confined].append(any(told))
    assert asked == {False: [True, True], True: [True, False]}


def _only(method, phase, confined):
    engine = PlainEngine(method, confined)
    image = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    batch = Batch(image, torch.zeros(2, dtype=torch.int64))
    noise = draw(method.noise(), 2, 0, phase.loss, 0, image)
    losses = engine.losses(phase, batch, noise, {k: torch.tensor(v) for k, v in method.schedule(0).items()})
    coder = [p for n, p in method.named_parameters() if n.startswith(phase.updates)]
    torch.autograd.grad(losses["loss"], coder, allow_unused=True)


def test_a_loss_that_fails_leaves_every_parameter_as_it_was():
    method = make_method("beta-vae-gan")
    with pytest.raises(KeyError):
        PlainEngine(method, confined=True).losses(
            method.phases[1], Batch(torch.zeros(2, 3, 32, 32), torch.zeros(2)), {}, {}
        )
    assert all(p.requires_grad for p in method.parameters())


def _of_adversary(adversary, *_):
    return {"loss": adversary(torch.ones(4, 3, 32, 32)).mean()}


def test_a_loss_of_nothing_that_its_phase_updates_has_a_gradient_of_zero(monkeypatch):
    steps = []
    for confined in (False, True):
        method = make_method("beta-vae-gan")
        adversary: Any = method.get_submodule("discriminator")
        # Of the adversary alone, while the coder is updated.
        loss = functools.partial(_of_adversary, adversary)
        monkeypatch.setattr(method, "forward", loss)
        monkeypatch.setattr(method, "phases", (method.phases[1],))
        before = copy.deepcopy(method.state_dict())
        losses = _step(method, confined)
        assert torch.isfinite(losses["loss"])
        assert all(torch.equal(p, before[n]) for n, p in method.named_parameters())
        steps.append(losses["loss"])
    assert torch.equal(*steps)


@pytest.mark.parametrize("confined", [False, True])
def test_a_loss_that_hangs_on_no_parameter_at_all_is_an_error(confined, monkeypatch):
    method = make_method("beta-vae-gan")
    monkeypatch.setattr(method, "forward", lambda *_: {"loss": torch.ones(())})
    with pytest.raises(RuntimeError, match="does not require grad"):
        _step(method, confined)


def test_whether_a_loss_is_of_others_is_asked_once_and_changes_nothing(monkeypatch):
    """Not even what batch norm has seen."""
    method = make_method("beta-vae-gan")
    net, called = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), []
    method.add_module("more", net)

    def forward(*_):
        called.append(1)
        return {"loss": net(torch.randn(3, 4)).square().sum()}

    monkeypatch.setattr(method, "forward", forward)
    monkeypatch.setattr(method, "phases", (method.phases[1],))
    engine = PlainEngine(method, True)
    before = copy.deepcopy(method.state_dict())
    batch = Batch(torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64))
    for _ in range(3):
        assert engine.is_of_others(method.phases[0], batch, {}, {})
    assert len(called) == 1
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())


def test_a_compiled_loss_of_others_has_a_gradient_of_zero_too(monkeypatch):
    method = make_method("beta-vae-gan")
    adversary = method.get_submodule("discriminator")
    monkeypatch.setattr(method, "forward", functools.partial(_of_adversary, adversary))
    monkeypatch.setattr(method, "phases", (method.phases[1],))
    notes = []
    engine = CompilingEngine(PlainEngine(method), 4, notes.append, backend="eager")
    engine.compile_now()
    before = copy.deepcopy(method.state_dict())
    batch = Batch(torch.zeros(4, 3, 32, 32), torch.zeros(4, dtype=torch.int64))
    train_step(engine, torch.optim.SGD(method.parameters(), lr=0.01), batch, [{}], {})
    assert all(torch.equal(p, before[n]) for n, p in method.named_parameters())
    # Compiled it was, not computed by what does not confine.
    assert notes == []
    assert engine.compiled
