"""BiGAN: Donahue, Krähenbühl and Darrell, ICLR 2017, https://arxiv.org/abs/1605.09782, sized as in Tables 8-11."""

import torch
from jaxtyping import Float
from torch import Tensor

from models import losses
from models.backbones import Backbone
from models.beta_vae import VectorHeads
from models.configs import BiGANConfig
from models.method import Batch, Losses, Method, Noise, Noises, Phase, Schedule, bottleneck_side
from models.networks import JointDiscriminator, vector_decoder


class BiGAN(Method[BiGANConfig]):
    """min over E, G and max over D of log D(x, E(x)) + log(1 - D(G(z), z)), z ~ N(0, I), batch means.

    The encoder and generator minimise the swapped cross entropy (the non-saturating form of the paper).
    """

    phases = (
        Phase("discriminate", ("discriminator",)),
        Phase("fool", ("backbone", "heads", "generator")),
    )

    def __init__(
        self, config: BiGANConfig, backbone: Backbone, image_size: int, num_classes: int | None = None
    ) -> None:
        super().__init__(config, backbone, image_size, num_classes)
        side = bottleneck_side(image_size, backbone.stride)
        self.heads = VectorHeads(backbone.num_features, config.reduced_channels, side, code=config.latent_dim)
        self.generator = vector_decoder(config.latent_dim, side, backbone.stride)
        self.discriminator = JointDiscriminator(config.latent_dim, config.joint_channels)

    def noise(self) -> dict[str, Noise]:
        """Normal draws for the generator's z."""
        return {"z": Noise("normal", (self.config.latent_dim, 1, 1))}

    def encode(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d 1 1"]:
        """E(x)."""
        return self.heads(self.backbone(image))[0]

    def discriminate(self, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """Cross entropy of telling (x, E(x)) from (G(z), z)."""
        del schedule
        with torch.no_grad():
            code, fake = self.encode(batch.image), self.generator(noise["z"])
        real = losses.binary_cross_entropy(self.discriminator(batch.image, code), real=True)
        generated = losses.binary_cross_entropy(self.discriminator(fake, noise["z"]), real=False)
        return {"loss": real + generated, "d_real": real, "d_fake": generated}

    def fool(self, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
        """The same with the answers swapped."""
        del schedule
        encoded = self.discriminator(batch.image, self.encode(batch.image))
        generated = self.discriminator(self.generator(noise["z"]), noise["z"])
        encoder = losses.binary_cross_entropy(encoded, real=False)
        generator = losses.binary_cross_entropy(generated, real=True)
        return {"loss": encoder + generator, "fool_encoder": encoder, "fool_generator": generator}

    @torch.no_grad()
    def reconstruct(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """G(E(x))."""
        return self.generator(self.encode(image))
