"""Stages of a backbone on stored statistics, as fast as they can be: BN folded, fewer products where maps allow it.

Frozen stages are folded once, trained ones before each evaluation. What is not recognised runs as it is.
"""

from typing import Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.resnet import BasicBlock
from torch import Tensor, nn
from torch.nn.utils import skip_init

from bench.bilinear import batch_first, positions_first
from bench.direct import replace_direct
from bench.minimal_filters import TILE
from bench.positions import FrozenBlock, Maps, blocks_of, fold, is_convolution, is_norm, parts
from bench.probe_speed import ProbeSpeed
from bench.winograd import convolve_and, replace_convolutions
from models.backbones import Backbone


class Step(Protocol):
    """Part of the way through a backbone."""

    def refresh(self) -> None:
        """Take the weights and statistics as they are now."""

    def __call__(self, x: Tensor) -> Tensor:
        """Its output; no gradients."""
        ...


class FoldedStages:
    """Stages of a backbone on stored statistics, as the modules themselves compute it but for rounding.

    Args:
        backbone: whose stages run; its weights and statistics are taken as they are now.
        begin: the first stage.
        end: the stage before which it ends; None runs all.
        speed: `bilinear`, `winograd`, `direct` and `precision` are looked at.
    """

    def __init__(self, backbone: Backbone, begin: int, end: int | None, speed: ProbeSpeed) -> None:
        self.bf16 = speed.precision == "bf16"
        self.steps: list[Step] = []
        modules = backbone.stage_modules(begin, end)
        with torch.no_grad():
            while modules:
                module = modules.pop(0)
                blocks = blocks_of(module) if speed.bilinear or speed.winograd or speed.direct else None
                if blocks is not None:
                    self.steps.append(_Blocks(blocks, speed))
                elif is_convolution(module) and modules and is_norm(modules[0]):
                    self.steps.append(_FoldedConv(module, modules.pop(0), speed))
                else:
                    self.steps.append(_AsItIs(module))

    @torch.no_grad()
    def refresh(self) -> None:
        """Take the weights and statistics as they are now."""
        for step in self.steps:
            step.refresh()

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Features, in the precision of the images or of what else enters the first stage."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            x = images
            for step in self.steps:
                x = step(x)
        return x.to(images.dtype)


class _AsItIs:
    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def refresh(self) -> None:
        pass

    def __call__(self, x: Tensor) -> Tensor:
        return self.module(x)


class _FoldedConv:
    """A convolution with the BN behind it."""

    def __init__(self, conv: nn.Conv2d, norm: nn.Module, speed: ProbeSpeed) -> None:
        self.conv, self.norm = conv, norm
        layer = skip_init(
            nn.Conv2d,
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            conv.groups,
            padding_mode=conv.padding_mode,
            device=conv.weight.device,
            dtype=conv.weight.dtype,
        ).requires_grad_(False)
        assert isinstance(layer, nn.Conv2d)
        assert layer.bias is not None
        self.layer, bias = layer, layer.bias
        self.layer.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.bias = bias.view(-1, 1, 1)
        # In this order: the one falls back on the other.
        direct = speed.direct and replace_direct(self.layer)
        fewer = speed.winograd and replace_convolutions(self.layer)
        self.apart = bool(fewer or direct)
        if self.apart:
            # Those of our own would add it in memory of its own.
            self.layer.register_parameter("bias", None)
        self.refresh()

    def refresh(self) -> None:
        weight, bias = fold(self.conv, self.norm)
        self.layer.weight.copy_(weight)
        self.bias.copy_(bias.view(-1, 1, 1))

    def __call__(self, x: Tensor, added: Tensor | None = None, relu: bool = False) -> Tensor:
        at_once = convolve_and(self.layer, x, self.bias, added, relu) if self.apart else None
        if at_once is not None:
            return at_once
        y = self.layer(x)
        if self.apart:
            y.add_(self.bias)
        if added is not None:
            y.add_(added)
        return F.relu_(y) if relu else y


class _FoldedBlock:
    """A basic block of the plain kind, see `bench.positions`."""

    def __init__(self, block: BasicBlock, speed: ProbeSpeed) -> None:
        self.convs = [
            _FoldedConv(block.conv1, block.bn1, speed),
            _FoldedConv(block.conv2, block.bn2, speed),
        ]
        if block.downsample is not None:
            conv, norm = parts(block.downsample)
            self.convs.append(_FoldedConv(conv, norm, speed))

    def __call__(self, x: Tensor) -> Tensor:
        y = self.convs[0](x, relu=True)
        return self.convs[1](y, self.convs[2](x) if len(self.convs) > 2 else x, relu=True)


class _Blocks:
    """A stage of basic blocks: in C where maps are cut into its tiles, else positions first."""

    def __init__(self, blocks: list[BasicBlock], speed: ProbeSpeed) -> None:
        self.blocks = blocks
        own = speed.winograd or speed.direct
        self.folded = [_FoldedBlock(block, speed) for block in blocks] if own else None
        self.small: list[FrozenBlock] = []
        self.bilinear = speed.bilinear
        self.multiple = TILE
        for block in blocks:
            self.multiple *= max(block.conv1.stride[0], block.conv2.stride[0])
        self.refresh()

    def refresh(self) -> None:
        self.small = [FrozenBlock(block) for block in self.blocks] if self.bilinear else []
        for block in self.folded or ():
            for conv in block.convs:
                conv.refresh()

    def __call__(self, x: Tensor) -> Tensor:
        tiles = not any(side % self.multiple for side in x.shape[2:])
        if self.folded is not None and (tiles or not self.bilinear):
            for block in self.folded:
                x = block(x)
            return x
        maps = Maps(positions_first(x), x.shape[2], x.shape[3])
        for block in self.small:
            maps = block(maps)
        return batch_first(maps.values, maps.height, maps.width)
