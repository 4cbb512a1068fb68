"""The contract between a method and whatever trains it.

A method says what it minimises and which of its children each loss updates. It knows nothing of seeds, devices,
precision, optimisers or loops. Three rules keep it trainable by every engine (eager, several seeds at once under
`torch.func.vmap`, compiled, captured into a CUDA graph):

1. a loss is pure tensor code: no `.item()`, no branch on a tensor's value, no random number;
2. the noise it needs is declared by `noise` and arrives as tensors;
3. what changes with the step (a temperature) is computed by `schedule` on the host and arrives as 0-d tensors.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Literal, NamedTuple, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from models.backbones import Backbone

Losses = dict[str, Tensor]
Noises = Mapping[str, Tensor]
Schedule = Mapping[str, Tensor]
ConfigT = TypeVar("ConfigT")


@dataclass(frozen=True)
class Phase:
    """One backward pass and one optimiser step of a training iteration.

    Attributes:
        loss: name of the method computing it: `(batch, noise, schedule) -> {"loss": ..., ...}`, batch means.
        updates: the children whose parameters are stepped; no other parameter receives a gradient, nor may the loss
            itself differentiate by another.
        keep_grad: add to the previous phase's gradients instead of starting from zero.
    """

    loss: str
    updates: tuple[str, ...]
    keep_grad: bool = False


@dataclass(frozen=True)
class Noise:
    """Independent draws a phase needs for each example, before the batch dimension."""

    kind: Literal["normal", "uniform"]
    shape: tuple[int, ...]


class Batch(NamedTuple):
    """Images on the network's scale, and labels (-1 where there are none)."""

    image: Float[Tensor, "b 3 h w"]
    label: Int[Tensor, " b"]


@dataclass
class Posterior:
    """What the encoder says of a batch, and one reconstruction from it.

    Attributes:
        recon: the decoded sample.
        kl: weighted sum of the KL terms, nats an example, batch mean.
        terms: the KL terms by name, unweighted, for the log.
    """

    recon: Float[Tensor, "b 3 h w"]
    kl: Float[Tensor, ""]
    terms: Losses


@dataclass
class PartMaps:
    """What a part-based method says of a batch: where each of its parts occurs, and how it looks in the image.

    Attributes:
        occurrence: probability that a part is present at a location, independently of the other parts.
        appearance: one vector a part, the posterior's mean.
    """

    occurrence: Float[Tensor, "b n h w"]
    appearance: Float[Tensor, "b n d"]


class Method(nn.Module, Generic[ConfigT]):
    """A representation learner; `backbone` is the child that is probed.

    Args:
        config: the method's frozen dataclass of settings (`models.configs`).
        backbone: the network that is probed afterwards.
        image_size: side of the square images, in pixels.
        num_classes: of the pretraining data set; None where it has no labels.
    """

    phases: tuple[Phase, ...] = ()

    def __init__(
        self, config: ConfigT, backbone: Backbone, image_size: int, num_classes: int | None = None
    ) -> None:
        super().__init__()
        self.config = config
        self.backbone = backbone
        self.image_size = image_size
        self.num_classes = num_classes

    def noise(self) -> dict[str, Noise]:
        """The draws that each phase receives, by name."""
        return {}

    def schedule(self, step: int) -> dict[str, float]:
        """What changes over training, at the iteration after `step` completed ones."""
        del step
        return {}

    def forward(self, loss: str, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """Compute one phase's loss by name, so that `torch.func.functional_call` reaches every loss."""
        return getattr(self, loss)(batch, noise, schedule)

    @torch.no_grad()
    def reconstruct(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"] | None:
        """The image as the method's latents have it, without sampling; None where there is no decoder."""
        del image
        return None

    def infer(self, image: Float[Tensor, "b 3 h w"], noise: Noises, schedule: Schedule) -> Posterior | None:
        """Encode, sample with the noise given, decode; None where no distribution over latents is learned."""
        del image, noise, schedule
        return None

    def parts(self, image: Float[Tensor, "b 3 h w"]) -> PartMaps | None:
        """Occurrence and appearance of the method's parts; None where it has none.

        A method that has them is registered with `parts`; if its decoder makes images of them, `decode_parts` does.
        """
        del image
        return None

    def decode_parts(self, parts: PartMaps) -> Float[Tensor, "b 3 h w"] | None:
        """The image that parts make, without sampling: of `parts(image)` it is `reconstruct(image)`."""
        del parts
        return None

    def pixel_weights(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"] | None:
        """What a pixel's squared error is multiplied by; None where all weigh alike or no such error is minimised."""
        del image
        return None


def bottleneck_side(image_size: int, stride: int) -> int:
    """Side of the backbone's output for a square image.

    Raises:
        ValueError: the image is not a multiple of the stride, so that no decoder would give back its size.
    """
    if image_size % stride:
        raise ValueError(f"image size {image_size} is not a multiple of the backbone's stride {stride}")
    return image_size // stride


def init_heads(module: nn.Module) -> None:
    """Initialise an encoder's heads as the reference does; transposed convolutions keep torch's default.

    Convolutions: Kaiming normal, fan_out, zero bias. Linear: N(0, 0.01), zero bias. BatchNorm: 1 and 0.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(layer, nn.Linear):
            nn.init.normal_(layer.weight, 0.0, 0.01)
        elif isinstance(layer, nn.BatchNorm2d):
            nn.init.ones_(layer.weight)
        else:
            continue
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)
