"""Whether C may be given these tensors by their addresses: what all that is compiled here asks before it computes.

An address says nothing of a gradient, a batch dimension, a tracer or a counter of FLOPs: where something besides
torch's own kernels looks at what is done, torch's way is taken, which all of them understand.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import (  # pyright: ignore[reportMissingModuleSource]
    is_legacy_batchedtensor,
    peek_interpreter_stack,
)
from torch.autograd import forward_ad
from torch.nn.modules import module as torch_module

_KINDS = (Tensor, nn.Parameter)


def are_plain(*tensors: Tensor | None) -> bool:
    """Whether these are fp32 on the processor, and nothing but torch's ops looks at what is done with them."""
    if (
        # Asked many times a step: of any device first, which is a flag.
        (torch._C._is_any_autocast_enabled() and torch.is_autocast_enabled("cpu"))
        or torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
    ):
        return False
    # Modes answer in an operation's place: devices that share a batch, flop counters, vmap, forward derivatives.
    if torch._C._len_torch_function_stack() or torch._C._len_torch_dispatch_stack():
        return False
    if peek_interpreter_stack() is not None or forward_ad._current_level >= 0:
        return False
    for t in tensors:
        if t is None:
            continue
        # Subclasses mean something else by their numbers; a negated view has the other sign in memory.
        if type(t) not in _KINDS or t.dtype != torch.float32 or not t.is_cpu or t.layout != torch.strided:
            return False
        # Of several gradients at once (`is_grads_batched`).
        if t.is_neg() or is_legacy_batchedtensor(t):
            return False
    return True


def fits_layer(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor) -> bool:
    """Whether C may have an image [b, c, h, w] and a layer's parameters; torch says what is wrong with others."""
    if not are_plain(x, layer.weight, layer.bias) or x.dim() != 4 or x.shape[1] != layer.in_channels:
        return False
    channels = (layer.out_channels, layer.in_channels)
    if isinstance(layer, nn.ConvTranspose2d):
        channels = channels[::-1]
    return layer.weight.shape == (*channels, *layer.kernel_size) and x.numel() > 0


def has_hooks(module: nn.Module) -> bool:
    """Whether something of this module's own is called before or after it, or before or after its gradient."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
    )


def is_bare(module: nn.Module, ours: Callable[[Any], bool]) -> bool:
    """Whether calling a module is no more than its class's forward.

    Args:
        module: whichever.
        ours: of the function of a partial that stands in its place, whether it computes the same.
    """
    if has_hooks(module) or torch_module._has_any_global_hook():
        return False
    own = module.__dict__.get("forward")
    return own is None or (isinstance(own, functools.partial) and ours(own.func))
