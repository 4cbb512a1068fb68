"""The frozen prefix of a backbone, run as fast as it can be: BN folded, small maps with fewer products."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bench.bilinear import batch_first, positions_first
from bench.positions import FrozenBlock, Maps, blocks_of, fold
from bench.probe_speed import ProbeSpeed
from models.backbones import Backbone

Step = Callable[[Tensor], Tensor]


class FrozenPrefix:
    """Stages of a backbone on stored statistics, as the modules themselves compute it but for rounding.

    What is not recognised runs as it is.

    Args:
        backbone: in evaluation mode; its weights are taken as they are now.
        stages: how many run.
        speed: `bilinear` and `precision` are looked at.
    """

    def __init__(self, backbone: Backbone, stages: int, speed: ProbeSpeed) -> None:
        self.bf16 = speed.precision == "bf16"
        self.steps: list[Step] = []
        modules = backbone.stage_modules(0, stages)
        with torch.no_grad():
            while modules:
                module = modules.pop(0)
                blocks = blocks_of(module) if speed.bilinear else None
                if blocks is not None:
                    self.steps.append(_small_maps([FrozenBlock(block) for block in blocks]))
                elif isinstance(module, nn.Conv2d) and modules and type(modules[0]) is nn.BatchNorm2d:
                    self.steps.append(_folded(module, modules.pop(0)))
                else:
                    self.steps.append(module)

    @torch.no_grad()
    def __call__(self, images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """Features, in the images' precision."""
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.bf16):
            x = images
            for step in self.steps:
                x = step(x)
        return x.to(images.dtype)


def _folded(conv: nn.Conv2d, norm: nn.Module) -> Step:
    assert isinstance(norm, nn.BatchNorm2d)
    weight, bias = fold(conv, norm)
    weight = weight.contiguous(memory_format=torch.channels_last)
    padding = conv.padding if isinstance(conv.padding, str) else tuple(conv.padding)

    def run(x: Tensor) -> Tensor:
        return F.conv2d(x, weight, bias, conv.stride, padding, conv.dilation, conv.groups)

    return run


def _small_maps(blocks: list[FrozenBlock]) -> Step:
    def run(x: Tensor) -> Tensor:
        maps = Maps(positions_first(x), x.shape[2], x.shape[3])
        for block in blocks:
            maps = block(maps)
        return batch_first(maps.values, maps.height, maps.width)

    return run
