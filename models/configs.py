"""The settings of every method, checked when built. No torch here: planning and listing stay instant.

Where a default departs from the paper (Gupta et al., CVPR 2020, arXiv 2004.03623), the field says so.
"""

from dataclasses import dataclass
from typing import Literal


def _positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value <= 0:
            raise ValueError(f"{name} is {value!r}; it must be greater than 0")


def _not_negative(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        if value < 0:
            raise ValueError(f"{name} is {value!r}; it must not be negative")


@dataclass(frozen=True)
class AutoencoderConfig:
    """What beta-VAE and PatchVAE share: the two switches and what they need.

    Attributes:
        adversarial: add a discriminator on reconstructions (the paper's suffix "-GAN").
        weighted: weigh the squared error by the image's gradient energy (the paper's L_w, section 3.4).
        beta_gan: weight of the adversarial terms.
        elbo_twice: the reference's slip of never clearing gradients before the generator's adversarial step,
            so that the ELBO's gradient is applied twice. Off unless the protocol is `reference`.
        laplacian_patch: side of the patches, in pixels, over which |Laplacian| is averaged.
    """

    adversarial: bool = False
    weighted: bool = False
    beta_gan: float = 1.0
    elbo_twice: bool = False
    laplacian_patch: int = 8

    def __post_init__(self) -> None:
        _not_negative(self, "beta_gan")
        _positive(self, "laplacian_patch")


@dataclass(frozen=True)
class BetaVAEConfig(AutoencoderConfig):
    """beta-VAE (equation 3).

    Attributes:
        latent_dim: size of z; the paper's N x d_p = 96.
        reduced_channels: channels of the 1x1 convolution before mu and sigma (Tables 8 and 9).
        beta: weight of the KL term.
    """

    latent_dim: int = 96
    reduced_channels: int = 64
    beta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "latent_dim", "reduced_channels")
        _not_negative(self, "beta")


@dataclass(frozen=True)
class PatchVAEConfig(AutoencoderConfig):
    """PatchVAE (equations 4 to 11).

    Attributes:
        num_parts: N, the number of parts.
        part_dim: d_p, the size of a part's appearance vector.
        beta_app: weight of the appearance KL.
        beta_occ: weight of the occurrence KL. Equations 9 and 11 print beta_app and beta_occ swapped.
        prior_occ: probability of the occurrence prior; None means 1/N.
        temperature: of the relaxed Bernoulli at the start.
        temperature_min: its floor.
        anneal_rate: per step.
        annealing: "exponential" is max(min, start * exp(-rate * step)); "compounded" is the reference's, which
            multiplies the current temperature by exp(-rate * step) every 1000 steps.
        detach_pool: no gradient through the weights that average the appearance over locations (the reference).
        pool_variance: average the variance like the mean (the reference); otherwise the posterior's variance is
            that of the weighted sum of independent locations.
    """

    num_parts: int = 16
    part_dim: int = 6
    beta_app: float = 1.0
    beta_occ: float = 0.6
    prior_occ: float | None = None
    temperature: float = 1.0
    temperature_min: float = 0.1
    anneal_rate: float = 3e-5
    annealing: Literal["exponential", "compounded"] = "exponential"
    detach_pool: bool = True
    pool_variance: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        _positive(self, "num_parts", "part_dim", "temperature", "temperature_min")
        _not_negative(self, "beta_app", "beta_occ", "anneal_rate")
        if self.prior_occ is not None and not 0 < self.prior_occ < 1:
            raise ValueError(f"prior_occ is {self.prior_occ!r}; it must lie between 0 and 1")
        if self.prior_occ is None and self.num_parts < 2:
            raise ValueError("num_parts is 1, so prior_occ = 1/N would be 1; set prior_occ")
        if self.annealing not in ("exponential", "compounded"):
            raise ValueError(f"annealing is {self.annealing!r}; allowed: exponential, compounded")

    @property
    def prior(self) -> float:
        """The occurrence prior that is in force."""
        return 1.0 / self.num_parts if self.prior_occ is None else self.prior_occ


@dataclass(frozen=True)
class BiGANConfig:
    """BiGAN (Donahue et al., arXiv 1605.09782) with the sizes of Tables 8 to 11."""

    latent_dim: int = 96
    reduced_channels: int = 64
    joint_channels: int = 512

    def __post_init__(self) -> None:
        _positive(self, "latent_dim", "reduced_channels", "joint_channels")


@dataclass(frozen=True)
class SupervisedConfig:
    """A linear classifier on the pooled features, trained with labels together with the backbone."""


@dataclass(frozen=True)
class UntrainedConfig:
    """A backbone as it was initialised."""
