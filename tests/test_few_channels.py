"""Convolutions of an image of few channels with fewer products are the same ones: values, gradients, what trains."""

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import direct, few_channels
from bench.direct import replace_direct
from bench.folded import _FoldedConv
from bench.perf.layers import team
from bench.prepared import prepare
from bench.probe_speed import PLAIN_PROBE
from bench.speed import Speed
from bench.winograd import replace_convolutions
from tests.learning import MemoryAttempt, make_method, pretrain_config
from tests.test_train import rows, run

pytestmark = pytest.mark.usefixtures("compiled")

# Relative to the largest entry, against fp64; the direct way's own is 1e-6.
ERROR = 2e-5
# A layer and the sides of what comes in.
LAYERS = {
    "7x7, 3 channels": (nn.Conv2d(3, 64, 7, 2, 3, bias=False), (32, 32)),
    "7x7, 1 channel": (nn.Conv2d(1, 16, 7, 2, 3), (8, 24)),
    "7x7, more tiles than at once": (nn.Conv2d(2, 32, 7, 2, 3, bias=False), (64, 104)),
    "4x4, 3 channels": (nn.Conv2d(3, 32, 4, 2, 1), (16, 40)),
    "4x4, 2 channels": (nn.Conv2d(2, 48, 4, 2, 1, bias=False), (8, 8)),
    "transposed to 3 channels": (nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), (16, 16)),
    "transposed to 1 channel": (nn.ConvTranspose2d(16, 1, 4, 2, 1), (4, 12)),
    "transposed, more tiles than at once": (nn.ConvTranspose2d(32, 2, 4, 2, 1), (32, 28)),
}


@pytest.fixture
def called(monkeypatch):
    """Which products are computed, with fewer or direct, in turn."""
    found = []
    for name, module in (("fewer", few_channels), ("direct", direct)):
        own = module._call

        def seen(word, *rest, _name=name, _own=own):
            found.append((_name, word))
            return _own(word, *rest)

        monkeypatch.setattr(module, "_call", seen)
    return found


def fresh(name, fewer=True) -> Any:
    """A layer with weights of its own, in C; its sides."""
    layer, sides = LAYERS[name]
    torch.manual_seed(0)
    own = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    layer = type(layer)(**{n: getattr(layer, n) for n in own}, bias=layer.bias is not None)
    assert replace_direct(layer) == 1
    assert not fewer or replace_convolutions(layer) == 1
    return layer, sides


def in_doubles(layer, image):
    wanted = [t.detach().double().requires_grad_() for t in (image, *layer.parameters())]
    compute: Any = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
    return compute(*wanted, stride=layer.stride, padding=layer.padding), wanted


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=str)
def test_output_and_gradients_are_those_of_the_plain_layer_in_fp64(name, count, memory, called):
    layer, sides = fresh(name)
    layer = layer.to(memory_format=memory)
    image = torch.randn(count, layer.in_channels, *sides).to(memory_format=memory).requires_grad_()
    ours = layer(image)
    theirs, doubles = in_doubles(layer, image)
    pull = torch.randn(theirs.shape)
    grads = torch.autograd.grad(ours, (image, *layer.parameters()), pull)
    expected = torch.autograd.grad(theirs, doubles, pull.double())
    for one, other in zip((ours, *grads), (theirs, *expected), strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= ERROR * other.abs().max()
    assert ours.is_contiguous(memory_format=torch.channels_last)
    assert grads[1].stride() == layer.weight.stride()
    words = ("spread", "convolve") if isinstance(layer, nn.ConvTranspose2d) else ("convolve", "spread")
    assert called == [("fewer", word) for word in (*words, "correlate")]


@pytest.mark.parametrize("name", LAYERS)
def test_neither_threads_nor_what_stands_beside_an_image_change_a_bit_of_it(name, threads):
    layer, sides = fresh(name)
    image = torch.randn(7, layer.in_channels, *sides, requires_grad=True)
    found = []
    for count in (1, 2, 3, 9, 1):
        torch.set_num_threads(count)
        y = layer(image)
        found.append((y, *torch.autograd.grad(y.square().sum(), (image, layer.weight))))
    for y, dx, dw in found[1:]:
        assert torch.equal(y, found[0][0])
        assert torch.equal(dx, found[0][1])
        # Sums over images are in another order.
        torch.testing.assert_close(dw, found[0][2], rtol=1e-4, atol=2e-5 * dw.abs().max().item())
    assert torch.equal(found[-1][2], found[0][2])
    torch.set_num_threads(1)
    for i in range(7):
        alone = image[i : i + 1].detach().requires_grad_()
        y = layer(alone)
        assert torch.equal(y, found[0][0][i : i + 1])
        assert torch.equal(torch.autograd.grad(y.square().sum(), alone)[0], found[0][1][i : i + 1])


@pytest.mark.parametrize("name", ["7x7, 3 channels", "4x4, 3 channels", "transposed to 3 channels"])
def test_whose_threads_they_are_changes_no_bit(name, threads):
    layer, sides = fresh(name)
    image, found = torch.randn(5, layer.in_channels, *sides, requires_grad=True), []
    torch.set_num_threads(2)
    for of_team in (True, False):
        with team(of_team):
            y = layer(image)
            found.append((y, *torch.autograd.grad(y.square().sum(), (image, layer.weight))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_stays_so_and_in_its_image(name, place, value):
    layer, sides = fresh(name)
    image = torch.randn(5, layer.in_channels, *sides)
    clean = image.clone().requires_grad_()
    row, col = (0, 0) if place == "first" else (sides[0] - 1, sides[1] - 1)
    image[2, -1, row, col] = value
    with torch.no_grad():
        y, expected = layer(image), layer(clean)
    assert not y[2].isfinite().all()
    others = [0, 1, 3, 4]
    assert torch.equal(y[others], expected[others])
    # Likewise backwards.
    pull = torch.randn(y.shape)
    (whole,) = torch.autograd.grad(layer(clean), clean, pull)
    pull[2, -1, -1 if place == "last" else 0, -1 if place == "last" else 0] = value
    (dx,) = torch.autograd.grad(layer(clean), clean, pull)
    assert not dx[2].isfinite().all()
    assert torch.equal(dx[others], whole[others])


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("turned", [False, True])
def test_an_image_that_is_not_cut_into_tiles_is_computed_directly(name, turned, called):
    layer, _ = fresh(name)
    plain, _ = fresh(name, fewer=False)
    sides = (6, 8) if isinstance(layer, nn.ConvTranspose2d) else (12, 8)
    sides = sides[::-1] if turned else sides
    image = torch.randn(3, layer.in_channels, *sides, requires_grad=True)
    found = []
    for net in (layer, plain):
        y = net(image)
        found.append((y, *torch.autograd.grad(y.square().sum(), (image, net.weight))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
    assert {way for way, _ in called} == {"direct"}


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.Conv2d(3, 16, 7, 1, 3),
        nn.Conv2d(3, 16, 7, 2, 2),
        nn.Conv2d(3, 16, 4, 2, 0),
        nn.Conv2d(4, 16, 7, 2, 3),
        nn.ConvTranspose2d(16, 5, 4, 2, 1),
        nn.ConvTranspose2d(16, 3, 7, 2, 3),
    ],
    ids=str,
)
def test_layers_of_other_shapes_stay_direct(layer, called):
    replace_direct(layer)
    assert replace_convolutions(layer) == 0
    layer(torch.randn(2, layer.in_channels, 16, 16))
    assert called == [("direct", "spread" if isinstance(layer, nn.ConvTranspose2d) else "convolve")]


@pytest.mark.parametrize("name", LAYERS)
def test_what_is_not_computed_directly_stays_plain(name):
    layer = copy.deepcopy(LAYERS[name][0])
    assert replace_convolutions(layer) == 0
    assert "forward" not in vars(layer)


def test_replaced_once_more_a_layer_is_as_it_was(called):
    layer, sides = fresh("7x7, 3 channels")
    for _ in range(3):
        assert replace_convolutions(layer) == 1
    image = torch.randn(2, 3, *sides)
    layer(image)
    assert replace_direct(layer) == 1
    layer(image)
    assert [way for way, _ in called] == ["fewer", "direct"]


@pytest.mark.parametrize("name", ["7x7, 3 channels", "transposed to 1 channel"])
def test_copies_compute_with_weights_of_their_own(name):
    layer, sides = fresh(name)
    deep, shallow = copy.deepcopy(layer), copy.copy(layer)
    # Its own parameters, and the forward of what it is a copy of.
    shallow._parameters = {
        n: nn.Parameter(p.detach() + 1) for n, p in layer._parameters.items() if p is not None
    } | {n: None for n, p in layer._parameters.items() if p is None}
    assert replace_convolutions(shallow) == 1
    with torch.no_grad():
        layer.weight.zero_()
    image = torch.randn(2, layer.in_channels, *sides)
    for other in (deep, shallow):
        plain = type(layer).forward(other, image)
        torch.testing.assert_close(other(image), plain, rtol=1e-5, atol=2e-5 * plain.abs().max().item())


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize(("channels", "sides"), [(1, (8, 8)), (3, (8, 8)), (3, (24, 40))])
@pytest.mark.parametrize("taps", [4, 7])
def test_no_memory_is_written_beyond_what_was_asked_for(taps, channels, sides, count, monkeypatch, threads):
    layer = nn.Conv2d(channels, 16, taps, 2, (taps - 1) // 2, bias=False)
    assert replace_direct(layer) == replace_convolutions(layer) == 1
    torch.set_num_threads(count)
    made, room, mark = [], 4096, -12345.0

    def with_room(*shape):
        size = math.prod(shape)
        whole = torch.full((size + room,), mark)
        made.append((whole, size))
        return whole[:size].view(shape)

    monkeypatch.setattr(few_channels, "empty", with_room)
    image = torch.randn(3, channels, *sides, requires_grad=True)
    torch.autograd.grad(layer(image).square().sum(), (image, layer.weight))
    # Memory to work in of each of the three, and a gradient of each thread.
    assert len(made) == 4
    assert all((whole[size:] == mark).all() for whole, size in made)


def test_a_penalty_of_a_gradients_norm_has_the_plain_layers_gradient():
    """The second derivative, as of R1 or a WGAN's penalty."""
    layer, sides = fresh("4x4, 3 channels")
    data = torch.randn(2, layer.in_channels, *sides)
    image, found = data.clone().requires_grad_(), []
    doubles, wanted = in_doubles(layer, data)
    for y, start, parameters in (
        (layer(image), image, layer.parameters()),
        (doubles, wanted[0], wanted[1:]),
    ):
        (slope,) = torch.autograd.grad(F.softplus(y).sum(), start, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), (start, *parameters)))
    for one, other in zip(*found, strict=True):
        assert (one - other).abs().max() <= 1e-4 * other.abs().max()


def test_the_convolutions_of_the_papers_networks_are_found():
    for name, few in (("patchvae", 2), ("beta-vae", 2), ("supervised", 1), ("patchvae-gan", 3), ("bigan", 3)):
        method = make_method(name)
        replace_direct(method)
        replace_convolutions(method)
        grids = [vars(m)["forward"].args[1] for m in method.modules() if _is_direct(m)]
        assert sum(isinstance(grid, few_channels.FewerProducts) for grid in grids) == few


def _is_direct(module):
    return getattr(vars(module).get("forward"), "func", None) is direct.run_layer


@torch.no_grad()
def test_a_pretraining_has_it_and_so_has_a_frozen_stem(called, tmp_path):
    torch.manual_seed(0)
    stem, norm = nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16).eval()
    norm.load_state_dict({**norm.state_dict(), "running_var": torch.full((16,), 2.0)})
    image = torch.randn(3, 3, 16, 16)
    net: Any = nn.Sequential(copy.deepcopy(stem))
    prepare(net, Speed(direct=True, winograd=True), MemoryAttempt(tmp_path).note)
    folded = _FoldedConv(stem, norm, replace(PLAIN_PROBE, direct=True, winograd=True))
    for ours, theirs in ((net(image), stem(image)), (folded(image), norm(stem(image)))):
        assert (ours - theirs).abs().max() <= ERROR * theirs.abs().max()
    assert called == [("fewer", "convolve")] * 2


def test_a_run_is_repeated_bit_for_bit_and_near_the_plain_one(tmp_path):
    """Losses to 1 % over two steps."""
    config = pretrain_config("patchvae-gan", epochs=1, batch_size=20, flip=True)
    names = ("one", "two", "direct", "plain")
    attempts = {word: MemoryAttempt(tmp_path / word) for word in names}
    for word in ("one", "two"):
        run(config, attempts[word], switches=Speed(direct=True, winograd=True))
    run(config, attempts["direct"], switches=Speed(direct=True))
    run(config, attempts["plain"])
    found = {word: rows(attempt) for word, attempt in attempts.items()}
    assert found["one"] == found["two"]
    assert found["one"] != found["direct"]
    for ours, theirs in zip(found["one"], found["plain"], strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=0.03)
