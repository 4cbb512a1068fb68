"""Pure functions on tensors; every loss is summed over an example's entries and averaged over the batch."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


def squared_error(
    recon: Float[Tensor, "b c h w"],
    image: Float[Tensor, "b c h w"],
    weights: Float[Tensor, "b c h w"] | None = None,
) -> Float[Tensor, ""]:
    """Squared error summed over pixels and channels, mean over the batch (equation 2's first term)."""
    error = (recon - image).square()
    if weights is not None:
        error = error * weights
    return error.flatten(1).sum(1).mean()


def kl_normal(mu: Float[Tensor, "b d"], var: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """KL[N(mu, var) || N(0, 1)] in nats, summed over dimensions, mean over the batch."""
    return 0.5 * (mu.square() + var - 1 - var.log()).sum(1).mean()


def kl_bernoulli(logits: Float[Tensor, "b *rest"], prior: float) -> Float[Tensor, ""]:
    """KL[Bern(sigmoid(logits)) || Bern(prior)] in nats, summed over entries, mean over the batch."""
    p = torch.sigmoid(logits)
    present = F.logsigmoid(logits) - math.log(prior)
    absent = F.logsigmoid(-logits) - math.log1p(-prior)
    return (p * present + (1 - p) * absent).flatten(1).sum(1).mean()


def relaxed_bernoulli(
    logits: Float[Tensor, "*shape"], uniform: Float[Tensor, "*shape"], temperature: Float[Tensor, ""]
) -> Float[Tensor, "*shape"]:
    """A sample of the relaxed Bernoulli (Maddison et al., arXiv 1611.00712) from uniform noise in [0, 1)."""
    eps = torch.finfo(uniform.dtype).eps
    u = uniform.clamp(eps, 1 - eps)
    return torch.sigmoid((logits + u.log() - (-u).log1p()) / temperature)


def gaussian_sample(
    mu: Float[Tensor, "*shape"], var: Float[Tensor, "*shape"], normal: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """The reparameterised sample mu + sqrt(var) * normal."""
    return mu + var.sqrt() * normal


def binary_cross_entropy(logits: Float[Tensor, " b"], *, real: bool) -> Float[Tensor, ""]:
    """Cross entropy of "real" (1) or "fake" (0), mean over the batch."""
    return F.softplus(-logits if real else logits).mean()


def laplacian(image: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
    """|Laplacian| of each channel: kernel [[0,1,0],[1,-4,1],[0,1,0]], edges replicated."""
    p = F.pad(image, (1, 1, 1, 1), mode="replicate")
    centre = p[..., 1:-1, 1:-1]
    return (p[..., :-2, 1:-1] + p[..., 2:, 1:-1] + p[..., 1:-1, :-2] + p[..., 1:-1, 2:] - 4 * centre).abs()


def laplacian_weights(image: Float[Tensor, "b c h w"], patch: int = 8) -> Float[Tensor, "b c h w"]:
    """Weights of the weighted loss L_w (section 3.4): |Laplacian| averaged over patches, mean one a channel.

    Differs from the paper: weights average to one over a channel instead of summing to one, so that L2 and L_w
    weigh alike against the KL (as in the authors' code). Patches are 8x8 whatever the backbone's stride. A
    channel without any gradient gets weight one everywhere. No gradient flows through the weights.

    Args:
        image: on the network's scale.
        patch: side of the square patches, in pixels; patches at the right and lower border may be smaller.
    """
    h, w = image.shape[-2:]
    mean = F.avg_pool2d(laplacian(image.detach()), patch, ceil_mode=True, count_include_pad=False)
    mask = mean.repeat_interleave(patch, -2).repeat_interleave(patch, -1)[..., :h, :w]
    total = mask.mean((-2, -1), keepdim=True)
    flat = total <= torch.finfo(total.dtype).tiny
    return torch.where(flat, torch.ones_like(mask), mask / torch.where(flat, torch.ones_like(total), total))
