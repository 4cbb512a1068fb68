"""Convolutions with fewer products: working memory that is kept, each gradient alone, layouts of weights."""

import threading
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench import tile_forms, tiles, winograd, working_memory
from bench.perf.layers import measure
from bench.winograd import replace_convolutions
from bench.working_memory import WorkingMemory

pytestmark = pytest.mark.usefixtures("compiled")


@pytest.fixture
def memory(monkeypatch):
    """Memory as of a thread that has computed nothing."""
    fresh = WorkingMemory()
    monkeypatch.setattr(winograd, "MEMORY", fresh)
    return fresh


def fast(layer):
    net = nn.Sequential(layer)
    assert replace_convolutions(net) == 1
    return net


def test_memory_is_kept_for_the_next_call_and_grows_as_it_must(memory):
    net = fast(nn.Conv2d(16, 16, 3, 1, 1))
    net(torch.randn(2, 16, 8, 8))
    address, size = memory.of(1)[0], memory.size
    net(torch.randn(2, 16, 8, 8))
    assert (memory.of(1)[0], memory.size) == (address, size)
    fast(nn.Conv2d(64, 64, 3, 1, 1))(torch.randn(2, 64, 8, 8))
    assert memory.size > size
    assert not address % 64


@pytest.mark.parametrize("form", ["three", "two", "mixed"])
def test_products_have_memory_only_where_a_weights_gradient_is_wanted(form):
    size, _ = tiles.functions(form)
    for threads in (1, 2):
        forward, whole = (size(8, 8, 64, 32, 2, threads, wanted) for wanted in (0, 1))
        points, parts = {"three": (6, 1), "two": (5, 4), "mixed": (5, 4)}[form]
        products = points**2 * parts * 64 * 32
        assert threads * products <= whole - forward < threads * (products + points**2 * 1040)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        (form, wanted)
        for form in tile_forms.FORMS
        for wanted in ("to_small", "to_large", "to_weight", "to_small to_weight", "to_large to_weight")
        # The images of a 3x3 convolution have one size, and it is always computed the first way round.
        if "to_large" not in wanted or form.step > 1
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_no_more_memory_is_written_than_is_asked_for(form, wanted, threads, monkeypatch):
    """Behind what was asked for lie numbers that are still there."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    held = []

    def of(size):
        # Room for what is written too far.
        floats = torch.full((3 * (size // 4) + 400_000,), 7.0)
        held.append((floats, size // 4))
        return floats.data_ptr(), floats

    monkeypatch.setattr(winograd, "MEMORY", SimpleNamespace(of=of))
    try:
        small = torch.randn(3, 32, 8, 4)
        large = torch.randn(3, 16, 8 * form.step, 4 * form.step)
        weight = torch.randn(32, 16, form.taps, form.taps)
        to_small, to_large, to_weight = (word in wanted for word in ("to_small", "to_large", "to_weight"))
        known = small if to_large or to_weight else None, large if to_small or to_weight else None
        winograd._run(form, weight, *known, to_small, to_large, to_weight)
    finally:
        torch.set_num_threads(before)
    (floats, count), *rest = held
    assert not rest
    assert (floats[count:] == 7.0).all()
    assert (floats[:count] != 7.0).any()


def test_memory_past_the_bound_is_given_back(memory, monkeypatch):
    net, image = fast(nn.ConvTranspose2d(16, 16, 4, 2, 1)), torch.randn(3, 16, 8, 8)
    monkeypatch.setattr(working_memory, "KEPT", 0)
    found = net(image)
    assert memory.size == 0
    monkeypatch.undo()
    assert torch.equal(net(image), found)


def test_threads_do_not_write_into_one_anothers_memory():
    net = fast(nn.Conv2d(32, 32, 3, 1, 1))
    images = [torch.randn(32, 32, 8, 8) for _ in range(3)]
    expected, wrong = [net(image).detach() for image in images], []

    def compute(at):
        for _ in range(30):
            if not torch.equal(net(images[at]), expected[at]):
                wrong.append(at)

    workers = [threading.Thread(target=compute, args=(at,)) for at in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


LAYERS = [
    nn.Conv2d(16, 32, 3, 1, 1, bias=False),
    nn.Conv2d(16, 32, 4, 2, 1, bias=False),
    nn.Conv2d(16, 32, 3, 2, 1, bias=False),
    nn.ConvTranspose2d(16, 32, 4, 2, 1, bias=False),
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format], ids=str)
def test_a_weights_gradient_lies_as_the_weight_does(layer, layout):
    net = fast(layer).to(memory_format=layout)
    (grad,) = torch.autograd.grad(net(torch.randn(2, 16, 16, 16)).square().sum(), layer.weight)
    assert grad.stride() == layer.weight.stride()


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_each_gradient_asked_for_alone_has_the_bits_of_both(layer):
    net = fast(layer)
    image = torch.randn(5, 16, 16, 16, requires_grad=True)
    wanted = (image, layer.weight)
    both = torch.autograd.grad(net(image).square().sum(), wanted)
    for one, expected in zip(wanted, both, strict=True):
        assert torch.equal(torch.autograd.grad(net(image).square().sum(), one)[0], expected)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_every_border_between_tiles_and_each_corner_is_the_plain_layers(layer):
    """One pixel at a time: what meets where tiles overlap is wrong in few places, and small in a mean."""
    net, channel = fast(layer), torch.arange(16) == 3
    step = 1 if layer.stride == (1, 1) or isinstance(layer, nn.ConvTranspose2d) else 2
    side = 12 * step
    image = torch.eye(side * side).view(-1, 1, side, side) * channel.view(1, -1, 1, 1)
    plain = F.conv_transpose2d if isinstance(layer, nn.ConvTranspose2d) else F.conv2d
    expected = plain(image, layer.weight, stride=layer.stride, padding=1)
    assert (net(image) - expected).abs().max() <= 2e-5 * expected.abs().max()


def test_a_weight_that_is_a_view_of_another_is_taken_as_it_is():
    layer = nn.Conv2d(16, 16, 3, 1, 1, bias=False)
    net, image = fast(layer), torch.randn(2, 16, 4, 4)
    layer.weight = nn.Parameter(torch.randn(16, 32, 3, 3)[:, ::2])
    expected = F.conv2d(image, layer.weight, padding=1)
    assert (net(image) - expected).abs().max() <= 2e-5 * expected.abs().max()
    net(image).sum().backward()
    (wanted,) = torch.autograd.grad(F.conv2d(image, layer.weight, padding=1).sum(), layer.weight)
    assert layer.weight.grad is not None
    assert (layer.weight.grad - wanted).abs().max() <= 2e-5 * wanted.abs().max()


def test_a_layer_is_timed_in_four_parts_each_with_the_gradients_it_names():
    layer, seen = nn.Conv2d(16, 16, 3, 1, 1, bias=False), []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = layer

        def forward(self, x):
            seen.append((x.requires_grad, layer.weight.requires_grad))
            return self.layer(x)

    seconds = measure(Watched(), torch.randn(2, 16, 8, 8, requires_grad=True))
    assert seen == [(True, False), (False, True), (True, True)]
    assert len(seconds) == 4
    assert min(seconds) > 0
