"""Closed forms against Monte Carlo, loops and hand-computed images."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Bernoulli, Normal, RelaxedBernoulli, kl_divergence

from models import losses
from models.patchvae import Parts, pool_appearance


def test_kl_normal_agrees_with_monte_carlo():
    g = torch.Generator().manual_seed(0)
    mu = torch.randn(3, 5, generator=g, dtype=torch.float64)
    var = torch.rand(3, 5, generator=g, dtype=torch.float64) + 0.1
    z = mu + var.sqrt() * torch.randn(400_000, 3, 5, generator=g, dtype=torch.float64)
    q, p = Normal(mu, var.sqrt()), Normal(torch.zeros_like(mu), torch.ones_like(mu))
    sampled = (q.log_prob(z) - p.log_prob(z)).sum(-1).mean(-1)
    error = sampled.std() / math.sqrt(len(sampled))
    assert abs(losses.kl_normal(mu, var) - sampled.mean()) < 5 * error
    assert error < 0.01


def test_kl_bernoulli_agrees_with_monte_carlo_and_torch():
    g = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(4, 2, 3, 3, generator=g, dtype=torch.float64)
    q, p = Bernoulli(logits=logits), Bernoulli(torch.full_like(logits, 1 / 16))
    assert losses.kl_bernoulli(logits, 1 / 16).item() == pytest.approx(
        kl_divergence(q, p).sum((1, 2, 3)).mean().item(), rel=1e-12
    )
    z = torch.bernoulli(torch.sigmoid(logits).expand(100_000, *logits.shape), generator=g)
    sampled = (q.log_prob(z) - p.log_prob(z)).flatten(2).sum(-1).mean(-1)
    error = sampled.std() / math.sqrt(len(sampled))
    assert abs(losses.kl_bernoulli(logits, 1 / 16) - sampled.mean()) < 5 * error


def test_kl_bernoulli_is_finite_where_the_probability_saturates():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    value = losses.kl_bernoulli(logits, 1 / 16)
    value.backward()
    assert value.item() == pytest.approx(-math.log1p(-1 / 16) + math.log(16))
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_relaxed_bernoulli_tends_to_hard_samples():
    g = torch.Generator().manual_seed(2)
    logits = torch.randn(200_000, generator=g, dtype=torch.float64)
    u = torch.rand(200_000, generator=g, dtype=torch.float64)
    soft = losses.relaxed_bernoulli(logits, u, torch.tensor(1e-3, dtype=torch.float64))
    hard = (u > 1 - torch.sigmoid(logits)).double()
    assert (soft - hard).abs().gt(0.01).double().mean() < 0.005
    assert soft.mean().item() == pytest.approx(torch.sigmoid(logits).mean().item(), abs=0.005)


def test_relaxed_bernoulli_has_torchs_distribution():
    g = torch.Generator().manual_seed(3)
    logit, temperature = torch.tensor(0.7, dtype=torch.float64), torch.tensor(0.6, dtype=torch.float64)
    u = torch.rand(100_000, generator=g, dtype=torch.float64)
    ours = losses.relaxed_bernoulli(logit.expand(100_000), u, temperature).sort().values
    torch.manual_seed(0)
    theirs = RelaxedBernoulli(temperature, logits=logit).rsample(torch.Size([100_000])).sort().values
    assert (ours - theirs).abs().max() < 0.02


def test_relaxed_bernoulli_survives_the_ends_of_the_uniform():
    value = losses.relaxed_bernoulli(torch.zeros(2), torch.tensor([0.0, 1.0]), torch.tensor(0.1))
    assert torch.isfinite(value).all()


def test_squared_error_is_summed_over_pixels_and_averaged_over_the_batch():
    recon, image = torch.zeros(2, 3, 4, 4), torch.ones(2, 3, 4, 4)
    image[1] = 2
    assert losses.squared_error(recon, image).item() == (48 + 4 * 48) / 2
    assert losses.squared_error(recon, image, torch.full_like(image, 0.5)).item() == (48 + 4 * 48) / 4


def test_laplacian_weights_of_a_hand_computed_image():
    # One bright pixel in the upper left patch: |Laplacian| is 4 there and 1 at its four neighbours, so the patch
    # averages 8/64; a dark one of height 3 in the lower right averages 24/64; the other two patches have none.
    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 3, 3] = 1.0
    image[0, 0, 12, 12] = -3.0
    expected = np.zeros((16, 16))
    expected[:8, :8] = 1.0
    expected[8:, 8:] = 3.0
    weights = losses.laplacian_weights(image, 8)[0, 0].numpy()
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.mean() == pytest.approx(1.0)


def test_laplacian_replicates_the_border():
    ramp = torch.arange(16.0).repeat(16, 1)[None, None]
    edges = losses.laplacian(ramp)[0, 0]
    assert torch.all(edges[:, 1:-1] == 0)
    assert torch.all(edges[:, 0] == 1)
    assert torch.all(edges[:, -1] == 1)


def test_laplacian_weights_are_by_channel_and_one_where_flat():
    image = torch.zeros(1, 2, 16, 16)
    image[0, 1, 3, 3] = 1.0
    weights = losses.laplacian_weights(image, 8)[0]
    assert torch.all(weights[0] == 1)
    assert weights[1].max().item() == pytest.approx(4.0)


def test_laplacian_weights_carry_no_gradient_and_cover_ragged_borders():
    image = torch.randn(2, 3, 20, 12, requires_grad=True)
    weights = losses.laplacian_weights(image, 8)
    assert not weights.requires_grad
    assert weights.shape == image.shape
    torch.testing.assert_close(weights.mean((-2, -1)), torch.ones(2, 3))


@pytest.mark.parametrize("average_variance", [True, False])
def test_pooled_appearance_is_the_loop_over_locations(average_variance):
    g = torch.Generator().manual_seed(4)
    b, n, d, h, w = 2, 3, 4, 2, 2
    parts = Parts(
        torch.randn(b, n, d, h, w, generator=g, dtype=torch.float64),
        torch.randn(b, n, d, h, w, generator=g, dtype=torch.float64),
        torch.randn(b, n, h, w, generator=g, dtype=torch.float64),
    )
    mu, var = pool_appearance(parts, average_variance=average_variance)
    for i in range(b):
        for part in range(n):
            p = torch.sigmoid(parts.occurrence[i, part])
            for k in range(d):
                mean = spread = 0.0
                for y in range(h):
                    for x in range(w):
                        weight = (p[y, x] / p.sum()).item()
                        mean += weight * parts.mu[i, part, k, y, x].item()
                        v = math.exp(parts.logvar[i, part, k, y, x].item())
                        spread += (weight if average_variance else weight**2) * v
                assert mu[i, part, k].item() == pytest.approx(mean, rel=1e-5)
                assert var[i, part, k].item() == pytest.approx(spread, rel=1e-5)


def test_pooling_weights_are_detached_unless_asked():
    occurrence = torch.randn(1, 2, 2, 2, requires_grad=True)
    parts = Parts(torch.randn(1, 2, 3, 2, 2), torch.randn(1, 2, 3, 2, 2), occurrence)
    assert not pool_appearance(parts, detach=True)[0].requires_grad
    assert pool_appearance(parts, detach=False)[0].requires_grad


def test_binary_cross_entropy_is_torchs():
    logits = torch.tensor([-3.0, 0.5, 40.0])
    for real in (True, False):
        target = torch.full_like(logits, float(real))
        expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, target)
        torch.testing.assert_close(losses.binary_cross_entropy(logits, real=real), expected)
