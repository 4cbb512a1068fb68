"""The trained part of a probe: the stages that are not frozen, and the classifier of Table 12 on top."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bench.errors import UsageError
from models.backbones import Backbone, point_names


class Head(nn.Module):
    """Flatten, dropout, Linear(hidden), ReLU, Linear(classes).

    Args:
        inputs: values an image after flattening.
        classes: outputs.
        hidden: width of the layer between.
        init_std: weights are N(0, init_std), biases zero.
    """

    def __init__(self, inputs: int, classes: int, hidden: int = 512, init_std: float = 0.01) -> None:
        super().__init__()
        self.hidden = nn.Linear(inputs, hidden)
        self.output = nn.Linear(hidden, classes)
        for layer in (self.hidden, self.output):
            nn.init.normal_(layer.weight, 0.0, init_std)
            nn.init.zeros_(layer.bias)

    def forward(
        self, features: Float[Tensor, "b ..."], keep: Float[Tensor, "b d"] | None = None
    ) -> Float[Tensor, "b classes"]:
        """Logits; `keep` is the dropout mask, already divided by the probability of keeping."""
        x = features.flatten(1)
        if keep is not None:
            x = x * keep
        return self.output(F.relu(self.hidden(x)))


class Probe(nn.Module):
    """The trained part: a backbone's stages from `start` on, then the head."""

    def __init__(self, backbone: Backbone, start: int, head: Head, bn_affine: bool, batch_bn: bool) -> None:
        super().__init__()
        self.backbone, self.start, self.head = backbone, start, head
        self.batch_bn = batch_bn
        backbone.requires_grad_(False)
        for module in backbone.stage_modules(start):
            module.requires_grad_(True)
        if not bn_affine:
            for module in backbone.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.requires_grad_(False)

    def train(self, mode: bool = True) -> "Probe":
        """Frozen stages stay in evaluation mode, unless their BN is to follow the batch."""
        super().train(mode)
        if not self.batch_bn:
            for module in self.backbone.stage_modules(0, self.start):
                module.eval()
        return self

    def forward(self, features: Tensor, keep: Tensor | None = None) -> Tensor:
        """Logits from the frozen prefix's output."""
        if self.start < len(self.backbone.stages):
            features = features.contiguous(memory_format=torch.channels_last)
        return self.head(self.backbone(features, self.start), keep)


def freeze_index(backbone: Backbone, point: str) -> int:
    """How many stages a freeze point freezes; "none" freezes nothing.

    Raises:
        UsageError: the backbone has no such point.
    """
    if point == "none":
        return 0
    names = point_names(backbone.taps)
    if point not in names:
        raise UsageError(f"{backbone.name} has no freeze point {point!r}; allowed: none, {', '.join(names)}")
    return names.index(point) + 1
