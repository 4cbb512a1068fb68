"""beta-VAE: Higgins et al., ICLR 2017, https://openreview.net/forum?id=Sy2fzU9gl, sized as in Tables 8-11."""

from jaxtyping import Float
from torch import Tensor, nn

from models import losses
from models.autoencoder import Autoencoder
from models.backbones import Backbone
from models.configs import BetaVAEConfig
from models.method import Noise, Noises, Posterior, Schedule, bottleneck_side, init_heads
from models.networks import vector_decoder


class VectorHeads(nn.Module):
    """A 1x1 convolution, BN and ReLU, then one convolution as wide as the map for each output vector."""

    def __init__(self, channels: int, reduced: int, side: int, **outputs: int) -> None:
        super().__init__()
        self.reduce = nn.Sequential(
            nn.Conv2d(channels, reduced, 1, bias=False), nn.BatchNorm2d(reduced), nn.ReLU(inplace=True)
        )
        self.outputs = nn.ModuleDict({name: nn.Conv2d(reduced, dim, side) for name, dim in outputs.items()})
        init_heads(self)

    def forward(self, features: Float[Tensor, "b c h w"]) -> list[Tensor]:
        """Vectors [b, dim, 1, 1], in the order they were named."""
        reduced = self.reduce(features)
        return [layer(reduced) for layer in self.outputs.values()]


class BetaVAE(Autoencoder[BetaVAEConfig]):
    """L = ||x - G(z)||^2 + beta * KL[Q(z|x) || N(0, I)] (equation 3), z ~ N(mu(x), sigma^2(x))."""

    def __init__(
        self, config: BetaVAEConfig, backbone: Backbone, image_size: int, num_classes: int | None = None
    ) -> None:
        super().__init__(config, backbone, image_size, num_classes)
        side = bottleneck_side(image_size, backbone.stride)
        dim = config.latent_dim
        self.heads = VectorHeads(backbone.num_features, config.reduced_channels, side, mu=dim, logvar=dim)
        self.decoder = vector_decoder(dim, side, backbone.stride)
        self.add_discriminator()

    def noise(self) -> dict[str, Noise]:
        """Normal draws for z."""
        return {"z": Noise("normal", (self.config.latent_dim, 1, 1))}

    def infer(self, image: Float[Tensor, "b 3 h w"], noise: Noises, schedule: Schedule) -> Posterior:
        """Encode, sample z, decode."""
        del schedule
        mu, logvar = self.heads(self.backbone(image))
        var = logvar.exp()
        kl = losses.kl_normal(mu.flatten(1), var.flatten(1))
        recon = self.decoder(losses.gaussian_sample(mu, var, noise["z"]))
        return Posterior(recon, self.config.beta * kl, {"kl": kl})

    def decode_mean(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Decode mu."""
        mu, _ = self.heads(self.backbone(image))
        return self.decoder(mu)
