"""What a backbone promises: timm's own network, cut into stages that may be frozen one after another."""

from collections.abc import Callable

import timm
import torch
from torch import Tensor

from bench.build import build_backbone
from bench.contract.verdicts import NotKept, Remark
from models.backbones import Backbone, point_names


class BackboneCase:
    """A network by name, and images for it."""

    def __init__(self, name: str, size: int) -> None:
        self.name, self.size = name, size
        self._built: Backbone | None = None

    def backbone(self) -> Backbone:
        """The network with the weights of seed 0; built once."""
        if self._built is None:
            self._built = build_backbone(self.name, 0)
        return self._built

    def forget(self) -> None:
        """Build it anew the next time: it was trained, which moved its statistics."""
        self._built = None

    def images(self, count: int = 2) -> Tensor:
        """Smooth images that differ from one another."""
        steps = torch.linspace(-1, 1, count * 3 * self.size**2)
        return torch.sin(7 * steps).reshape(count, 3, self.size, self.size)


def stages(case: BackboneCase) -> str:
    """Timm builds it, and its feature taps cut it into stages that run one after another as its own forward does."""
    # Compared with timm's forward when it is built.
    backbone = case.backbone()
    points = point_names(backbone.taps)
    if len(points) != len(backbone.stages) or len(set(points)) != len(points):
        raise NotKept(f"{len(backbone.stages)} stages, but freeze points {', '.join(points)}")
    return f"freeze points {', '.join(points)}"


def shape(case: BackboneCase) -> str:
    """Each stage has the channels that timm's feature_info says, the last one the stride."""
    backbone = case.backbone().eval()
    if case.size % backbone.stride:
        raise Remark(f"images of {case.size} pixels are no multiple of its stride {backbone.stride}")
    with torch.no_grad():
        for number, channels in enumerate(backbone.channels, 1):
            width = backbone(case.images(), 0, number).shape[1]
            if width != channels:
                raise NotKept(f"stage {number} has {width} channels, feature_info says {channels}")
        features = backbone(case.images())
    side = case.size // backbone.stride
    wanted = [2, backbone.num_features, side, side]
    if list(features.shape) != wanted:
        raise NotKept(
            f"features are {list(features.shape)}, with feature_info's stride {backbone.stride} {wanted}"
        )
    return f"stride {backbone.stride}, {backbone.num_features} channels"


def pieces(case: BackboneCase) -> None:
    """Run up to a freeze point and from there on, it gives what it gives in one go."""
    backbone = case.backbone().eval()
    with torch.no_grad():
        whole = backbone(case.images())
        for cut in range(1, len(backbone.stages)):
            if not torch.equal(backbone(backbone(case.images(), 0, cut), cut), whole):
                raise NotKept(f"cut after stage {cut} it gives other features")


def features(case: BackboneCase) -> None:
    """Untrained, its features are finite and tell images apart, in training and in evaluation."""
    backbone = case.backbone()
    for training in (True, False):
        with torch.no_grad():
            found = backbone.train(training)(case.images(4))
        mode = "training" if training else "evaluation"
        if not bool(found.isfinite().all()):
            raise NotKept(f"features are not finite in {mode}")
        if bool((found[0] == found[1]).all()):
            raise NotKept(f"two images have the same features in {mode}")
    case.forget()


def gradients(case: BackboneCase) -> None:
    """Every parameter that is left after the last stage is cut off receives a gradient."""
    backbone = case.backbone().train()
    backbone(case.images(4)).square().mean().backward()
    for name, parameter in backbone.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            raise NotKept(f"{name} has no part in the features")
    case.forget()


def seeds(case: BackboneCase) -> None:
    """A seed decides all its initial weights, whatever was drawn before."""
    first = case.backbone().state_dict()
    torch.rand(3)
    again, other = build_backbone(case.name, 0).state_dict(), build_backbone(case.name, 1).state_dict()
    for name, value in first.items():
        if not torch.equal(value, again[name]):
            raise NotKept(f"{name} differs between two networks of the same seed")
    if all(torch.equal(value, other[name]) for name, value in first.items()):
        raise NotKept("two seeds have the same weights")


def timms(case: BackboneCase) -> None:
    """Its weights load into timm's own network by their names."""
    network = timm.create_model(case.name, num_classes=0)
    ours = case.backbone().net.state_dict()
    # What timm's has more is what runs after the last stage.
    _, unexpected = network.load_state_dict(ours, strict=False)
    if unexpected:
        raise NotKept(f"timm's network has no {unexpected[0]}")


PROMISES: dict[str, Callable[[BackboneCase], str | None]] = {
    "stages": stages,
    "shape": shape,
    "pieces": pieces,
    "features": features,
    "gradients": gradients,
    "seeds": seeds,
    "timm": timms,
}
