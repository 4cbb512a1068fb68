"""Batch norm over the shares of several ranks is batch norm of the whole batch."""

import pytest
import torch
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from bench.devices.batch_norm import synchronise, unsynchronise
from tests.ranks import on_ranks

LAYERS = {
    "2d": lambda: nn.BatchNorm2d(5),
    "no affine": lambda: nn.BatchNorm2d(5, affine=False),
    "timm's, with its activation": lambda: BatchNormAct2d(5),
}


def inputs(count):
    g = torch.Generator().manual_seed(count)
    # A mean far from zero: the mean of squares less the square of the mean would lose it in fp32.
    x = 2 * torch.randn(count, 5, 3, 2, generator=g) + torch.arange(5.0).view(5, 1, 1) * 25
    return x, torch.randn(count, 5, 3, 2, generator=g)


def layer_of(name):
    layer = LAYERS[name]()
    if layer.weight is not None:
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2, 5))
            layer.bias.copy_(torch.linspace(-1, 1, 5))
    return layer


def normalise(layer, x, y):
    """Output, gradients of input and weights, running statistics."""
    x = x.clone().requires_grad_()
    out = layer(x)
    parameters = [p for p in layer.parameters() if p.requires_grad]
    grads = torch.autograd.grad((out * y).sum(), [x, *parameters])
    return [out.detach(), *grads], [layer.running_mean, layer.running_var, layer.num_batches_tracked]


def shares(share, count):
    found = {}
    for name in LAYERS:
        layer = layer_of(name)
        synchronise(layer, share)
        x, y = inputs(count)
        mine = share.part(count)
        share.turn_to(count)
        # A borrowed image weighs nothing in a loss.
        tensors, statistics = normalise(layer, x[mine], y[mine] * (share.mine > 0))
        unsynchronise(layer)
        found[name] = [t.numpy() for t in (*tensors, *statistics, layer.eval()(x).detach())], share.mine
    return found


@pytest.mark.parametrize(("world_size", "count"), [(2, 7), (4, 3)])
def test_outputs_gradients_and_running_statistics_are_those_of_the_whole_batch(world_size, count):
    ranks = on_ranks(world_size, shares, count)
    for name in LAYERS:
        layer = layer_of(name)
        whole, statistics = normalise(layer, *inputs(count))
        later = layer.eval()(inputs(count)[0]).detach()
        parts = [rank[name] for rank in ranks]
        n = len(whole)
        for k, expected in enumerate(whole):
            found = [torch.from_numpy(arrays[k]) for arrays, _ in parts]
            if k < 2:
                found = torch.cat([f[:mine] for f, (_, mine) in zip(found, parts, strict=True)])
            else:
                found = torch.stack(found).sum(0)
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=2e-5)
        for arrays, _ in parts:
            for array, expected in zip(arrays[n:], [*statistics, later], strict=True):
                torch.testing.assert_close(torch.from_numpy(array), expected, rtol=1e-6, atol=1e-5)
