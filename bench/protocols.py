"""The settings of pretraining and probing, the three protocols and the schedules: each table in one place.

The defaults are the paper's (Gupta et al., CVPR 2020, arXiv 2004.03623) and, where it is silent, its authors'
released code's. A protocol's other half, what it changes in a method, is in `models.registry`.
"""

from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin, get_type_hints

Scale = Literal["imagenet", "symmetric", "clip", "unit"]
Shuffle = Literal["full", "blocks"]


def check_settings(config: object, positive: tuple[str, ...], not_negative: tuple[str, ...]) -> None:
    """Refuse what a settings class cannot mean; None is left to the class.

    Raises:
        ValueError: names the field, its value and what is allowed.
    """
    for name, hint in get_type_hints(type(config)).items():
        if get_origin(hint) is Literal and getattr(config, name) not in get_args(hint):
            raise ValueError(f"{name} is {getattr(config, name)!r}; allowed: {', '.join(get_args(hint))}")
    for name in positive:
        if (value := getattr(config, name)) is not None and not value > 0:
            raise ValueError(f"{name} is {value!r}; it must be greater than 0")
    for name in not_negative:
        if not (value := getattr(config, name)) >= 0:
            raise ValueError(f"{name} is {value!r}; it must not be negative")


@dataclass(frozen=True)
class TrainSettings:
    """How a method is pretrained.

    Attributes:
        epochs: passes over the pool; 0 leaves the weights as they were initialised.
        epoch_images: images an epoch; None is one pass.
        drop_last: leave out the last batch when it is not full.
        batch_size: images a step.
        lr: of Adam.
        beta1: of Adam.
        beta2: of Adam.
        scale: input range; "imagenet" standardises by ImageNet's mean and deviation, "symmetric" is [-1, 1]; "clip"
            and "unit", [0, 1], are what some weights from elsewhere want.
        flip: mirror half of the images. It follows the data set.
        precision: of every computation.
        shuffle: the order of an epoch; "full" is a permutation of all images, "blocks" reads a file that does not fit
            in memory in pieces, see `bench.data.shuffling`.
        batch_norm_devices: batch norm's statistics are those of each of so many devices' share of a batch; 1 is the
            whole batch, however many devices compute it.
    """

    epochs: int = 90
    epoch_images: int | None = None
    drop_last: bool = False
    batch_size: int = 128
    lr: float = 1e-4
    beta1: float = 0.5
    beta2: float = 0.999
    scale: Scale = "imagenet"
    flip: bool = False
    precision: Literal["fp32"] = "fp32"
    shuffle: Shuffle = "full"
    batch_norm_devices: int = 1

    def __post_init__(self) -> None:
        positive = ("epoch_images", "batch_size", "lr", "batch_norm_devices")
        check_settings(self, positive, ("epochs", "beta1", "beta2"))
        for name in ("beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be less than 1")


@dataclass(frozen=True)
class ProbeSettings:
    """How a backbone is probed: flatten, Linear(hidden), ReLU, Linear(classes), by SGD.

    Attributes:
        epochs: passes over the labelled training split.
        batch_size: images a step.
        lr: at the start.
        lr_step: epochs between two drops.
        lr_gamma: factor of a drop.
        momentum: of SGD.
        weight_decay: of SGD. The paper does not name it; the reference has 1e-4.
        dropout: before the first linear layer. The paper does not name it; the reference has 0.5.
        hidden: width of the head.
        init_std: of the head's linear weights.
        scale: input range, see `TrainSettings`.
        flip: mirror half of the training images.
        bn_affine: train BN's scale and shift where the layer is trained.
        frozen_bn: statistics of a frozen layer's BN; "batch" is the reference's.
        drop_last: leave out the last batch when it is not full.
        holdout: probe on nine tenths of the training split and choose the epoch on the other tenth.
        shuffle: the order of an epoch, see `TrainSettings`.
    """

    epochs: int = 90
    batch_size: int = 128
    lr: float = 0.01
    lr_step: int = 30
    lr_gamma: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 1e-4
    dropout: float = 0.5
    hidden: int = 512
    init_std: float = 0.01
    scale: Scale = "imagenet"
    flip: bool = False
    bn_affine: bool = False
    frozen_bn: Literal["stored", "batch"] = "stored"
    drop_last: bool = False
    holdout: bool = False
    shuffle: Shuffle = "full"

    def __post_init__(self) -> None:
        positive = ("epochs", "batch_size", "lr", "lr_step", "lr_gamma", "hidden", "init_std")
        check_settings(self, positive, ("momentum", "weight_decay", "dropout"))
        for name in ("dropout", "momentum"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be less than 1")


@dataclass(frozen=True)
class Protocol:
    """What a protocol changes in pretraining and probing, and the rule by which it selects an epoch."""

    title: str
    rule: str
    train: dict[str, Any]
    probe: dict[str, Any]


PROTOCOLS: dict[str, Protocol] = {
    "paper": Protocol("as the paper's text, gaps filled from its code", "last", {}, {}),
    "clean": Protocol(
        "[-1, 1] input, BN trained where its layer is, epoch chosen on held-out images",
        "val",
        {"scale": "symmetric"},
        {"scale": "symmetric", "bn_affine": True, "holdout": True},
    ),
    "reference": Protocol(
        "as the authors' released code does it, slips included",
        "best-test",
        {"epoch_images": 50_000, "drop_last": True},
        {"frozen_bn": "batch"},
    ),
}

# (pretraining epochs, probe epochs) of a data set; one that is not listed takes the row "folder".
PRESETS: dict[str, dict[str, tuple[int, int]]] = {
    "smoke": {
        "digits": (2, 3),
        "cifar100": (2, 3),
        "miniplaces": (5, 5),
        "indoor67": (5, 5),
        "places205": (1, 1),
        "imagenet": (1, 1),
        "folder": (2, 3),
    },
    "quick": {
        "digits": (8, 15),
        "cifar100": (10, 10),
        "miniplaces": (20, 20),
        "indoor67": (20, 20),
        "places205": (1, 2),
        "imagenet": (2, 2),
        "folder": (10, 10),
    },
    "full": {
        "digits": (90, 90),
        "cifar100": (90, 90),
        "miniplaces": (90, 90),
        "indoor67": (90, 90),
        "places205": (2, 5),
        "imagenet": (30, 30),
        "folder": (90, 90),
    },
}
DEFAULT_PRESET = "quick"


def preset_epochs(preset: str, dataset: str) -> tuple[int, int]:
    """Pretraining and probe epochs of a data set under a preset."""
    table = PRESETS[preset]
    return table.get(dataset.partition(":")[0], table["folder"])
