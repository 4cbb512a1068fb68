"""A ResNet's frozen basic blocks on maps that lie positions first, their 3x3 convolutions by `bench.bilinear`."""

from dataclasses import dataclass
from typing import TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from bench.bilinear import Plan, convolve, transform_weight
from bench.plain_tensors import has_hooks


@dataclass(frozen=True)
class Maps:
    """Maps positions first, and their sides."""

    values: Float[Tensor, "p b c"]
    height: int
    width: int


def blocks_of(module: nn.Module) -> list[BasicBlock] | None:
    """The blocks of a stage; None unless it is nothing but basic blocks of the plain kind."""
    if type(module) is not nn.Sequential or not len(module) or any(map(has_hooks, module.modules())):
        return None
    blocks = [block for block in module if type(block) is BasicBlock and _plain(block)]
    return blocks if len(blocks) == len(module) else None


def _plain(block: BasicBlock) -> bool:
    unused = (block.drop_block, block.aa, block.se, block.drop_path)
    idle = all(part is None or isinstance(part, nn.Identity) for part in unused)
    relus = isinstance(block.act1, nn.ReLU) and isinstance(block.act2, nn.ReLU)
    norms = all(type(norm) is nn.BatchNorm2d for norm in (block.bn1, block.bn2))
    return idle and relus and norms and _fits(block.conv1) and _fits(block.conv2) and _short(block.downsample)


def is_convolution(module: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is torch's convolution and no more: a subclass or a hook may make something else of its weight."""
    return type(module) is nn.Conv2d and not has_hooks(module)


def is_norm(module: nn.Module) -> bool:
    """Whether it is torch's batch norm and no more."""
    return type(module) is nn.BatchNorm2d and not has_hooks(module)


def _fits(conv: nn.Module) -> bool:
    return (
        is_convolution(conv)
        and conv.kernel_size == (3, 3)
        and conv.padding == (1, 1)
        and conv.padding_mode == "zeros"
        and conv.dilation == (1, 1)
        and conv.groups == 1
        and conv.bias is None
        and conv.stride in ((1, 1), (2, 2))
    )


def _short(downsample: nn.Module | None) -> bool:
    if downsample is None:
        return True
    if not isinstance(downsample, nn.Sequential) or len(downsample) != 2:
        return False
    conv, norm = downsample
    return (
        is_convolution(conv)
        and conv.kernel_size == (1, 1)
        and conv.padding == (0, 0)
        and conv.groups == 1
        and conv.bias is None
        and type(norm) is nn.BatchNorm2d
    )


def parts(downsample: nn.Module) -> tuple[nn.Conv2d, nn.Module]:
    """Convolution and BN of a block's shortcut."""
    assert isinstance(downsample, nn.Sequential)
    conv, norm = downsample
    assert isinstance(conv, nn.Conv2d)
    return conv, norm


def _pointwise(maps: Maps, weight: Tensor, stride: int) -> Tensor:
    _, b, c = maps.values.shape
    taken = maps.values.view(maps.height, maps.width, b, c)[::stride, ::stride].reshape(-1, b, c)
    return taken @ weight.flatten(1).T


def fold(conv: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does what it and the BN behind it do on stored statistics."""
    wide = torch.float64
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var.to(wide) + norm.eps)
    shift = -norm.running_mean.to(wide) * scale
    if norm.affine:
        scale, shift = scale * norm.weight.to(wide), shift * norm.weight.to(wide) + norm.bias.to(wide)
    bias = shift if conv.bias is None else shift + conv.bias.to(wide) * scale
    weight = conv.weight.to(wide) * scale.view(-1, 1, 1, 1)
    return weight.to(conv.weight.dtype), bias.to(conv.weight.dtype)


class FrozenBlock:
    """A block on stored statistics: BN folded into its convolutions, their weights transformed once."""

    def __init__(self, block: BasicBlock) -> None:
        self.strides = block.conv1.stride[0], block.conv2.stride[0]
        self.folded = fold(block.conv1, block.bn1), fold(block.conv2, block.bn2)
        self.short = None
        if block.downsample is not None:
            conv, norm = parts(block.downsample)
            self.short = (*fold(conv, norm), conv.stride[0])
        self.transformed: dict[tuple[int, Plan], Tensor] = {}

    def _conv(self, k: int, x: Tensor, plan: Plan) -> Tensor:
        weight, bias = self.folded[k]
        if (k, plan) not in self.transformed:
            self.transformed[k, plan] = transform_weight(plan, weight)
        return convolve(plan, x, self.transformed[k, plan]).add_(bias)

    def __call__(self, maps: Maps) -> Maps:
        """What the block computes; no gradients."""
        first = Plan(maps.height, maps.width, self.strides[0])
        second = Plan(*first.out, self.strides[1])
        x = maps.values
        y = self._conv(1, F.relu_(self._conv(0, x, first)), second)
        if self.short is not None:
            weight, bias, stride = self.short
            x = _pointwise(maps, weight, stride).add_(bias)
        return Maps(F.relu_(y.add_(x)), *second.out)
