"""What beta-VAE and PatchVAE share: the ELBO, and the adversary and weighted loss that compose with either."""

from abc import abstractmethod
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models import losses
from models.backbones import Backbone
from models.configs import AutoencoderConfig
from models.method import Batch, Losses, Method, Noises, Phase, Posterior, Schedule
from models.networks import ImageDiscriminator

AutoencoderT = TypeVar("AutoencoderT", bound=AutoencoderConfig)


class Autoencoder(Method[AutoencoderT]):
    """Minimises ||x - x_hat||^2 + KL (equations 3 and 8), summed over pixels and latents, mean over the batch.

    With `weighted` the squared error is weighted by `losses.laplacian_weights` (L_w, section 3.4). With
    `adversarial` a discriminator learns to tell reconstructions from images while the ELBO is minimised (the
    reconstruction is detached, so neither sees the other's gradient), then the autoencoder is stepped to fool it
    (Larsen et al., arXiv 1512.09300).

    Differs from the reference: gradients are cleared before the adversarial step unless `elbo_twice` is set.
    """

    coder: tuple[str, ...] = ("backbone", "heads", "decoder")
    heads: nn.Module
    decoder: nn.Module

    def __init__(
        self, config: AutoencoderT, backbone: Backbone, image_size: int, num_classes: int | None = None
    ) -> None:
        super().__init__(config, backbone, image_size, num_classes)
        if config.adversarial:
            self.phases = (
                Phase("reconstruct_and_discriminate", (*self.coder, "discriminator")),
                Phase("fool", self.coder, keep_grad=config.elbo_twice),
            )
        else:
            self.phases = (Phase("elbo", self.coder),)

    def add_discriminator(self) -> None:
        """Create the adversary last, so that the other children start alike with and without it."""
        if self.config.adversarial:
            self.discriminator = ImageDiscriminator()

    @abstractmethod
    def infer(self, image: Float[Tensor, "b 3 h w"], noise: Noises, schedule: Schedule) -> Posterior:
        """Encode, sample with the noise given, decode."""

    def pixel_weights(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"] | None:
        """Weights of L_w (section 3.4); None without `weighted`."""
        return losses.laplacian_weights(image, self.config.laplacian_patch) if self.config.weighted else None

    def _elbo(self, batch: Batch, noise: Noises, schedule: Schedule) -> tuple[Losses, Tensor]:
        posterior = self.infer(batch.image, noise, schedule)
        recon = losses.squared_error(posterior.recon, batch.image, self.pixel_weights(batch.image))
        return {"loss": recon + posterior.kl, "recon": recon, **posterior.terms}, posterior.recon

    def elbo(self, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """The negative evidence lower bound."""
        return self._elbo(batch, noise, schedule)[0]

    def reconstruct_and_discriminate(self, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """The ELBO for the autoencoder and binary cross entropy for the discriminator, gradients apart."""
        values, recon = self._elbo(batch, noise, schedule)
        real = losses.binary_cross_entropy(self.discriminator(batch.image), real=True)
        fake = losses.binary_cross_entropy(self.discriminator(recon.detach()), real=False)
        values["loss"] = values["loss"] + self.config.beta_gan * (real + fake)
        return {**values, "d_real": real, "d_fake": fake}

    def fool(self, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """Binary cross entropy of reconstructions passing for images."""
        recon = self.infer(batch.image, noise, schedule).recon
        fooled = losses.binary_cross_entropy(self.discriminator(recon), real=True)
        return {"loss": self.config.beta_gan * fooled, "fool": fooled}

    @abstractmethod
    def decode_mean(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Decode the posterior's mean."""

    @torch.no_grad()
    def reconstruct(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Decode the posterior's mean, without a gradient."""
        return self.decode_mean(image)
