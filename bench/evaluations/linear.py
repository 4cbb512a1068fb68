"""A linear probe: multinomial logistic regression by L-BFGS over all images at once. Nothing in it is random."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


@dataclass(frozen=True)
class Linear:
    """A classifier on features that are standardised first.

    Attributes:
        mean: of the training features.
        deviation: of them; one where a feature never changes.
        weight: on standardised features.
        bias: one a class.
        iterations: that L-BFGS took.
    """

    mean: Float[Tensor, " d"]
    deviation: Float[Tensor, " d"]
    weight: Float[Tensor, "classes d"]
    bias: Float[Tensor, " classes"]
    iterations: int

    def logits(self, features: Float[Tensor, "m d"]) -> Float[Tensor, "m classes"]:
        """Of images by their features."""
        return torch.cat(
            [
                ((chunk - self.mean) / self.deviation) @ self.weight.T + self.bias
                for chunk in features.split(4096)
            ]
        )


# L-BFGS ends when an iteration lowers the loss by less, in nats: far less than any choice here can tell.
TOLERANCE = 1e-5
# And where strengths are only compared, whose losses differ by hundredths.
ROUGH = 1e-3


def fit(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    l2: float,
    *,
    num_classes: int,
    max_iter: int,
    start: Linear | None = None,
    tolerance: float = TOLERANCE,
    between: Callable[[], None] = lambda: None,
) -> Linear:
    """Minimise mean cross entropy + l2/2 * ||W||^2.

    Args:
        features: of the labelled images; standardised here by their own mean and deviation.
        labels: of them.
        l2: strength of the penalty on W; the biases are free.
        num_classes: rows of W.
        max_iter: iterations of L-BFGS.
        start: where to begin; None is at zero.
        tolerance: see `TOLERANCE`.
        between: called before every evaluation of the loss; may raise to end the work.
    """
    mean = features.mean(0)
    deviation = (features - mean).square().mean(0).sqrt()
    deviation = torch.where(deviation > 1e-6 * (mean.abs() + 1), deviation, torch.ones_like(deviation))
    x = (features - mean) / deviation
    weight = x.new_zeros(num_classes, x.shape[1]) if start is None else start.weight.clone()
    bias = x.new_zeros(num_classes) if start is None else start.bias.clone()
    optimizer = torch.optim.LBFGS(
        [weight.requires_grad_(), bias.requires_grad_()],
        max_iter=max_iter,
        max_eval=2 * max_iter,
        history_size=10,
        tolerance_grad=1e-7,
        tolerance_change=tolerance,
        line_search_fn="strong_wolfe",
    )

    def loss() -> Tensor:
        between()
        optimizer.zero_grad()
        value = F.cross_entropy(x @ weight.T + bias, labels) + 0.5 * l2 * weight.square().sum()
        value.backward()
        return value.detach()

    optimizer.step(loss)  # pyright: ignore[reportArgumentType]
    return Linear(mean, deviation, weight.detach(), bias.detach(), int(optimizer.state[weight]["n_iter"]))


@dataclass(frozen=True)
class Choice:
    """How the strength of the penalty was chosen.

    Attributes:
        l2: with the least cross entropy on the held-out images.
        held_out: strength -> that cross entropy, nats, of all that were tried.
        best: the classifier with that strength, of the images that were not held out.
    """

    l2: float
    held_out: dict[float, float]
    best: Linear


def choose_l2(
    features: Float[Tensor, "n d"],
    labels: Int[Tensor, " n"],
    held: tuple[Float[Tensor, "h d"], Int[Tensor, " h"]],
    strengths: Sequence[float],
    **options: Any,
) -> Choice:
    """Try strengths from strong to weak, each from where the one before ended, until held-out images get worse.

    Args:
        features: of the images to fit.
        labels: of them.
        held: features and labels of the images to choose by.
        strengths: in falling order.
        options: see `fit`.
    """
    tried: dict[float, float] = {}
    best = None
    chosen = strengths[0]
    for l2 in strengths:
        model = fit(features, labels, l2, start=best, tolerance=ROUGH, **options)
        tried[l2] = float(F.cross_entropy(model.logits(held[0]), held[1]))
        if tried[l2] > tried[chosen]:
            break
        best, chosen = model, l2
    assert best is not None
    return Choice(chosen, tried, best)
