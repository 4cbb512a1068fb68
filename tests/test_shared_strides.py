"""A 3x3 convolution of stride 2, which two switches can compute: which of them does, by map and by what is on."""

import copy
import dataclasses
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from bench import direct, winograd
from bench.direct import replace_direct
from bench.folded import _FoldedConv
from bench.prepared import prepare
from bench.probe_speed import PLAIN_PROBE
from bench.probe_steps import _Stages
from bench.speed import PLAIN
from bench.winograd import replace_convolutions
from tests.learning import MemoryAttempt

pytestmark = pytest.mark.usefixtures("compiled")

# Switches that are on, a map's sides -> which of them computes it.
BOTH, FEWER, DIRECT = ("direct", "winograd"), ("winograd",), ("direct",)
TAKEN = [
    (BOTH, (8, 16), "winograd"),
    (BOTH, (12, 8), "direct"),
    (BOTH, (7, 5), "direct"),
    (FEWER, (8, 16), "winograd"),
    (FEWER, (12, 8), None),
    (DIRECT, (8, 16), "direct"),
    ((), (8, 16), None),
]


@pytest.fixture
def called(monkeypatch):
    """Which C is called, in turn."""
    found = []
    for name, module, function in (("winograd", winograd, "_run"), ("direct", direct, "_call")):
        own = getattr(module, function)

        def seen(*given, _name=name, _own=own, **named):
            found.append(_name)
            return _own(*given, **named)

        monkeypatch.setattr(module, function, seen)
    return found


def on(plain, switches) -> Any:
    return dataclasses.replace(plain, **dict.fromkeys(switches, True))


def made(bias=False) -> Any:
    torch.manual_seed(0)
    return nn.Conv2d(32, 16, 3, 2, 1, bias=bias).to(memory_format=torch.channels_last)


def in_pretraining(switches, tmp_path):
    net: Any = nn.Sequential(made(bias=True))
    prepare(net, on(PLAIN, switches), MemoryAttempt(tmp_path).note)
    return net, net


def in_probe(switches, tmp_path):
    net = nn.Sequential(made())
    model: Any = SimpleNamespace(start=0, backbone=SimpleNamespace(stage_modules=lambda start: [net]))
    return _Stages(model, on(PLAIN_PROBE, switches)), net


def in_evaluation(switches, tmp_path):
    conv, norm = made(), nn.BatchNorm2d(16).eval()
    return torch.no_grad()(_FoldedConv(conv, norm, on(PLAIN_PROBE, switches))), nn.Sequential(conv, norm)


@pytest.mark.parametrize(("switches", "sides", "expected"), TAKEN)
@pytest.mark.parametrize("where", [in_pretraining, in_probe, in_evaluation])
def test_fewer_products_where_a_map_is_cut_into_tiles_else_direct_else_torch(
    where, switches, sides, expected, called, tmp_path
):
    with torch.no_grad():
        ours, plain = where(switches, tmp_path)
    plain, image = copy.deepcopy(plain), torch.randn(3, 32, *sides, requires_grad=True)
    vars(plain[0]).pop("forward", None)
    y = ours(image)
    if y.requires_grad:
        torch.autograd.grad(y.square().sum(), image)
    assert set(called) == ({expected} if expected else set())
    torch.testing.assert_close(y, plain(image), rtol=1e-5, atol=1e-5)


def test_replaced_once_more_a_layer_is_as_it_was(called):
    layer = made()
    for _ in range(3):
        assert (replace_direct(layer), replace_convolutions(layer)) == (1, 1)
    for _ in range(3):
        assert replace_convolutions(layer) == 1
    assert layer.forward.args[1].func is direct.run_layer
    layer(torch.randn(2, 32, 8, 8))
    layer(torch.randn(2, 32, 6, 8))
    assert called == ["winograd", "direct"]


@pytest.mark.parametrize("before", [(replace_direct,), (replace_direct, replace_convolutions)], ids=len)
@pytest.mark.parametrize("sides", [(8, 8), (6, 8)])
def test_a_shallow_copy_that_is_replaced_too_computes_with_weights_of_its_own(sides, before):
    layer = made(bias=True)
    for replace in before:
        replace(layer)
    other = copy.copy(layer)
    # Its own parameters, and the forward of what it is a copy of.
    other._parameters = {name: nn.Parameter(p.detach() + 1) for name, p in layer._parameters.items()}
    replace_convolutions(other)
    image = torch.randn(2, 32, *sides)
    torch.testing.assert_close(other(image), nn.Conv2d.forward(other, image), rtol=1e-5, atol=1e-4)


def test_a_copy_computes_with_weights_of_its_own():
    layer = made(bias=True)
    replace_direct(layer)
    replace_convolutions(layer)
    other = copy.deepcopy(layer)
    with torch.no_grad():
        layer.weight.zero_()
    for side in (8, 6):
        image = torch.randn(2, 32, side, 8)
        plain = nn.Conv2d.forward(other, image)
        torch.testing.assert_close(other(image), plain, rtol=1e-5, atol=1e-5)


def test_the_norm_behind_it_is_computed_at_once_with_its_activation(called, tmp_path):
    plain = nn.Sequential(made(), nn.BatchNorm2d(16), nn.ReLU())
    net: Any = copy.deepcopy(plain)
    image = torch.randn(3, 32, 8, 8).to(memory_format=torch.channels_last)
    prepare(net, on(PLAIN, ("direct", "winograd", "fused_norm")), MemoryAttempt(tmp_path).note)
    y = net(image)
    assert type(y.grad_fn).__name__ == "_NormalisedBackward"
    assert called == ["winograd"]
    torch.testing.assert_close(y, plain(image), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("batch", "sides"), [(1, (8, 8)), (3, (8, 16)), (5, (24, 16))])
def test_errors_are_a_few_millionths_of_the_largest_entry(batch, sides, count, threads):
    layer = made()
    assert replace_convolutions(layer) == 1
    image = torch.randn(batch, 32, *sides, requires_grad=True)
    doubles = [t.detach().double().requires_grad_() for t in (image, layer.weight)]
    theirs = nn.functional.conv2d(*doubles, stride=2, padding=1)
    pull = torch.randn(theirs.shape)
    torch.set_num_threads(count)
    y = layer(image)
    found = (y, *torch.autograd.grad(y, (image, layer.weight), pull))
    expected = (theirs, *torch.autograd.grad(theirs, doubles, pull.double()))
    for one, other in zip(found, expected, strict=True):
        assert (one - other).abs().max() <= 5e-6 * other.abs().max()
