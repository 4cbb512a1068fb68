"""Batch norm in one pass with the activation behind it and with a residual block's sum, in fp32 on a processor.

torch reads and writes a map for the norm, for the sum and for the activation each. Here a channel's mean and variance
are taken in one pass, and y = act((x - mean) * scale + shift + shortcut) in another; backwards, the two sums by
channel in one and the gradient in another (`bench.channels`, in C). Of the forward pass nothing is kept but the
norm's input, from which the activation's mask is found again, and with a shortcut the output.
"""

from typing import Any, NamedTuple, cast

import torch
from jaxtyping import Float
from torch import Tensor

from bench.channels import library
from bench.plain_tensors import are_plain

# Channels that C takes at once.
LANES = 8
NOTHING, RELU, LEAKY = range(3)


class Activation(NamedTuple):
    """What follows a norm: its number in C, and the slope of a leaky one."""

    kind: int = NOTHING
    slope: float = 0.0


class Statistics(NamedTuple):
    """Running statistics [c], how many batches are in them, and how they are used."""

    mean: Tensor | None
    var: Tensor | None
    batches: Tensor | None
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
        if torch.is_grad_enabled() or not are_plain(grad_outputs[0]):
            wants = ctx.needs_input_grad[:4]
            return *_plainly(ctx, grad_outputs[0], x, y, weight, bias, told, *wants), None, None
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        c = x.shape[1]
        rows = x.numel() // c
        dx = torch.empty_like(x) if for_x else None
        # Without an activation it is the output's.
        dadded = torch.empty_like(x) if y is not None else dy if for_added else None
        dweight, dbias = x.new_empty(c), x.new_empty(c)
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


class _Pooled(torch.autograd.Function):
    """A 3x3 max-pool of stride 2 and padding 1 of act(norm(x)), whose map is not kept; there is an activation."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        statistics: Statistics,
        activation: Activation,
    ) -> Tensor:
        n, c, h, w = x.shape
        shape = (n, c, (h + 1) // 2, (w + 1) // 2)
        y, largest = (torch.empty(shape, dtype=x.dtype, memory_format=torch.channels_last) for _ in range(2))
        which = torch.empty(shape, dtype=torch.uint8, memory_format=torch.channels_last)
        told, sums, layer = _layer(n * h * w, c, weight, bias, statistics, activation)
        tensors = (x, y, largest, which)
        library().normalise_pooled(*map(_pointer, tensors), *layer, n, h, w, c, torch.get_num_threads())
        del sums
        ctx.save_for_backward(x, weight, bias, told, y, largest, which)
        ctx.statistics, ctx.activation = statistics, activation
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight, bias, told, y, largest, which = ctx.saved_tensors
        activation: Activation = ctx.activation
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        if torch.is_grad_enabled() or not are_plain(grad_outputs[0]):
            dy = torch.ops.aten.max_pool2d_with_indices_backward(
                grad_outputs[0], x, [3, 3], [2, 2], [1, 1], [1, 1], False, _places(which, x.shape[3])
            )
            wants = (for_x, for_weight, for_bias)
            return *_plainly(ctx, dy, x, None, weight, bias, told, *wants), None, None
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        dx = torch.empty_like(x) if for_x else None
        dweight, dbias = x.new_empty(c), x.new_empty(c)
        sums, work = _sums(which.numel() // c, c), torch.empty_like(largest)
        tensors = (x, y, largest, which, dy, work, dx, dweight, dbias, told, sums)
        library().normalise_pooled_back(
            *map(_pointer, tensors), activation.slope, activation.kind, n, h, w, c, torch.get_num_threads()
        )
        return dx, dweight if for_weight else None, dbias if for_bias else None, None, None


def _places(which: Tensor, w: int) -> Tensor:
    """Where in its map of rows of w the largest value of each window is, as torch says it: [n, c, i, j]."""
    high, wide = which.shape[2:]
    row = 2 * torch.arange(high).view(-1, 1) - 1 + which // 3
    col = 2 * torch.arange(wide) - 1 + which % 3
    return row * w + col


def _plainly(
    ctx: Any,
    dy: Tensor,
    x: Tensor,
    y: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    told: Tensor,
    *wanted: bool,
) -> tuple[Tensor | None, ...]:
    """The gradients by torch, which can be differentiated again: a penalty of a gradient's norm wants that.

    With one by what was added they are four: by x, by that, by weight and bias.
    """
    activation, statistics = ctx.activation, ctx.statistics
    if activation.kind:
        with torch.no_grad():
            if y is None:
                alone = Statistics(None, None, None, True, 0.0, statistics.eps)
                y = _normalise(x, None, weight, bias, alone, activation)[0]
            flat = y <= 0
        dy = torch.where(flat, dy * activation.slope, dy)
    mask = [wanted[0], *wanted[-2:]]
    dx, dweight, dbias = torch.ops.aten.native_batch_norm_backward(
        dy, x, weight, None, None, told[0], told[2], True, statistics.eps, mask
    )
    return (dx, dweight, dbias) if len(wanted) == 3 else (dx, dy if wanted[1] else None, dweight, dbias)


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


def normalise_pooled(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, " c"] | None,
    bias: Float[Tensor, " c"] | None,
    statistics: Statistics,
    activation: Activation,
) -> Float[Tensor, "b c i j"]:
    """A 3x3 max-pool of stride 2 and padding 1 of act(norm(x)); arguments are those of `normalise`.

    Args:
        x: as there.
        weight: as there.
        bias: as there.
        statistics: as there.
        activation: there is one.
    """
    return cast(Tensor, _Pooled.apply(x, weight, bias, statistics, activation))


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
    y = torch.empty_like(x)
    told, sums, layer = _layer(rows, c, weight, bias, statistics, activation)
    library().normalise(*map(_pointer, (x, added, y)), *layer, rows, c, torch.get_num_threads())
    del sums
    return y, told


def _layer(
    rows: int,
    c: int,
    weight: Tensor | None,
    bias: Tensor | None,
    statistics: Statistics,
    activation: Activation,
) -> tuple[Float[Tensor, "6 c"], Tensor | None, list[Any]]:
    """What is kept, what is to be held until C is done, and what C is told of a layer."""
    mean, var, batches, of_batch, momentum, eps = statistics
    told, sums = torch.empty(6, c, dtype=torch.float32), _sums(rows, c) if of_batch else None
    if of_batch:
        # C writes to them behind autograd's back.
        torch.autograd.graph.increment_version([t for t in (mean, var, batches) if t is not None])
    pointers = map(_pointer, (weight, bias, mean, var, batches, told, sums))
    return told, sums, [*pointers, momentum, eps, activation.slope, activation.kind]


def _sums(rows: int, c: int) -> Tensor:
    return torch.empty(library().parts_of(rows) * 2 * c, dtype=torch.float64)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()
