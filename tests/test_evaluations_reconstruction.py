"""PSNR and SSIM by their formulas, distortion and rate by theirs, masks as the loss has them."""

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d

from bench.data.batches import Pixels
from bench.evaluations.reconstruction import psnr, ssim, window
from bench.streams import stream
from models import losses
from tests.evaluating import STEPS, judge, pretrained
from tests.learning import noise_data

SIDE = 32


def plain_ssim(x, y, sigma=1.5):
    """Wang et al., 2004, equation 13, for one image [3, h, w] on [0, 1]; mirrored beyond its edges."""
    side = window(sigma)
    offsets = np.arange(side) - side // 2
    kernel = np.exp(-(offsets**2) / (2 * sigma**2))
    kernel /= kernel.sum()

    def local(values):
        return correlate1d(correlate1d(values, kernel, axis=1, mode="mirror"), kernel, axis=2, mode="mirror")

    mx, my = local(x), local(y)
    vx, vy, cov = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    return ((2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))).mean()


@pytest.fixture
def pair():
    g = torch.Generator().manual_seed(0)
    image = torch.rand(4, 3, SIDE, SIDE, generator=g, dtype=torch.float64)
    return (image + 0.1 * torch.randn(image.shape, generator=g, dtype=torch.float64)).clamp(0, 1), image


def test_psnr_is_that_of_each_image(pair):
    made, image = pair
    expected = [
        -10 * math.log10(((a - b) ** 2).mean()) for a, b in zip(*(p.numpy() for p in pair), strict=True)
    ]
    np.testing.assert_allclose(psnr(made, image), expected)


@pytest.mark.parametrize("sigma", [1.5, 0.8])
def test_ssim_is_the_plain_formula(pair, sigma):
    made, image = pair
    expected = [plain_ssim(a, b, sigma) for a, b in zip(*(p.numpy() for p in pair), strict=True)]
    np.testing.assert_allclose(ssim(made, image, sigma), expected, rtol=1e-6)
    np.testing.assert_allclose(ssim(image, image, sigma), 1.0)
    assert window(1.5) == 11


@pytest.mark.parametrize("name", ["beta-vae", "patchvae-gan-lw", "bigan"])
def test_all_numbers_are_means_over_test_images_of_what_the_method_makes(name, tmp_path):
    pretrain, weights, method = pretrained(name, tmp_path)
    # So many that a temperature has fallen far.
    steps = 50_000
    result, attempt = judge("reconstruction", pretrain, weights, tmp_path / "1", steps=steps)
    data = noise_data()
    pixels = Pixels(data.test, "cpu", "imagenet")
    image, _ = pixels.batch(torch.arange(20))
    with torch.no_grad():
        made = method.reconstruct(image)
        noise = {
            key: (torch.randn if spec.kind == "normal" else torch.rand)(
                (20, *spec.shape), generator=stream(0, "noise", "evaluate", key, 0)
            )
            for key, spec in method.noise().items()
        }
        schedule = {k: torch.tensor(v) for k, v in method.schedule(steps).items()}
        posterior = method.infer(image, noise, schedule)
    assert made is not None
    original = data.test.images / 255
    unit = pixels.to_bytes(made).numpy() / 255  # within half a level of what was compared
    metrics = result["metrics"]
    expected = np.mean([-10 * math.log10(((a - b) ** 2).mean()) for a, b in zip(unit, original, strict=True)])
    assert metrics["psnr"] == pytest.approx(expected, abs=0.02)
    expected = np.mean([plain_ssim(a, b) for a, b in zip(unit, original, strict=True)])
    assert metrics["ssim"] == pytest.approx(expected, abs=0.005)
    sample = made if posterior is None else posterior.recon
    assert metrics["distortion"] == pytest.approx(float(losses.squared_error(sample, image)), rel=1e-5)
    per_image = attempt.arrays["per_image"]
    assert {key: values.shape for key, values in per_image.items()} == dict.fromkeys(
        ("psnr", "ssim", "distortion"), (20,)
    )
    assert per_image["psnr"].mean() == pytest.approx(metrics["psnr"], rel=1e-5)
    if posterior is None:
        assert not {key for key in metrics if key.startswith("rate")}
    else:
        assert metrics["rate"] == pytest.approx(float(sum(posterior.terms.values())), rel=1e-5)
        assert {key for key in metrics if key.startswith("rate_")} == {f"rate_{k}" for k in posterior.terms}


def test_the_rate_is_in_nats_and_free_of_beta(tmp_path):
    """Closed form of the KL between normals, from the encoder's own output."""
    pretrain, weights, method = pretrained("beta-vae", tmp_path)
    pretrain["method_config"]["beta"] = 7.0
    result, _ = judge("reconstruction", pretrain, weights, tmp_path / "1")
    image, _ = Pixels(noise_data().test, "cpu", "imagenet").batch(torch.arange(20))
    with torch.no_grad():
        mu, logvar = (t.flatten(1).double() for t in method.get_submodule("heads")(method.backbone(image)))
    kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum(1).mean()
    assert result["metrics"]["rate"] == pytest.approx(float(kl), rel=1e-4)


def test_noise_is_the_seeds_and_reconstructions_need_none(tmp_path):
    found = []
    for seed in (0, 1):
        pretrain, weights, _ = pretrained("patchvae", tmp_path)
        pretrain["seed"] = seed
        found.append(judge("reconstruction", pretrain, weights, tmp_path / str(seed))[0]["metrics"])
    assert found[0]["psnr"] == found[1]["psnr"]
    assert found[0]["distortion"] != found[1]["distortion"]
    assert found[0]["rate"] == pytest.approx(found[1]["rate"])


def test_the_temperature_is_that_at_which_pretraining_ended(tmp_path):
    pretrain, weights, method = pretrained("patchvae", tmp_path)
    facts = judge("reconstruction", pretrain, weights, tmp_path / "1")[0]["facts"]
    assert facts["schedule"] == method.schedule(STEPS) == {"temperature": math.exp(-3e-5 * STEPS)}


def test_methods_that_weigh_pixels_keep_their_masks_and_others_have_none(tmp_path):
    pretrain, weights, _ = pretrained("beta-vae-lw", tmp_path)
    _, attempt = judge("reconstruction", pretrain, weights, tmp_path / "1")
    masks, data = attempt.arrays["masks"], noise_data()
    assert masks["images"].shape == (16, 3, 32, 32)
    where = [int(np.flatnonzero((data.test.images == one).all((1, 2, 3)))[0]) for one in masks["images"]]
    assert where == sorted(set(where)), "sixteen images of the test split"
    image, _ = Pixels(data.test, "cpu", "imagenet").batch(torch.tensor(where))
    np.testing.assert_array_equal(masks["laplacian"], losses.laplacian(image))
    np.testing.assert_array_equal(masks["weights"], losses.laplacian_weights(image, 8))
    np.testing.assert_allclose(masks["weights"].mean((-2, -1)), 1, rtol=1e-5)
    pretrain, weights, _ = pretrained("beta-vae", tmp_path)
    assert "masks" not in judge("reconstruction", pretrain, weights, tmp_path / "2")[1].arrays


def test_images_smaller_than_the_window_have_no_ssim(tmp_path):
    pretrain, weights, _ = pretrained("patchvae", tmp_path, size=8)
    result, _ = judge("reconstruction", pretrain, weights, tmp_path / "1", noise_data(size=8))
    assert "ssim" not in result["metrics"]
    assert result["metrics"]["psnr"] > 0
