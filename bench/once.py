"""What a step with an adversary computes more often than it must, computed once.

A discriminator's logit is linear in its features, so their mean over locations is taken first. That of BiGAN sees an
image's code at every location of the tower's map, where it is the same: the code's part of the first 1x1 convolution
is made once an image, and only that part is differentiated where only the code is trained.

Both phases of BiGAN want E(x), and no step comes between them that changes E: the first phase, which wants no
gradient of it, has it computed with one, and the second goes on from there. Batch norms count the batch twice, as the
plain way does. So it is where E is made of layers that are known to make the same of the same image: a ResNet's.
"""

import copy
import functools
from dataclasses import dataclass
from typing import Any, TypeGuard

import torch
import torch.nn.functional as F
from jaxtyping import Float
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack  # pyright: ignore[reportMissingModuleSource]

from bench.direct import with_weight
from bench.plain_tensors import is_bare
from models.backbones import Backbone
from models.beta_vae import VectorHeads
from models.bigan import BiGAN
from models.method import Method
from models.networks import ImageDiscriminator, JointDiscriminator

# What makes the same of the same image, and keeps nothing of it; other things may draw or count.
_STEADY = (
    nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.Hardswish,
    nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Identity, nn.Flatten,
    nn.Sequential, nn.ModuleDict, BasicBlock, Bottleneck, Backbone, VectorHeads,
)  # fmt: skip


def compute_once(method: Method) -> None:
    """Have an adversary, and a BiGAN, compute once what they would compute again; parameters and buffers stay.

    Whether they can is decided at each call.
    """
    discriminator = method._modules.get("discriminator")
    logits = _LOGITS.get(type(discriminator))
    if discriminator is not None and logits is not None and "forward" not in discriminator.__dict__:
        discriminator.forward = functools.partial(logits, discriminator)
    if type(method) is BiGAN and "encode" not in method.__dict__:
        method.encode = Encoder(method)


def image_logits(discriminator: ImageDiscriminator, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """What `ImageDiscriminator.forward` gives."""
    if not _is_pointwise(discriminator.logit):
        return ImageDiscriminator.forward(discriminator, image)
    return _mean_logits(discriminator.tower(image), discriminator.logit)


def joint_logits(
    discriminator: JointDiscriminator, image: Float[Tensor, "b 3 h w"], z: Float[Tensor, "b d 1 1"]
) -> Float[Tensor, " b"]:
    """What `JointDiscriminator.forward` gives."""
    layers = _split(discriminator.joint, z)
    if layers is None or len(z) != len(image):
        return JointDiscriminator.forward(discriminator, image, z)
    first, act, logit = layers
    features = discriminator.tower(image)
    num_features = features.shape[1]
    of_features, of_code = first.weight.split([num_features, first.in_channels - num_features], 1)
    y = with_weight(first, features, of_features)
    y += F.linear(z.flatten(1), of_code.flatten(1))[:, :, None, None]
    return _mean_logits(act(y), logit)


_LOGITS: dict[type, Any] = {ImageDiscriminator: image_logits, JointDiscriminator: joint_logits}


def _mean_logits(features: Float[Tensor, "b c h w"], logit: nn.Conv2d) -> Float[Tensor, " b"]:
    # In the order of memory; the sum's gradient is its own at every location, where a mean's would be divided there.
    seen = features.permute(0, 2, 3, 1).flatten(1, 2)
    return F.linear(seen.sum(1) / seen.shape[1], logit.weight.flatten(1)).mean(1)


def _split(joint: nn.Sequential, z: Tensor) -> tuple[nn.Conv2d, nn.LeakyReLU, nn.Conv2d] | None:
    """The layers of a `JointDiscriminator`, if they are its own, each no more than its class's forward."""
    if type(joint) is not nn.Sequential or len(joint) != 3 or not all(map(_is_bare, (joint, *joint))):
        return None
    if z.dim() != 4 or z.shape[2:] != (1, 1):
        return None
    first, act, logit = joint
    if type(act) is not nn.LeakyReLU or not _is_pointwise(first) or not _is_pointwise(logit):
        return None
    return first, act, logit


def _is_pointwise(layer: nn.Module) -> TypeGuard[nn.Conv2d]:
    """Whether it is a plain 1x1 convolution without bias."""
    return (
        type(layer) is nn.Conv2d
        and layer.kernel_size == layer.stride == (1, 1)
        and layer.padding == (0, 0)
        and layer.groups == 1
        and layer.bias is None
        and _is_bare(layer)
    )


def _is_bare(module: nn.Module) -> bool:
    return is_bare(module, lambda function: (function.__module__ or "").startswith("bench."))


@dataclass
class _Kept:
    """E(x) with its graph, and of what it was made.

    Attributes:
        image: the very tensor.
        versions: of the image, of E's parameters and buffers: whoever writes to one in place makes another of it.
            What is written through `.data`, as flat updates are, does not; none of E comes between the phases.
        code: E(x), [b, d, 1, 1].
        before: each batch norm with its running mean and variance before the image.
    """

    image: Tensor
    versions: list[tuple[int, int]]
    code: Tensor
    before: list[tuple[nn.BatchNorm2d, list[Tensor]]]


class Encoder:
    """`BiGAN.encode` of one method.

    Args:
        method: whose; which of its parameters are trained is looked at now.
    """

    def __init__(self, method: BiGAN) -> None:
        self._method = method
        self._trained = self._wanting()
        self._kept: _Kept | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> "Encoder":
        memo[id(self)] = copied = copy.copy(self)
        copied._method, copied._trained = copy.deepcopy((self._method, self._trained), memo)
        copied._kept = None
        return copied

    def __call__(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d 1 1"]:
        """E(x): of a phase without gradients kept, of one with them the one that was kept, else the plain one."""
        kept, self._kept = self._kept, None
        if torch.is_grad_enabled():
            if kept is None or not self._is_of(kept, image):
                return BiGAN.encode(self._method, image)
            _count_again(kept.before)
            return kept.code
        if not self._keeps(image):
            return BiGAN.encode(self._method, image)
        norms = [part for part in self._parts() if isinstance(part, nn.BatchNorm2d)]
        before = [(norm, [value.clone() for value in _running(norm)]) for norm in norms]
        wanted = [p.requires_grad for p in self._trained]
        try:
            for parameter in self._trained:
                parameter.requires_grad_(True)
            with torch.enable_grad():
                code = BiGAN.encode(self._method, image)
        finally:
            for parameter, want in zip(self._trained, wanted, strict=True):
                parameter.requires_grad_(want)
        self._kept = _Kept(image, self._versions(image), code, before)
        return code.detach()

    def _parts(self) -> list[nn.Module]:
        """Of E, as far as they are called."""
        backbone, heads = self._method.backbone, self._method.heads
        return [backbone, *(part for child in (*backbone.stage_modules(), heads) for part in child.modules())]

    def _parameters(self) -> list[nn.Parameter]:
        return [*self._method.backbone.parameters(), *self._method.heads.parameters()]

    def _wanting(self) -> list[nn.Parameter]:
        return [p for p in self._parameters() if p.requires_grad]

    def _versions(self, image: Tensor) -> list[tuple[int, int]]:
        buffers = (*self._method.backbone.buffers(), *self._method.heads.buffers())
        return [(id(t), t._version) for t in (image, *self._parameters(), *buffers)]

    def _is_of(self, kept: _Kept, image: Tensor) -> bool:
        """Whether what was kept is E of this image still, with every gradient that is wanted now."""
        same = kept.image is image and kept.versions == self._versions(image)
        return same and list(map(id, self._wanting())) == list(map(id, self._trained))

    def _keeps(self, image: Tensor) -> bool:
        """Whether the same image will give the same code, and no hook looks at how it is made."""
        own = set(map(id, self._parameters()))
        return (
            # Others are put in a method's place by `torch.func.functional_call`.
            all(id(p) in own for p in self._trained)
            and not torch.is_inference_mode_enabled()
            and not image.is_inference()
            and not torch.compiler.is_compiling()
            and peek_interpreter_stack() is None
            and all(_is_steady(part) and _is_bare(part) for part in self._parts())
        )


def _count_again(before: list[tuple[nn.BatchNorm2d, list[Tensor]]]) -> None:
    """Batch norms' running statistics r1 = r0 + m (s - r0) after the same batch once more.

    r2 = r1 + m (s - r1) = r1 + (1 - m) (r1 - r0).
    """
    for norm, values in before:
        assert norm.momentum is not None
        assert norm.num_batches_tracked is not None
        for value, was in zip(_running(norm), values, strict=True):
            # The graph has them saved, and does not look at them in training.
            value.data.lerp_(was, norm.momentum - 1)
        norm.num_batches_tracked += 1


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _is_steady(part: nn.Module) -> bool:
    """Whether it makes the same of the same image, but for a batch norm's counts."""
    if type(part) is nn.BatchNorm2d:
        return part.training and part.track_running_stats and part.momentum is not None
    return type(part) in _STEADY
