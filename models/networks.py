"""Decoders and discriminators (Tables 8 to 11)."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

WIDTH = 64
SLOPE = 0.2


def pyramid_decoder(in_channels: int, stride: int) -> nn.Sequential:
    """Double the side and halve the channels from `stride` down to the image (Tables 10 and 11).

    [b, in_channels, s, s] -> [b, 3, s * stride, s * stride] in [-1, 1]. No layer has a bias.
    For stride 8 the channels are 256-128-64-3, for 32 they are 1024-512-256-128-64-3.

    Raises:
        ValueError: the stride is not a power of two, or less than 4.
    """
    doublings = stride.bit_length() - 1
    if 2**doublings != stride or doublings < 2:
        raise ValueError(
            f"no decoder for a backbone of stride {stride}: it must be a power of two, 4 or more"
        )
    channels = WIDTH * 2 ** (doublings - 1)
    layers: list[nn.Module] = [
        nn.ConvTranspose2d(in_channels, channels, 1, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(SLOPE, inplace=True),
    ]
    while channels > WIDTH:
        layers += [
            nn.ConvTranspose2d(channels, channels // 2, 4, 2, 1, bias=False),
            nn.BatchNorm2d(channels // 2),
            nn.LeakyReLU(SLOPE, inplace=True),
        ]
        channels //= 2
    layers += [nn.ConvTranspose2d(channels, 3, 4, 2, 1, bias=False), nn.Tanh()]
    return nn.Sequential(*layers)


def vector_decoder(latent_dim: int, side: int, stride: int, channels: int = WIDTH) -> nn.Sequential:
    """From a vector to the image: one transposed convolution as wide as the bottleneck, then the pyramid.

    [b, latent_dim, 1, 1] -> [b, 3, side * stride, side * stride] in [-1, 1].
    """
    return nn.Sequential(
        nn.ConvTranspose2d(latent_dim, channels, side, bias=False),
        nn.BatchNorm2d(channels),
        nn.LeakyReLU(SLOPE, inplace=True),
        *pyramid_decoder(channels, stride),
    )


def image_tower() -> nn.Sequential:
    """Three 4x4 convolutions of stride 2: 64, 128, 256 channels; no BN on the first, no biases."""
    return nn.Sequential(
        nn.Conv2d(3, WIDTH, 4, 2, 1, bias=False),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(WIDTH, 2 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(2 * WIDTH),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(2 * WIDTH, 4 * WIDTH, 4, 2, 1, bias=False),
        nn.BatchNorm2d(4 * WIDTH),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


class ImageDiscriminator(nn.Module):
    """One logit an image: the tower, a 1x1 convolution, the mean over locations.

    The authors' released discriminator does not build at 32x32 (256 channels meet a convolution for 128); this
    one has the paper's four convolutions, two of them with BN.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tower = image_tower()
        self.logit = nn.Conv2d(4 * WIDTH, 1, 1, bias=False)

    def forward(self, image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
        """Logits of "real"."""
        return self.logit(self.tower(image)).mean((1, 2, 3))


class JointDiscriminator(nn.Module):
    """One logit a pair (x, z): z tiled beside the tower's map, 1x1 to `channels`, LeakyReLU, 1x1, mean."""

    def __init__(self, latent_dim: int, channels: int = 512) -> None:
        super().__init__()
        self.tower = image_tower()
        self.joint = nn.Sequential(
            nn.Conv2d(4 * WIDTH + latent_dim, channels, 1, bias=False),
            nn.LeakyReLU(SLOPE, inplace=True),
            nn.Conv2d(channels, 1, 1, bias=False),
        )

    def forward(self, image: Float[Tensor, "b 3 h w"], z: Float[Tensor, "b d 1 1"]) -> Float[Tensor, " b"]:
        """Logits of "an image and its own code"."""
        features = self.tower(image)
        tiled = z.expand(-1, -1, *features.shape[-2:])
        return self.joint(torch.cat([features, tiled], 1)).mean((1, 2, 3))
