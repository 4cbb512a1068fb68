"""Convolutions in C are the same convolutions: values, all gradients, and what trains on them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import direct
from bench.compiled import NoCompiler
from bench.direct import replace_direct
from bench.speed import Speed
from bench.winograd import replace_convolutions
from tests.learning import MemoryAttempt, make_method, pretrain_config
from tests.test_train import rows, run

pytestmark = pytest.mark.usefixtures("compiled")

# Relative to the largest entry, against fp64; the plain convolutions' own is as large.
ERROR = 2e-6


# A layer and the sides of what comes in.
LAYERS = {
    "7x7 of stride 2, 3 channels": (nn.Conv2d(3, 64, 7, 2, 3, bias=False), (16, 16)),
    "7x7 of stride 2, odd sides": (nn.Conv2d(3, 16, 7, 2, 3), (15, 10)),
    "4x4 of stride 2, 3 channels": (nn.Conv2d(3, 32, 4, 2, 1), (8, 12)),
    "4x4 of stride 2, odd sides": (nn.Conv2d(1, 16, 4, 2, 1, bias=False), (9, 7)),
    "3x3 of stride 2": (nn.Conv2d(16, 32, 3, 2, 1), (8, 8)),
    "3x3 of stride 2, odd sides": (nn.Conv2d(24, 16, 3, 2, 1, bias=False), (7, 5)),
    "1x1 of stride 2": (nn.Conv2d(32, 48, 1, 2, bias=False), (8, 6)),
    "1x1 of stride 2, odd sides": (nn.Conv2d(20, 16, 1, 2), (5, 7)),
    "1x1": (nn.Conv2d(20, 16, 1), (5, 3)),
    "as wide as its map": (nn.Conv2d(16, 48, 4), (4, 4)),
    "3x3 of 3 channels": (nn.Conv2d(3, 16, 3, 1, 1), (6, 5)),
    "transposed to 3 channels": (nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), (8, 8)),
    "transposed to 5 channels": (nn.ConvTranspose2d(16, 5, 4, 2, 1), (3, 5)),
    "transposed 1x1": (nn.ConvTranspose2d(32, 48, 1), (4, 3)),
    "transposed from a vector": (nn.ConvTranspose2d(48, 32, 4, bias=False), (1, 1)),
    "transposed 3x3 of stride 3": (nn.ConvTranspose2d(16, 7, 3, 3), (2, 3)),
}


def fresh(name):
    """A layer with weights of its own, in C; its sides."""
    layer, sides = LAYERS[name]
    torch.manual_seed(0)
    own = ("in_channels", "out_channels", "kernel_size", "stride", "padding")
    layer = type(layer)(**{n: getattr(layer, n) for n in own}, bias=layer.bias is not None)
    assert replace_direct(layer) == 1
    return layer, sides


def in_doubles(layer, image):
    wanted = [t.detach().double().requires_grad_() for t in (image, *layer.parameters())]
    plain = copy.deepcopy(layer).double()
    del plain.forward
    names = [name for name, _ in plain.named_parameters()]
    parameters = dict(zip(names, wanted[1:], strict=True))
    return torch.func.functional_call(plain, parameters, (wanted[0],)), wanted


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("memory", [torch.channels_last, torch.contiguous_format], ids=str)
def test_output_and_gradients_are_those_of_the_plain_layer_in_fp64(name, memory):
    layer, sides = fresh(name)
    layer = layer.to(memory_format=memory)
    image = torch.randn(3, layer.in_channels, *sides).to(memory_format=memory).requires_grad_()
    ours = layer(image)
    theirs, doubles = in_doubles(layer, image)
    pull = torch.randn(theirs.shape)
    grads = torch.autograd.grad(ours, (image, *layer.parameters()), pull)
    expected = torch.autograd.grad(theirs, doubles, pull.double())
    for one, other in zip((ours, *grads), (theirs, *expected), strict=True):
        assert one.shape == other.shape
        assert (one - other).abs().max() <= ERROR * other.abs().max()
    assert ours.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", LAYERS)
def test_neither_how_many_images_are_taken_at_a_time_nor_threads_change_an_output(name, monkeypatch, threads):
    layer, sides = fresh(name)
    image = torch.randn(7, layer.in_channels, *sides, requires_grad=True)
    found = []
    for cached, count in (
        (1 << 30, 1),
        (1, 1),
        (1 << 30, 1),
        (1 << 14, 1),
        (1 << 30, 2),
        (1, 3),
        (1 << 14, 9),
    ):
        monkeypatch.setattr(direct, "CACHED", cached)
        torch.set_num_threads(count)
        y = layer(image)
        found.append((y, *torch.autograd.grad(y.square().sum(), (image, *layer.parameters()))))
    for y, dx, *_ in found[1:]:
        assert torch.equal(y, found[0][0])
        assert torch.equal(dx, found[0][1])
    # Sums over images are in another order where others are taken together; else no bit changes.
    assert torch.equal(found[0][2], found[2][2])
    for *_, dw in ([one[2]] for one in found):
        torch.testing.assert_close(dw, found[0][2], rtol=1e-5, atol=1e-5 * dw.abs().max().item())


def test_gradients_that_are_not_wanted_are_not_computed(monkeypatch):
    layer, sides = fresh("3x3 of stride 2")
    image = torch.randn(2, 16, *sides, requires_grad=True)
    called, call = [], direct._call
    monkeypatch.setattr(direct, "_call", lambda word, *rest: (called.append(word), call(word, *rest)))
    whole = torch.autograd.grad(layer(image).square().sum(), (image, layer.weight))
    layer.weight.requires_grad_(False)
    assert torch.equal(torch.autograd.grad(layer(image).square().sum(), image)[0], whole[0])
    layer.weight.requires_grad_()
    assert torch.equal(torch.autograd.grad(layer(image.detach()).square().sum(), layer.weight)[0], whole[1])
    with torch.no_grad():
        layer(image)
    backwards = ["spread", "correlate"], ["spread"], ["correlate"], []
    assert called == [word for words in backwards for word in ("convolve", *words)]


@pytest.mark.parametrize("name", LAYERS)
def test_a_penalty_of_a_gradients_norm_has_the_plain_layers_gradient(name):
    """The second derivative, as of R1 or a WGAN's penalty."""
    layer, sides = fresh(name)
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
        assert (one - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["rows", "pixels"])
@pytest.mark.parametrize("name", LAYERS)
def test_a_weights_gradient_is_differentiated_by_the_image_whatever_its_layout(name, layout):
    """As of a Hessian times a vector."""
    layer, sides = fresh(name)
    image = torch.randn(2, layer.in_channels, *sides).contiguous(memory_format=layout).requires_grad_()
    doubles, (start, weight, *_) = in_doubles(layer, image.detach())
    found = []
    for y, x, filters in ((layer(image), image, layer.weight), (doubles, start, weight)):
        (slope,) = torch.autograd.grad(F.softplus(y).sum(), filters, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), x)[0])
    assert (found[0] - found[1]).abs().max() <= 1e-5 * found[1].abs().max()


@pytest.mark.parametrize(
    "change", ["no images", "no batch", "double by default", "autocast", "double weight"]
)
def test_what_c_cannot_take_is_left_to_torch(change, monkeypatch):
    layer, sides = fresh("7x7 of stride 2, odd sides")
    plain = copy.deepcopy(layer)
    del plain.forward
    monkeypatch.setattr(direct, "_call", lambda *_: pytest.fail("C was called"))
    image = torch.randn(2, 3, *sides)
    if change == "double weight":
        with pytest.raises(RuntimeError):
            layer.double()(image)
        return
    if change == "double by default":
        layer, plain, image = layer.double(), plain.double(), image.double()
    image = image[:0] if change == "no images" else image[0] if change == "no batch" else image
    with torch.autocast("cpu", torch.bfloat16, enabled=change == "autocast"):
        assert torch.equal(layer(image), plain(image))


def test_an_image_of_other_channels_or_too_small_a_one_is_refused_as_torch_does():
    layer, _ = fresh("as wide as its map")
    for image in (torch.randn(1, 15, 4, 4), torch.randn(1, 16, 3, 4)):
        with pytest.raises(RuntimeError):
            layer(image)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 3, 1, 1),
        nn.Conv2d(16, 16, 4, 2, 1),
        nn.ConvTranspose2d(16, 16, 4, 2, 1),
        nn.Conv2d(16, 24, 3, 2, 1),
        nn.Conv2d(32, 32, 3, 2, 1, groups=2),
        nn.Conv2d(16, 16, 3, 2, 1, dilation=2),
        nn.Conv2d(16, 16, 3, 2, 1, padding_mode="reflect"),
        nn.Conv2d(16, 16, (3, 1), 2, 1),
        nn.Conv2d(16, 16, 3, (2, 1), 1),
        nn.Conv2d(16, 16, 3, padding="same"),
        nn.ConvTranspose2d(16, 3, 3, 2, 1, output_padding=1),
        nn.Conv1d(16, 16, 3, 2, 1),
        nn.Linear(16, 16),
    ],
    ids=str,
)
def test_a_layer_that_is_computed_otherwise_is_left_alone(layer):
    assert replace_direct(nn.Sequential(layer)) == 0
    assert "forward" not in vars(layer)


def test_the_convolutions_of_the_papers_networks_are_found():
    for name, few, both in (
        ("patchvae", 5, 3),
        ("beta-vae", 9, 3),
        ("supervised", 3, 2),
        ("patchvae-gan", 6, 4),
    ):
        method = make_method(name)
        ours = replace_direct(method), replace_convolutions(method)
        assert ours[0] == few
        own = [
            m
            for m in method.modules()
            if isinstance(m, nn.Conv2d | nn.ConvTranspose2d) and "forward" in vars(m)
        ]
        # Both's are the backbone's 3x3 of stride 2, and those of an image.
        assert len(own) == sum(ours) - both


def test_what_comes_out_may_be_written_into():
    layer, sides = fresh("4x4 of stride 2, 3 channels")
    layer.bias = None
    image = torch.randn(2, 3, *sides)
    loss = F.leaky_relu(layer(image), 0.2, inplace=True).square().sum()
    (slope,) = torch.autograd.grad(loss, layer.weight)
    again = F.leaky_relu(layer(image), 0.2).square().sum()
    assert torch.equal(slope, torch.autograd.grad(again, layer.weight)[0])


def test_what_is_not_finite_stays_so():
    layer, sides = fresh("3x3 of stride 2")
    image = torch.zeros(1, 16, *sides)
    image[0, 0, 5, 5] = float("nan")
    assert layer(image)[0, 0, 3, 3].isnan()


def test_a_run_is_repeated_bit_for_bit_and_near_the_plain_one(tmp_path):
    """Losses to 1 % over two steps."""
    config = pretrain_config("bigan", epochs=1, batch_size=20, flip=True)
    one, two, plain = (MemoryAttempt(tmp_path / word) for word in ("one", "two", "plain"))
    run(config, one, switches=Speed(direct=True))
    run(config, two, switches=Speed(direct=True))
    run(config, plain)
    assert rows(one) == rows(two) != rows(plain)
    for ours, theirs in zip(rows(one), rows(plain), strict=True):
        assert ours == pytest.approx(theirs, rel=1e-2, abs=0.03)


def test_without_a_compiler_the_run_is_plain_and_says_so(tmp_path, monkeypatch):
    def missing():
        raise NoCompiler("no C compiler")

    monkeypatch.setattr(direct, "library", missing)
    config = pretrain_config("supervised", epochs=1, batch_size=20)
    attempt, plain = MemoryAttempt(tmp_path / "a"), MemoryAttempt(tmp_path / "b")
    run(config, attempt, switches=Speed(direct=True))
    run(config, plain)
    assert attempt.notes == ["convolutions stay plain: no C compiler"]
    assert rows(attempt) == rows(plain)
