"""The k nearest neighbours vote, as in Wu et al., CVPR 2018, https://arxiv.org/abs/1805.01978."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

# Similarities, or votes before they are summed, that are kept at once: 128 MiB in single precision.
PAIRS = 1 << 25


def knn_votes(
    train: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    test: Float[Tensor, "m d"],
    *,
    num_classes: int,
    k: int,
    temperature: float,
    between: Callable[[], None] = lambda: None,
) -> Float[Tensor, "m classes"]:
    """Votes for each class: the sum over the k nearest of exp(cosine similarity / temperature).

    Args:
        train: features of labelled images.
        labels: of them.
        test: features of the images to classify.
        num_classes: width of the result.
        k: neighbours that vote; all of them where there are fewer.
        temperature: of the votes.
        between: called between chunks of images; may raise to end the work.

    Returns:
        Votes divided by the nearest neighbour's, zero for a class that none of the k has.
    """
    bank = F.normalize(train, dim=1)
    k = min(k, len(bank))
    votes = []
    for chunk in F.normalize(test, dim=1).split(max(1, PAIRS // max(len(bank), k * num_classes))):
        between()
        near = (chunk @ bank.T).topk(k, 1)
        weights = ((near.values - near.values[:, :1]) / temperature).exp()
        # Not scattered: a GPU adds in whatever order, and so not to the same bits twice.
        votes.append((F.one_hot(labels[near.indices], num_classes) * weights[..., None]).sum(1))
    return torch.cat(votes)
