"""Batch norm whose statistics are those of the whole batch, wherever its images are computed.

torch's own SyncBatchNorm does so on GPUs alone. This form has one all-reduce a layer and direction, by gloo or NCCL.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from bench.devices.share import Share
from bench.errors import UsageError


def synchronise(module: nn.Module, share: Share) -> None:
    """Have every layer of batch norm use the statistics of all ranks, in training, until `unsynchronise`.

    A layer's own forward is run, whichever subclass it is (timm's fuse an activation), and what it asks of
    `torch.nn.functional.batch_norm` is answered here.
    """
    answers = _Answers(share)
    for layer in module.modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            layer.forward = _Within(layer.forward, answers)  # pyright: ignore[reportAttributeAccessIssue]


def unsynchronise(module: nn.Module) -> None:
    """Layers as they were: a rank may then use the module by itself."""
    for layer in module.modules():
        if isinstance(layer.__dict__.get("forward"), _Within):
            del layer.forward  # pyright: ignore[reportAttributeAccessIssue]


class _Within:
    """A forward, called where the answers are those of all ranks."""

    def __init__(self, forward: Any, answers: "_Answers") -> None:
        self._forward, self._answers = forward, answers

    def __call__(self, *args: Any, **options: Any) -> Any:
        with self._answers:
            return self._forward(*args, **options)


class _Answers(TorchFunctionMode):
    def __init__(self, share: Share) -> None:
        super().__init__()
        self.share = share

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        if func is F.batch_norm:
            return batch_norm(self.share, *args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def batch_norm(
    share: Share,
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As `torch.nn.functional.batch_norm` on the batch of all ranks, each of which gives its images."""
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    if share.whole == 1 and input.numel() == input.shape[1]:
        raise ValueError(
            f"batch norm needs more than one value a channel, and the batch has {tuple(input.shape)}"
        )
    output, mean, var, count = _Synchronised.apply(input, weight, bias, eps, share)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_((var * count / (count - 1)).to(running_var.dtype), momentum)
    return output


class _Synchronised(torch.autograd.Function):
    """Gives the output [b, c, ...], and mean [c], variance [c] and count of values of the whole batch, fp64."""

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, share: Share
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        over = [d for d in range(input.dim()) if d != 1]
        channels = input.shape[1]
        var, mean = torch.var_mean(
            input.detach().float() if input.dtype.itemsize < 4 else input, over, correction=0
        )
        # In fp64 nothing is lost by way of the mean of squares, and sums need one message.
        mean, var = mean.double(), var.double()
        count = mean.new_full((1,), input.numel() / channels)
        told = torch.cat([mean * count, (var + mean.square()) * count, count])
        total = share.sums(told if share.mine else torch.zeros_like(told))
        count = total[-1]
        mean = total[:channels] / count
        var = (total[channels:-1] / count - mean.square()).clamp_min(0)
        kind = mean.dtype if input.dtype == torch.float64 else torch.float32
        output = F.batch_norm(input, mean.to(kind), var.to(kind), weight, bias, False, 0.0, eps)
        ctx.save_for_backward(input, weight, mean, (var + eps).rsqrt(), count)
        ctx.share = share
        ctx.mark_non_differentiable(mean, var, count)
        return output, mean, var, count

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        if torch.is_grad_enabled():
            # Under create_graph; what is told to other ranks here has no gradient of its own.
            raise UsageError(
                "a loss with the gradient of a gradient through batch norm (a gradient penalty) is trained on one"
                " device, or with --batch-norm per-device"
            )
        grad = grad_outputs[0]
        input, weight, mean, inverse, count = ctx.saved_tensors
        over = [d for d in range(input.dim()) if d != 1]
        channels, kind = input.shape[1], torch.promote_types(grad.dtype, torch.float32)
        shape = (1, channels, *(1 for _ in over[1:]))
        wide, x = grad.to(kind), input.to(kind)
        centred = x - mean.to(kind).view(shape)
        grad_bias = wide.sum(over)
        grad_weight = (wide * centred).sum(over) * inverse.to(kind)
        told = torch.cat([grad_bias, grad_weight]).double()
        total = ctx.share.sums(told if ctx.share.mine else torch.zeros_like(told)) / count
        if ctx.needs_input_grad[0]:
            factor = inverse if weight is None else inverse * weight.double()
            offset, slope = total[:channels] * factor, total[channels:] * factor * inverse
            grad_input = (
                wide * factor.to(kind).view(shape)
                - centred * slope.to(kind).view(shape)
                - offset.to(kind).view(shape)
            ).to(input.dtype)
        else:
            grad_input = None
        wants = ctx.needs_input_grad
        return (
            grad_input,
            None if weight is None or not wants[1] else grad_weight.to(weight.dtype),
            None if weight is None or not wants[2] else grad_bias.to(weight.dtype),
            None,
            None,
        )
