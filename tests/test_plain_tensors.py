"""What is computed in C is torch's own for whatever else looks at a tensor, and refuses what torch refuses."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vmap
from torch.utils.flop_counter import FlopCounterMode

from bench import channels, products, tiles
from bench.compilable import why_missing
from bench.compiled import NoCompiler
from bench.direct import replace_direct
from bench.fused_norm import fuse_norms
from bench.winograd import replace_convolutions

pytestmark = pytest.mark.usefixtures("compiled")

LAST = torch.channels_last


def replace_both(layer):
    replace_direct(layer)
    return replace_convolutions(layer)


# A layer and how it is given to C.
CONVOLUTIONS = {
    "3x3": (lambda bias: nn.Conv2d(32, 16, 3, 1, 1, bias=bias), replace_convolutions),
    "4x4 of stride 2": (lambda bias: nn.Conv2d(32, 16, 4, 2, 1, bias=bias), replace_convolutions),
    "transposed": (lambda bias: nn.ConvTranspose2d(32, 16, 4, 2, 1, bias=bias), replace_convolutions),
    "3x3 of stride 2": (lambda bias: nn.Conv2d(32, 16, 3, 2, 1, bias=bias), replace_convolutions),
    "3x3 of stride 2, direct": (lambda bias: nn.Conv2d(32, 16, 3, 2, 1, bias=bias), replace_direct),
    "transposed to 3": (lambda bias: nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=bias), replace_direct),
    "transposed to 3, fewer": (lambda bias: nn.ConvTranspose2d(32, 3, 4, 2, 1, bias=bias), replace_both),
}
NORM = {"norm": (lambda _: nn.BatchNorm2d(32), fuse_norms)}
LAYERS = {
    **CONVOLUTIONS,
    **NORM,
    "norm, relu": (lambda _: nn.Sequential(nn.BatchNorm2d(32), nn.ReLU()), fuse_norms),
    "norm, relu, pool": (
        lambda _: nn.Sequential(nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
        fuse_norms,
    ),
}


def pair(name, bias=True):
    """The layer by torch and in C."""
    make, replace = LAYERS[name]
    torch.manual_seed(0)
    plain = make(bias).to(memory_format=LAST)
    fast = copy.deepcopy(plain)
    assert replace(fast) == 1
    return plain, fast


def images(*shape):
    return torch.randn(*(shape or (2, 32, 8, 8))).contiguous(memory_format=LAST)


def in_c(y):
    """Whether C made this, by the node of its graph or of what a bias was added to."""
    own = ("_Threes", "_Strided", "_Transposed", "_Direct", "_Normalised", "_Pooled")
    nodes = [y.grad_fn, *(node for node, _ in y.grad_fn.next_functions)]
    return any(type(node).__name__.removesuffix("Backward") in own for node in nodes)


@pytest.mark.parametrize("name", LAYERS)
def test_the_layers_of_these_tests_are_computed_in_c(name):
    plain, fast = pair(name)
    assert in_c(fast(images()))
    assert not in_c(plain(images()))


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_what_comes_out_may_be_written_into(name):
    """A convolution without bias before an activation in place, or before a sum with a shortcut."""
    _, fast = pair(name, bias=False)
    x, grads = images(), []
    for inplace in (True, False):
        y = fast(x)
        if inplace:
            y += 1
            y = F.relu(y, inplace=True)
        else:
            y = F.relu(y + 1)
        grads.append(torch.autograd.grad(y.square().sum(), fast.weight)[0])
    assert torch.equal(*grads)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("shape", [(2, 16, 8, 8), (2, 48, 8, 8), (2, 32, 0, 8), (2, 32, 8, 0)], ids=str)
def test_an_image_of_other_channels_or_of_no_height_is_torchs_business(name, shape):
    plain, fast = pair(name)
    told = []
    for layer in (plain, fast):
        try:
            told.append(layer(torch.randn(shape)).shape)
        except (RuntimeError, ValueError) as error:
            told.append(str(error))
    assert told[0] == told[1]


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("change", ["weight of fewer channels", "bias in doubles"])
def test_a_parameter_put_in_place_of_the_layers_is_torchs_business(name, change):
    plain, fast = pair(name)
    for layer in (plain, fast):
        if change == "bias in doubles":
            layer.bias = nn.Parameter(layer.bias.detach().double())
        else:
            layer.weight = nn.Parameter(torch.randn(8, 8, 4, 4))
        with pytest.raises(RuntimeError):
            layer(images())


def by_vmap(layer, x):
    return vmap(lambda image: layer(image[None])[0])(x)


def by_grad(layer, x):
    parameters = {name: p.detach() for name, p in layer.named_parameters()}
    found = grad(lambda given: functional_call(layer, given, (x,)).square().sum())(parameters)
    return torch.cat([t.flatten() for t in found.values()])


def by_jvp(layer, x):
    return torch.stack(jvp(layer, (x,), (x.flip(0),)))


def by_dual_numbers(layer, x):
    with forward_ad.dual_level():
        return forward_ad.unpack_dual(layer(forward_ad.make_dual(x, x.flip(0)))).tangent


def by_flops(layer, x):
    x.requires_grad_()
    with FlopCounterMode(display=False) as counter:
        layer(x).sum().backward()
    return torch.tensor(counter.get_total_flops())


def by_flops_of_the_way_back(layer, x):
    y = layer(x.requires_grad_()).sum()
    with FlopCounterMode(display=False) as counter:
        y.backward()
    return torch.tensor(counter.get_total_flops())


def by_batched_gradients(layer, x):
    y = layer(x.requires_grad_())
    pulls = torch.stack([torch.ones_like(y), y.detach()])
    return torch.autograd.grad(y, x, pulls, is_grads_batched=True)[0]


def by_a_subclass(layer, x):
    class Doubled(torch.Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            out = super().__torch_function__(func, types, args, kwargs or {})
            return out * 2 if func in (F.conv2d, F.conv_transpose2d, F.batch_norm) else out

    return layer(x.as_subclass(Doubled)).as_subclass(torch.Tensor)


def by_a_negated_view(layer, x):
    return layer(torch.ops.aten._neg_view(x))


WAYS = [by_vmap, by_grad, by_jvp, by_dual_numbers, by_flops, by_flops_of_the_way_back, by_batched_gradients]
WAYS += [by_a_subclass, by_a_negated_view]


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("way", WAYS)
def test_whoever_looks_at_tensors_finds_what_torch_computes(way, name):
    plain, fast = pair(name)
    if "norm" in name and way in (by_vmap, by_grad, by_jvp, by_dual_numbers):
        plain, fast = plain.eval(), fast.eval()
    x = images()
    expected, found = way(plain, x.clone()), way(fast, x.clone())
    assert expected.abs().sum() > 0 or (way in (by_flops, by_flops_of_the_way_back) and "norm" in name)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [name for name in LAYERS if "," not in name])
def test_arguments_have_the_names_that_torchs_have(name):
    plain, fast = pair(name)
    torch.testing.assert_close(
        fast(input=images()[:, :, :4] * 0 + 1), plain(input=images()[:, :, :4] * 0 + 1)
    )
    if "transposed" in name:
        for size in ([17, 17], [16, 17]):
            assert fast(images(), output_size=size).shape[2:] == tuple(size)
            assert fast(images(), size).shape[2:] == tuple(size)


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("layout", [LAST, torch.contiguous_format], ids=str)
def test_a_weights_gradient_lies_as_the_weight_does(name, layout):
    fast = pair(name, bias=False)[1].to(memory_format=layout)
    (slope,) = torch.autograd.grad(fast(images()).square().sum(), fast.weight)
    assert slope.stride() == fast.weight.stride()


@pytest.mark.parametrize("part", [tiles, products, channels], ids=lambda part: part.__name__)
def test_a_compiler_that_refuses_one_source_is_known_before_a_cell_begins(part, monkeypatch):
    def refused():
        raise NoCompiler("cc fails")

    assert why_missing() == ""
    monkeypatch.setattr(part, "library", refused)
    assert why_missing() == "cc fails"
