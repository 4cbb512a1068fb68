"""Which modules have their batch norm computed at once with what follows it; `bench.normalised` is how.

Modules keep their parameters, buffers and names. Those that run others in a row (`nn.Sequential`, a backbone, timm's
blocks of a ResNet) look at each call whether a norm and what follows it may be computed at once; whatever has a hook
or a forward of its own is called as ever.
"""

import functools
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn

from bench.channels import library
from bench.normalised import LANES, LEAKY, RELU, Activation, Statistics, normalise, normalise_pooled
from bench.plain_tensors import are_plain, is_bare
from models.backbones import Backbone

_NONE, _PLAIN_RELU = Activation(), Activation(RELU)


def _bare(module: nn.Module) -> bool:
    return is_bare(module, lambda function: function is _alone)


def _activation_of(module: nn.Module) -> Activation | None:
    """None of one that C does not have, or of a module that is not to be left out."""
    if type(module) is nn.ReLU:
        found = _PLAIN_RELU
    elif type(module) is nn.LeakyReLU and module.negative_slope > 0:
        found = Activation(LEAKY, module.negative_slope)
    else:
        return None
    return found if _bare(module) else None


def _fits(norm: nn.BatchNorm2d, x: Tensor, added: Tensor | None) -> bool:
    if x.dim() != 4 or x.shape[1] != norm.num_features or norm.num_features % LANES:
        return False
    running, parameters = (norm.running_mean, norm.running_var), (norm.weight, norm.bias)
    of_batch = norm.training or (running[0] is None and running[1] is None)
    tensors = (x, added, *parameters, *running)
    # C counts in tensors of inference too, which have no versions to count in.
    if not are_plain(*tensors) or any(t is not None and t.is_inference() for t in tensors):
        return False
    # torch's own says what is wrong with one value a channel.
    if x.numel() <= x.shape[1] * of_batch:
        return False
    wanted = (t is not None and t.requires_grad for t in (x, added, *parameters))
    if not of_batch and torch.is_grad_enabled() and any(wanted):
        # On running statistics the way back is another.
        return False
    if not x.is_contiguous(memory_format=torch.channels_last):
        return False
    if added is not None and (
        added.shape != x.shape or not added.is_contiguous(memory_format=torch.channels_last)
    ):
        return False
    return all(t is None or t.is_contiguous() for t in (*parameters, *running))


def _statistics(norm: nn.BatchNorm2d) -> Statistics:
    """As `BatchNorm2d.forward` has it; a batch is counted."""
    momentum = 0.0 if norm.momentum is None else norm.momentum
    mean, var, batches = norm.running_mean, norm.running_var, None
    of_batch = norm.training or (mean is None and var is None)
    if norm.training and norm.track_running_stats and norm.num_batches_tracked is not None:
        batches = norm.num_batches_tracked
        if norm.momentum is None or batches.dtype != torch.int64 or type(batches) is not Tensor:
            batches = batches.add_(1)
            momentum = 1.0 / float(batches) if norm.momentum is None else momentum
            batches = None
    if norm.training and not norm.track_running_stats:
        mean = var = None
    return Statistics(mean, var, batches, of_batch, momentum, norm.eps)


def normalised(
    norm: nn.Module, x: Tensor, act: nn.Module | None = None, added: Tensor | None = None
) -> Float[Tensor, "b c h w"]:
    """act(norm(x) + added), at once where that can be computed so, else by calling the modules.

    Args:
        norm: usually an `nn.BatchNorm2d`.
        x: [b, c, h, w]; without a gradient's need, what is made of it may be written to.
        act: what follows.
        added: a shortcut, as `x`.
    """
    activation = _NONE if act is None else _activation_of(act)
    if activation is not None and type(norm) is nn.BatchNorm2d and _bare(norm) and _fits(norm, x, added):
        return normalise(x, added, norm.weight, norm.bias, _statistics(norm), activation)
    x = norm(x)
    if added is not None:
        x += added
    return x if act is None else act(x)


def _is_pool(module: nn.Module) -> bool:
    """Whether this is the max-pool that C has: that of a ResNet's stem."""
    if type(module) is not nn.MaxPool2d or not _bare(module):
        return False
    shape = (module.kernel_size, module.stride, module.padding, module.dilation)
    return shape == (3, 2, 1, 1) and not module.ceil_mode and not module.return_indices


def _pooled(norm: nn.BatchNorm2d, x: Tensor, act: nn.Module, pool: nn.Module) -> Tensor:
    activation = _activation_of(act)
    if activation is not None and _bare(norm) and _fits(norm, x, None):
        return normalise_pooled(x, norm.weight, norm.bias, _statistics(norm), activation)
    return pool(normalised(norm, x, act))


def _alone(norm: nn.BatchNorm2d, input: Tensor) -> Tensor:
    """The forward of a norm that is called by itself."""
    if _fits(norm, input, None):
        return normalise(input, None, norm.weight, norm.bias, _statistics(norm), _NONE)
    return nn.BatchNorm2d.forward(norm, input)


def run(modules: Sequence[nn.Module], x: Any) -> Any:
    """Modules one after another, a norm at once with the activation behind it."""
    at = 0
    while at < len(modules):
        module = modules[at]
        at += 1
        if type(module) is nn.BatchNorm2d:
            act = modules[at] if at < len(modules) and _activation_of(modules[at]) is not None else None
            at += act is not None
            if act is not None and at < len(modules) and _is_pool(modules[at]):
                x = _pooled(module, x, act, modules[at])
                at += 1
            else:
                x = normalised(module, x, act)
        else:
            x = module(x)
    return x


def _sequence(sequential: nn.Sequential, input: Any) -> Any:
    return run(list(sequential), input)


def _backbone(backbone: Backbone, image: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
    x = run(backbone.stage_modules(start, stop), image)
    return x[:, :, None, None] if x.ndim == 2 else x


def _basic(block: BasicBlock, x: Tensor) -> Tensor:
    if not _simple(block):
        return BasicBlock.forward(block, x)
    shortcut = x if block.downsample is None else block.downsample(x)
    x = normalised(block.bn1, block.conv1(x), block.act1)
    return normalised(block.bn2, block.conv2(x), block.act2, shortcut)


def _bottleneck(block: Bottleneck, x: Tensor) -> Tensor:
    if not _simple(block):
        return Bottleneck.forward(block, x)
    shortcut = x if block.downsample is None else block.downsample(x)
    x = normalised(block.bn1, block.conv1(x), block.act1)
    x = normalised(block.bn2, block.conv2(x), block.act2)
    return normalised(block.bn3, block.conv3(x), block.act3, shortcut)


def _simple(block: BasicBlock | Bottleneck) -> bool:
    """Whether nothing stands between a norm and its activation but the sum."""
    if block.se is not None or block.drop_path is not None:
        return False
    return all(type(module) is nn.Identity and _bare(module) for module in (block.aa, block.drop_block))


_FORWARDS: dict[type[nn.Module], Any] = {
    nn.BatchNorm2d: _alone,
    nn.Sequential: _sequence,
    Backbone: _backbone,
    BasicBlock: _basic,
    Bottleneck: _bottleneck,
}


def fuse_norms(module: nn.Module) -> int:
    """Have the norms of a module computed at once with what follows them, where they can be.

    Which it is is decided at each call: an image of another type, on another device or in another layout, or
    channels that are no multiple of eight, take the plain way.

    Returns:
        How many norms there are.

    Raises:
        NoCompiler: the passes cannot be compiled here; nothing is changed.
    """
    library()
    found = 0
    for part in module.modules():
        # A forward of its own, such as that of devices that share a batch, stays.
        if type(part) in _FORWARDS and "forward" not in part.__dict__:
            part.forward = functools.partial(_FORWARDS[type(part)], part)
            found += type(part) is nn.BatchNorm2d
    return found
