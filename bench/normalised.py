"""Batch norm in one pass with the activation behind it and with a residual block's sum, in fp32 on a processor.

torch reads and writes a map for the norm, for the sum and for the activation each. Here a channel's mean and variance
are taken in one pass, and y = act((x - mean) * scale + shift + shortcut) in another; backwards, the two sums by
channel in one and the gradient in another (`bench.channels`, in C). Of the forward pass nothing is kept but the
norm's input, from which the activation's mask is found again, and with a shortcut the output.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from bench.channels import library

# Channels that C takes at once.
LANES = 8
NOTHING, RELU, LEAKY = range(3)


@dataclass(frozen=True)
class Activation:
    """What follows a norm: its number in C, and the slope of a leaky one."""

    kind: int = NOTHING
    slope: float = 0.0


@dataclass(frozen=True)
class Statistics:
    """Running statistics [c], and how they are used."""

    mean: Tensor | None
    var: Tensor | None
    of_batch: bool
    momentum: float
    eps: float


class _Normalised(torch.autograd.Function):
    """act(norm(x) + added) on the statistics of the batch; images [n, c, h, w] in channels_last."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        added: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        statistics: Statistics,
        activation: Activation,
    ) -> Tensor:
        y, told = _normalise(x, added, weight, bias, statistics, activation)
        ctx.save_for_backward(x, y if added is not None and activation.kind else None, weight, bias, told)
        ctx.statistics, ctx.activation = statistics, activation
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, y, weight, bias, told = ctx.saved_tensors
        activation: Activation = ctx.activation
        for_x, for_added, for_weight, for_bias = ctx.needs_input_grad[:4]
        if torch.is_grad_enabled():
            grads = _plainly(ctx, grad_outputs[0], x, y, weight, bias, told)
            return *grads, None, None
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        c = x.shape[1]
        rows = x.numel() // c
        dx = torch.empty_like(x) if for_x else None
        # Without an activation it is the output's.
        dadded = torch.empty_like(x) if y is not None else dy if for_added else None
        dweight, dbias = x.new_empty(2, c)
        # By name, which holds it until C is done.
        sums = _sums(rows, c)
        library().normalise_back(
            *map(_pointer, (x, y, dy, dx, dadded, dweight, dbias, told, sums)),
            activation.slope,
            activation.kind,
            rows,
            c,
            torch.get_num_threads(),
        )
        grads = (dx, dadded if for_added else None)
        return *grads, dweight if for_weight else None, dbias if for_bias else None, None, None


def _plainly(
    ctx: Any,
    dy: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    told: Tensor,
) -> tuple[Tensor | None, ...]:
    """The gradients by torch, which can be differentiated again: a penalty of a gradient's norm wants that."""
    activation, statistics = ctx.activation, ctx.statistics
    for_x, for_added, for_weight, for_bias = ctx.needs_input_grad[:4]
    if activation.kind:
        with torch.no_grad():
            if y is None:
                alone = Statistics(None, None, True, 0.0, statistics.eps)
                y = _normalise(x, None, weight, bias, alone, activation)[0]
            flat = y <= 0
        dy = torch.where(flat, dy * activation.slope, dy)
    mask = [for_x, for_weight, for_bias]
    dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
        dy, x, weight, None, None, told[0], told[2], True, statistics.eps, mask
    )
    return dx, dy if for_added else None, dweight, dbias


def normalise(
    x: Float[Tensor, "b c h w"],
    added: Float[Tensor, "b c h w"] | None,
    weight: Float[Tensor, " c"] | None,
    bias: Float[Tensor, " c"] | None,
    statistics: Statistics,
    activation: Activation,
) -> Float[Tensor, "b c h w"]:
    """act(norm(x) + added), with gradients on the statistics of the batch alone.

    Args:
        x: in channels_last, fp32, on the processor, as `added`; c is a multiple of `LANES`.
        added: a shortcut.
        weight: contiguous, as `bias` and running statistics.
        bias: of the affine map.
        statistics: of the batch they are written to.
        activation: what follows.
    """
    return cast(Tensor, _Normalised.apply(x, added, weight, bias, statistics, activation))


def _normalise(
    x: Tensor,
    added: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    statistics: Statistics,
    activation: Activation,
) -> tuple[Tensor, Float[Tensor, "6 c"]]:
    """The output, and what the way back wants to know of the layer."""
    c = x.shape[1]
    rows = x.numel() // c
    y, told = torch.empty_like(x), x.new_empty(6, c)
    sums = _sums(rows, c) if statistics.of_batch else None
    tensors = (x, added, y, weight, bias, statistics.mean, statistics.var, told, sums)
    library().normalise(
        *map(_pointer, tensors),
        statistics.momentum,
        statistics.eps,
        activation.slope,
        activation.kind,
        rows,
        c,
        torch.get_num_threads(),
    )
    running = [t for t in (statistics.mean, statistics.var) if t is not None]
    if statistics.of_batch and running:
        # C has written to them behind autograd's back.
        torch.autograd.graph.increment_version(running)
    return y, told


def _sums(rows: int, c: int) -> Tensor:
    return torch.empty(library().parts_of(rows) * 2 * c, dtype=torch.float64)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
