"""The bf16 that tests compute without units for it is what such units compute."""

import pytest
import torch
from torch import nn

from tests.bf16_units import Bf16Units

LAYERS = {
    "3x3": (lambda: nn.Conv2d(32, 32, 3, padding=1), (4, 32, 8, 8)),
    "7x7 of stride 2": (lambda: nn.Conv2d(3, 32, 7, 2, 3, bias=False), (4, 3, 16, 16)),
    "transposed": (lambda: nn.ConvTranspose2d(32, 16, 4, 2, 1), (4, 32, 4, 4)),
    "linear": (lambda: nn.Linear(300, 40), (16, 300)),
}


def computed(layer, x, given, autocast=True):
    """Output, and gradients by the input and the weight for a gradient that is given."""
    x = x.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = layer(x)
    return (y.detach(), *torch.autograd.grad(y, (x, layer.weight), given.to(y.dtype)))


@pytest.mark.parametrize("name", LAYERS)
def test_layers_and_their_gradients_are_sums_of_exact_products_rounded_once(name):
    make, shape = LAYERS[name]
    torch.manual_seed(0)
    layer = make()
    # Numbers that bf16 has: then fp64 computes the products of the very same operands.
    x = torch.randn(shape).bfloat16().float()
    with torch.no_grad():
        for weight in layer.parameters():
            weight.copy_(weight.bfloat16())
        given = torch.randn(layer(x).shape).bfloat16()
    with Bf16Units() as units:
        ours = computed(layer, x, given)
    # Forwards, and by the input and the weight, in one operation or two.
    assert units.count >= 2
    own = computed(layer, x, given)
    exact = computed(layer.double(), x.double(), given.double(), autocast=False)
    for a, b, true in zip(ours, own, exact, strict=True):
        assert a.dtype == b.dtype
        # A sum at the border of two numbers goes either way.
        assert (a.double() != true.bfloat16().double()).double().mean() < 0.005
        # Torch's own bf16 rounds on the way, on processors without units; it is no further off than a few roundings.
        assert (a.double() - b.double()).abs().max() <= 2**-6 * true.abs().max()
        assert (a.double() - true).square().mean() <= 1.01 * (b.double() - true).square().mean()


def test_what_is_fp32_is_left_alone():
    a, b = torch.randn(5, 6), torch.randn(6, 7)
    with Bf16Units() as units:
        c = a @ b
    assert units.count == 0
    assert torch.equal(c, a @ b)
