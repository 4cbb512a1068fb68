"""The settings of every evaluation, checked when built. No torch here: planning and listing stay instant."""

import re
from dataclasses import dataclass
from typing import Literal

from bench.evaluations.weights import INCEPTION_SHA256
from bench.protocols import Scale, check_settings


@dataclass(frozen=True)
class FeaturesSettings:
    """kNN and a linear probe on the frozen backbone's last stage.

    Attributes:
        scale: input range, see `bench.protocols.TrainSettings`; follows the protocol's probe.
        grid: the last stage's map is averaged down to at most grid x grid cells and flattened, so that the width of
            the features does not grow with the image (Goyal et al., arXiv 1905.01235). At 32 pixels resnet9's map
            is 4x4 already: the features are those of the MLP probe.
        k: neighbours that vote.
        temperature: a neighbour's vote weighs exp(cosine similarity / temperature) (Wu et al., arXiv 1805.01978).
        l2: weight of half the squared norm of the linear probe's weights beside the mean cross entropy; None
            chooses it on a held-out tenth of the training split.
        max_iter: of L-BFGS.
    """

    scale: Scale = "imagenet"
    grid: int = 4
    k: int = 20
    temperature: float = 0.07
    l2: float | None = None
    max_iter: int = 100

    def __post_init__(self) -> None:
        check_settings(self, ("grid", "k", "temperature", "l2", "max_iter"), ())


@dataclass(frozen=True)
class ReconstructionSettings:
    """How far a method's images are from those it was shown.

    Attributes:
        sigma: of SSIM's Gaussian window, in pixels; 1.5 makes the usual window of 11 (Wang et al., 2004).
    """

    sigma: float = 1.5

    def __post_init__(self) -> None:
        check_settings(self, ("sigma",), ())


@dataclass(frozen=True)
class PartsSettings:
    """What the parts of a part-based method are.

    Attributes:
        threshold: a part is present at a location where its probability of occurrence exceeds this.
        alive: a part is alive if it is present somewhere in at least this share of the test images.
        top: patches of a part that are looked at, those with the highest probability, at most one an image.
        patch: side of a patch in pixels, centred on the part's location and moved inside the image; None is twice
            the stride of the backbone.
        clusters: k of the k-means of patches' pixels.
    """

    threshold: float = 0.5
    alive: float = 0.01
    top: int = 50
    patch: int | None = None
    clusters: int = 50

    def __post_init__(self) -> None:
        check_settings(self, ("threshold", "alive", "top", "patch", "clusters"), ())
        for name in ("threshold", "alive"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} is {getattr(self, name)!r}; it must be less than 1")


@dataclass(frozen=True)
class FIDSettings:
    """FID (Heusel et al., arXiv 1706.08500) and KID (Binkowski et al., arXiv 1801.01401) by torch-fidelity.

    Attributes:
        weights_sha256: of the file with the Inception's weights; which file that is is said by `--fid-weights`.
        layer: whose features are compared, averaged over locations; "2048" is the usual one.
        images: so many test images, drawn at random, the same for every pretraining; None is all.
        kid_subsets: of which KID is the mean.
        kid_subset_size: images in each; all of them where there are fewer.
    """

    weights_sha256: str = INCEPTION_SHA256
    layer: Literal["64", "192", "768", "2048"] = "2048"
    images: int | None = None
    kid_subsets: int = 100
    kid_subset_size: int = 1000

    def __post_init__(self) -> None:
        check_settings(self, ("images", "kid_subsets", "kid_subset_size"), ())
        if not re.fullmatch("[0-9a-f]{64}", self.weights_sha256):
            raise ValueError(f"weights_sha256 is {self.weights_sha256!r}; it must be 64 hexadecimal digits")
