"""Where BiGAN's E(x) is computed once, and where it is not: something else has become of it, or may at any time."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from bench.once import Encoder, compute_once
from models.bigan import BiGAN
from tests.learning import make_batch, make_method
from tests.test_flat import assert_same, channels_last
from tests.test_once import encodings, pair, take


def test_a_batch_is_counted_twice_whatever_the_momentum(monkeypatch):
    plain, ours = pair()
    for method in (plain, ours):
        norms = [m for m in method.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
        for i, norm in enumerate(norms):
            norm.momentum = (0.1, 0.5, 1.0, 0.01)[i % 4]
    take(plain, 0)
    found = encodings(monkeypatch)
    take(ours, 0)
    assert len(found) == 1
    assert_same(ours, plain, 1e-12)
    counts = {k: int(v) for k, v in ours.state_dict().items() if k.endswith("num_batches_tracked")}
    assert {v for k, v in counts.items() if k.startswith(("backbone", "heads"))} == {2}


def write_to_a_weight(method, batch):
    with torch.no_grad():
        next(method.backbone.parameters()).mul_(1.5)
    return batch


def write_to_the_image(method, batch):
    batch.image.mul_(0.5)
    return batch


def take_another_image(method, batch):
    return batch._replace(image=batch.image.clone())


def write_to_a_statistic(method, batch):
    next(b for n, b in method.backbone.named_buffers() if n.endswith("running_mean")).add_(1)
    return batch


@pytest.mark.parametrize(
    "between", [write_to_a_weight, write_to_the_image, take_another_image, write_to_a_statistic]
)
def test_what_was_kept_is_left_when_something_else_has_become_of_it(between, monkeypatch):
    """Losses of the second phase are the plain ones, after a change between the two."""
    ended = []
    for method in pair():
        batch, noises, schedule = make_batch(method, 0, 0, dtype=torch.float64)
        method("discriminate", batch, noises[0], schedule)
        batch = between(method, batch)
        found = encodings(monkeypatch)
        loss = method("fool", batch, noises[1], schedule)["loss"]
        assert found == [True]
        grads = torch.autograd.grad(loss, list(method.heads.parameters()))
        ended.append((method, loss, grads))
    (plain, wanted, want_grads), (ours, given, grads) = ended
    assert_same(ours, plain, 1e-12)
    torch.testing.assert_close(given, wanted, rtol=1e-12, atol=0)
    for a, b in zip(grads, want_grads, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


def test_what_was_kept_is_used_once():
    _, ours = pair()
    batch, noises, schedule = make_batch(ours, 0, 0, dtype=torch.float64)
    ours("discriminate", batch, noises[0], schedule)
    first, second = (ours.encode(batch.image) for _ in range(2))
    assert first is not second
    assert ours.encode._kept is None


class Drawing(nn.ReLU):
    """Something that may make another of the same image."""


class Around(nn.Module):
    """Has others, and does as it likes with them."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def hooked(method):
    method.backbone.register_forward_hook(lambda *_: None)


def drawing(method):
    method.heads.reduce[2] = Drawing()


def around(method):
    method.heads.reduce[2] = Around(method.heads.reduce[2])


def cumulative(method):
    method.heads.reduce[1].momentum = None


def evaluated(method):
    method.heads.reduce[1].eval()


def of_its_own(method):
    layer = method.heads.reduce[0]
    layer.forward = lambda x: nn.Conv2d.forward(layer, x)


@pytest.mark.parametrize("change", [hooked, drawing, around, cumulative, evaluated, of_its_own])
def test_an_encoder_that_may_not_be_steady_is_computed_twice(change, monkeypatch):
    plain, ours = pair()
    for method in (plain, ours):
        change(method)
    take(plain, 0, 1)
    found = encodings(monkeypatch)
    take(ours, 0, 1)
    assert found == [False, True] * 2
    # Adam's first steps divide gradients of nearly nothing by themselves.
    assert_same(ours, plain, 1e-10)


def test_a_backbone_with_norms_of_its_own_is_encoded_twice(monkeypatch):
    """timm's `BatchNormAct2d` is a batch norm and has others in it."""
    plain = make_method("bigan", dtype=torch.float64, backbone="mnasnet_100")
    ours = copy.deepcopy(plain)
    compute_once(ours)
    take(plain, 0)
    found = encodings(monkeypatch)
    take(ours, 0)
    assert found == [False, True]
    counts = [v for k, v in ours.backbone.state_dict().items() if k.endswith("num_batches_tracked")]
    assert set(map(int, counts)) == {2}


def test_a_parameter_that_is_unfrozen_later_is_trained():
    method = channels_last("bigan")
    stem: Any = method.backbone.stage_modules(0, 1)[0]
    stem.requires_grad_(False)
    compute_once(method)
    stem.requires_grad_(True)
    before = stem.weight.detach().clone()
    take(method, 0, confined=True)
    assert torch.all(stem.weight != before)


def test_a_copy_of_a_method_keeps_for_itself():
    _, ours = pair()
    batch, noises, schedule = make_batch(ours, 0, 0, dtype=torch.float64)
    ours("discriminate", batch, noises[0], schedule)
    copied = copy.deepcopy(ours)
    assert copied.encode._method is copied
    assert copied.encode._kept is None
    assert ours.encode._kept is not None
    assert {id(p) for p in copied.encode._trained} <= {id(p) for p in copied.parameters()}
    take(copied, 0)
    assert copied.encode._kept is None


def test_parameters_that_want_no_gradient_keep_none(monkeypatch):
    plain, ours = pair()
    for method in (plain, ours):
        for parameter in method.backbone.stage_modules(0, 1)[0].parameters():
            parameter.requires_grad_(False)
    ours.encode = Encoder(ours)
    batch, noises, schedule = make_batch(ours, 0, 0, dtype=torch.float64)
    copied = copy.deepcopy(ours)
    copied("discriminate", batch, noises[0], schedule)
    frozen = set(ours.backbone.stage_modules(0, 1)[0].parameters())
    wanted = [p for p in copied.backbone.parameters() if p.requires_grad]
    assert len(wanted) == len(list(ours.backbone.parameters())) - len(frozen)
    torch.autograd.grad(copied.encode._kept.code.sum(), wanted)
    take(plain, 0, 1)
    found = encodings(monkeypatch)
    take(ours, 0, 1)
    assert found == [True] * 2
    assert_same(ours, plain, 1e-12)
    assert [p.requires_grad for p in ours.parameters()] == [p.requires_grad for p in plain.parameters()]


def test_a_phase_that_fails_leaves_parameters_as_they_were(monkeypatch):
    _, ours = pair()
    ours.backbone.requires_grad_(False)
    seen = []

    def fail(method, image):
        seen.extend(p.requires_grad for p in method.heads.parameters())
        raise ZeroDivisionError(torch.is_grad_enabled())

    monkeypatch.setattr(BiGAN, "encode", fail)
    ours.heads.requires_grad_(False)
    with torch.no_grad(), pytest.raises(ZeroDivisionError, match="True"):
        ours.encode(torch.zeros(2, 3, 16, 16, dtype=torch.float64))
    assert all(seen)
    assert not any(p.requires_grad for p in ours.backbone.parameters())
    assert not any(p.requires_grad for p in ours.heads.parameters())


def test_others_parameters_in_its_place_are_encoded_with():
    """As where a loss is computed on copies."""
    _, ours = pair()
    state = {n: p.detach() * 1.1 for n, p in ours.named_parameters()}
    state |= {n: b.clone() for n, b in ours.named_buffers()}
    batch, noises, schedule = make_batch(ours, 0, 0, dtype=torch.float64)
    before = copy.deepcopy(ours.state_dict())
    given = torch.func.functional_call(ours, state, ("discriminate", batch, noises[0], schedule))
    assert ours.encode._kept is None
    plain = channels_last("bigan")
    plain.load_state_dict(before)
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.mul_(1.1)
    wanted = plain("discriminate", batch, noises[0], schedule)
    torch.testing.assert_close(given["loss"], wanted["loss"], rtol=1e-12, atol=0)
    assert all(torch.equal(v, before[k]) for k, v in ours.state_dict().items())
