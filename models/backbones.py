"""Backbones: any timm CNN whose feature stages run one after another, and where it may be frozen.

A network that is no such sequence (a ViT) is one stage, whose output is its pooled features.
"""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from jaxtyping import Float
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from models import plugins

CHECK_SIZE = 64
# The tap, and the freeze point, of a network that is one stage.
WHOLE = "whole"

# Backbones that only this project registers, as networks that timm alone can build: name -> (timm's architecture,
# arguments of it, as JSON has them).
TIMM_MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "resnet9": (
        "resnet18",
        {"layers": [2, 2, 0, 0], "channels": [64, 128, 128, 128], "zero_init_last": False},
    )
}


class ResNet9(ResNet):
    """ResNet-18's stem, layer1 and layer2: timm's ResNet with its last two stages empty."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.feature_info = self.feature_info[:3]


default_cfgs = generate_default_cfgs(
    {
        "resnet9.untrained": {
            "url": "",
            "num_classes": 1000,
            "input_size": (3, 32, 32),
            "pool_size": (4, 4),
            "crop_pct": 1.0,
            "interpolation": "bicubic",
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "first_conv": "conv1",
            "classifier": "fc",
            "license": "apache-2.0",
        }
    }
)


@register_model
def resnet9(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """The paper's Resnet-9 (Table 12): 683,072 parameters, 128 channels, stride 8.

    `zero_init_last` is False: with timm's default the residual branches of an untrained backbone whose BN is
    never trained would stay dead.
    """
    model_args = {
        "block": BasicBlock,
        "layers": (2, 2, 0, 0),
        "channels": (64, 128, 128, 128),
        "zero_init_last": False,
    }
    return build_model_with_cfg(
        ResNet9,
        "resnet9",
        pretrained,
        feature_cfg={"out_indices": (0, 1, 2)},
        **{**model_args, **kwargs},
    )


class Backbone(nn.Module):
    """A timm CNN cut into stages at its feature taps.

    The network keeps timm's own names below `net`, so that its weights load into timm as they are. A tap's
    stage ends with the parameterless layers that follow it (ResNet's max-pool belongs to the stem).

    Attributes:
        name: timm's name.
        taps: timm's names of the modules at which the stages end.
        stages: for each freeze point, in order, the names of the modules that run in it.
        channels: of each stage's output.
        num_features: channels of the last stage's output.
        stride: of the last stage's output, in pixels; of one that is one stage, what an image must have.
        args: timm's arguments with which it was built, where they are not timm's own.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
        self.args: dict[str, Any] = {}
        try:
            self.net = _create(name)
        except UncutError as error:
            self.net, self.args, features = _create_whole(name, error)
            self.taps, self.stages, self.channels, self.num_features = (
                (WHOLE,),
                [("",)],
                (features,),
                features,
            )
            reductions = [
                int(dict(tap)["reduction"]) for tap in getattr(self.net, "feature_info", None) or ()
            ]  # pyright: ignore[reportGeneralTypeIssues]
            self.stride = max(reductions, default=1)
            return
        info = [dict(tap) for tap in self.net.feature_info]  # pyright: ignore[reportGeneralTypeIssues]
        self.taps = tuple(tap["module"] for tap in info)
        self.stages = _stages(self.net, self.taps)
        self.channels = tuple(int(tap["num_chs"]) for tap in info)
        self.num_features = self.channels[-1]
        self.stride = int(info[-1]["reduction"])
        _drop_unused(self.net, self.stages)

    def forward(
        self, image: Float[Tensor, "b c h w"], start: int = 0, stop: int | None = None
    ) -> Float[Tensor, "b d i j"]:
        """Run stages `start` to `stop` (all by default) on the image or on the output of the stage before."""
        x = image
        for stage in self.stages[start:stop]:
            for name in stage:
                x = self.net.get_submodule(name)(x)
        return x[:, :, None, None] if x.ndim == 2 else x

    def stage_modules(self, start: int = 0, stop: int | None = None) -> list[nn.Module]:
        """The modules of some stages, in the order in which they run."""
        return [self.net.get_submodule(name) for stage in self.stages[start:stop] for name in stage]


def point_names(taps: Sequence[str]) -> tuple[str, ...]:
    """Names of the places up to which a backbone may be frozen, shallow to deep, from timm's tap names.

    A ResNet's are named as the paper does (`conv1`, `conv1-3`, `conv1-5`, ...: two convolutions, or blocks, a
    stage); any other's are `stage1` to `stageN`, one for each of timm's feature taps; `whole` of one that has none.
    """
    if tuple(taps) == (WHOLE,):
        return (WHOLE,)
    if taps[0] == "act1":
        return ("conv1", *(f"conv1-{2 * i + 1}" for i in range(1, len(taps))))
    return tuple(f"stage{i + 1}" for i in range(len(taps)))


def timm_model(name: str) -> tuple[str, dict[str, Any]]:
    """What timm calls a backbone where this project is not installed: an architecture and its arguments."""
    return TIMM_MODELS.get(name, (name, {}))


class UncutError(ValueError):
    """A network of timm is no sequence of stages."""


def _create_whole(name: str, why: UncutError) -> tuple[nn.Module, dict[str, Any], int]:
    """A timm model that gives its pooled features, the arguments that it needed, and the number of features.

    Raises:
        UncutError: it takes images of one size alone, or gives something else.
    """
    for wished in ({"dynamic_img_size": True}, {}):
        args: dict[str, Any] = dict(wished)
        try:
            net: Any = timm.create_model(name, num_classes=0, **args)
            if next(net.parameters()).is_meta:
                raise why
            with torch.no_grad():
                found = net.eval()(torch.zeros(1, 3, CHECK_SIZE, CHECK_SIZE))
            net.train()
        except (TypeError, RuntimeError, AssertionError, ValueError, IndexError):
            continue
        if args and (size := getattr(net.patch_embed, "img_size", None)):
            # Where this is not said, timm builds a table of positions for another size and interpolates the weights'.
            args["img_size"] = list(size)
        if isinstance(found, Tensor) and found.ndim == 2:
            return net, args, found.shape[1]
    raise why


def _create(name: str, check: bool = True) -> nn.Module:
    """A timm model without its classifier, its stages checked to be a plain sequence.

    Raises:
        ValueError: timm does not know the name, a package's network cannot be loaded, or the network is not a plain
            sequence of stages.
    """
    plugins.load_backbone(name.partition(".")[0])
    try:
        try:
            net = timm.create_model(name, num_classes=0, zero_init_last=False)
        except TypeError:  # a family without that option, whose residual branches start alive
            net = timm.create_model(name, num_classes=0)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"timm cannot build backbone {name!r}: {error}") from error
    if not getattr(net, "feature_info", None):
        raise UncutError(f"backbone {name!r} has no feature stages in timm; choose a CNN that has")
    if check and not next(net.parameters()).is_meta:
        _check_sequence(name, net)
    return net


def _stages(net: nn.Module, taps: Sequence[str]) -> list[tuple[str, ...]]:
    """Names of the modules of each stage: each ends at a tap and the parameterless layers after it."""
    names: list[str] = []

    def flatten(module: nn.Module, prefix: str) -> None:
        for child_name, child in module.named_children():
            path = f"{prefix}{child_name}"
            if any(tap.startswith(path + ".") for tap in taps):
                flatten(child, path + ".")
            else:
                names.append(path)

    flatten(net, "")
    stages: list[tuple[str, ...]] = []
    begin = 0
    for tap in taps:
        if tap not in names:
            raise ValueError(f"feature stage {tap!r} is not a module that runs in sequence")
        end = names.index(tap) + 1
        while tap != taps[-1] and not any(True for _ in net.get_submodule(names[end]).parameters()):
            if names[end] in taps:
                break
            end += 1
        stages.append(tuple(names[begin:end]))
        begin = end
    return stages


def _drop_unused(net: nn.Module, stages: Sequence[Sequence[str]]) -> None:
    """Replace what runs after the last stage (a final norm, a head) by nothing, so that it counts nowhere."""
    used = {name for stage in stages for name in stage}
    for name, module in list(net.named_children()):
        if name in used or any(u.startswith(name + ".") for u in used):
            continue
        if any(True for _ in module.parameters()):
            setattr(net, name, nn.Identity())


def _check_sequence(name: str, net: nn.Module) -> None:
    """Compare every tap of timm's own forward with the plain sequence, on one small image.

    Raises:
        ValueError: they differ, so the network cannot be cut into stages.
    """
    taps = [dict(tap)["module"] for tap in net.feature_info]  # pyright: ignore[reportGeneralTypeIssues]
    try:
        stages = _stages(net, taps)
        seen: dict[str, Tensor] = {}
        hooks = [
            net.get_submodule(tap).register_forward_hook(lambda _m, _i, out, tap=tap: seen.update({tap: out}))
            for tap in taps
        ]
        was_training = net.training
        net.eval()
        with torch.no_grad():
            x = image = torch.linspace(-1, 1, 3 * CHECK_SIZE**2).reshape(1, 3, CHECK_SIZE, CHECK_SIZE)
            net.forward_features(image)  # pyright: ignore[reportCallIssue]
            own = dict(seen)
            same = True
            for stage in stages:
                for module in stage:
                    x = net.get_submodule(module)(x)
                    same = same and (module not in own or torch.equal(own[module], seen[module]))
        net.train(was_training)
        for hook in hooks:
            hook.remove()
    except (ValueError, KeyError, RuntimeError, AttributeError, IndexError, AssertionError) as error:
        raise UncutError(f"backbone {name!r} cannot be cut into stages, as a CNN can: {error}") from error
    if not same or set(own) != set(taps):
        raise UncutError(f"backbone {name!r} does not run its stages one after another; choose another CNN")
