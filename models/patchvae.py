"""PatchVAE: Gupta, Singh and Shrivastava, CVPR 2020, https://arxiv.org/abs/2004.03623."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from models import losses
from models.autoencoder import Autoencoder
from models.backbones import Backbone
from models.configs import PatchVAEConfig
from models.method import Noise, Noises, PartMaps, Posterior, Schedule, bottleneck_side, init_heads
from models.networks import pyramid_decoder

VARIANCE_RANGE = (1e-7, 1e7)


@dataclass
class Parts:
    """Parameters of the posterior over N parts of d dimensions on an h x w grid."""

    mu: Float[Tensor, "b n d h w"]
    logvar: Float[Tensor, "b n d h w"]
    occurrence: Float[Tensor, "b n h w"]


class PartHeads(nn.Module):
    """Q^A and Q^O: 3x3 convolutions to the mean, log variance and occurrence logits (Tables 8 and 9)."""

    def __init__(self, channels: int, num_parts: int, part_dim: int) -> None:
        super().__init__()
        self.num_parts = num_parts
        self.occurrence = nn.Conv2d(channels, num_parts, 3, 1, 1)
        self.mu = nn.Conv2d(channels, num_parts * part_dim, 3, 1, 1)
        self.logvar = nn.Conv2d(channels, num_parts * part_dim, 3, 1, 1)
        init_heads(self)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Parts:
        """Appearance and occurrence at each location."""
        split = (self.num_parts, -1)
        return Parts(
            self.mu(features).unflatten(1, split),
            self.logvar(features).unflatten(1, split),
            self.occurrence(features),
        )


def pool_appearance(
    parts: Parts, *, detach: bool = True, average_variance: bool = True
) -> tuple[Float[Tensor, "b n d"], Float[Tensor, "b n d"]]:
    """One appearance a part: mean and variance averaged over locations, weighted by occurrence probability.

    Section 3.2, "Constructing z_app". Weights sum to one over the h x w locations.

    Args:
        parts: the posterior's parameters.
        detach: no gradient through the weights (as in the authors' code).
        average_variance: average the variance like the mean (as in the authors' code); otherwise the variance
            is that of a weighted sum of independent locations.
    """
    logits = parts.occurrence.detach() if detach else parts.occurrence
    probability = torch.sigmoid(logits).unsqueeze(2)
    total = probability.sum((-2, -1), keepdim=True) + VARIANCE_RANGE[0]
    weights = probability / total
    variance = parts.logvar.exp().clamp(*VARIANCE_RANGE)
    mu = (weights * parts.mu).sum((-2, -1))
    var = ((weights if average_variance else weights.square()) * variance).sum((-2, -1))
    return mu, var.clamp_min(VARIANCE_RANGE[0])


class PatchVAE(Autoencoder[PatchVAEConfig]):
    """L = ||x - G(z)||^2 + beta_occ * sum KL_occ + beta_app * sum KL_app (equation 11).

    KL_occ is summed over parts and locations against Bern(prior), KL_app over parts and dimensions against
    N(0, I); both are averaged over the batch. z is each part's appearance placed where the part occurs.

    Differs from the paper: equations 9 and 11 print beta_app and beta_occ swapped; here beta_occ weighs the
    occurrence KL, as section 4.3 describes it.
    """

    def __init__(
        self, config: PatchVAEConfig, backbone: Backbone, image_size: int, num_classes: int | None = None
    ) -> None:
        super().__init__(config, backbone, image_size, num_classes)
        self.side = bottleneck_side(image_size, backbone.stride)
        self.heads = PartHeads(backbone.num_features, config.num_parts, config.part_dim)
        self.decoder = pyramid_decoder(config.num_parts * config.part_dim, backbone.stride)
        self.add_discriminator()

    def noise(self) -> dict[str, Noise]:
        """Normal draws for appearance, uniform ones for occurrence."""
        n, d = self.config.num_parts, self.config.part_dim
        return {
            "appearance": Noise("normal", (n, d)),
            "occurrence": Noise("uniform", (n, self.side, self.side)),
        }

    def schedule(self, step: int) -> dict[str, float]:
        """The relaxed Bernoulli's temperature: max(min, start * exp(-rate * step)).

        The compounded form is the reference's: after 1, 1001, 2001, ... completed steps the current
        temperature is multiplied by exp(-rate * step).
        """
        c = self.config
        if c.annealing == "exponential":
            exponent = step
        else:
            decays = (step + 999) // 1000
            exponent = decays + 1000 * (decays * (decays - 1) // 2)
        return {"temperature": max(c.temperature_min, c.temperature * math.exp(-c.anneal_rate * exponent))}

    def assemble(
        self, appearance: Float[Tensor, "b n d"], occurrence: Float[Tensor, "b n h w"]
    ) -> Float[Tensor, "b nd h w"]:
        """The patch latent code: the appearance of each part at every location where it occurs (section 3.2)."""
        return (appearance[..., None, None] * occurrence.unsqueeze(2)).flatten(1, 2)

    def infer(self, image: Float[Tensor, "b 3 h w"], noise: Noises, schedule: Schedule) -> Posterior:
        """Encode, sample appearance and occurrence, decode."""
        c = self.config
        parts = self.heads(self.backbone(image))
        mu, var = pool_appearance(parts, detach=c.detach_pool, average_variance=c.pool_variance)
        appearance = losses.gaussian_sample(mu, var, noise["appearance"])
        occurrence = losses.relaxed_bernoulli(parts.occurrence, noise["occurrence"], schedule["temperature"])
        kl_app = losses.kl_normal(mu.flatten(1), var.flatten(1))
        kl_occ = losses.kl_bernoulli(parts.occurrence, c.prior)
        recon = self.decoder(self.assemble(appearance, occurrence))
        kl = c.beta_app * kl_app + c.beta_occ * kl_occ
        return Posterior(recon, kl, {"kl_app": kl_app, "kl_occ": kl_occ})

    def decode_mean(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Decode the mean appearance weighted by the probability of occurrence."""
        return self.decode_parts(self.parts(image))

    def parts(self, image: Float[Tensor, "b 3 h w"]) -> PartMaps:
        """Q^O's probabilities, and the mean of z_app, averaged over locations weighted by them (section 3.2)."""
        parts = self.heads(self.backbone(image))
        return PartMaps(torch.sigmoid(parts.occurrence), pool_appearance(parts)[0])

    def decode_parts(self, parts: PartMaps) -> Float[Tensor, "b 3 h w"]:
        """G(z_app placed where its part occurs), section 3.2, "Image Decoding"."""
        return self.decoder(self.assemble(parts.appearance, parts.occurrence))
