"""How well a method's images repeat those it was shown, and what its code costs. Test images only.

PSNR and SSIM are torchmetrics', of images on [0, 1] (reconstructions are clamped), data range 1.0, computed for each
image and averaged over images. PSNR = -10 log10(mean squared error over the image's pixels and channels). SSIM (Wang
et al., 2004) has a Gaussian window (sigma 1.5 pixels, 11x11), K1 = 0.01, K2 = 0.03 and population variances; it is
averaged over channels and over windows around every pixel, the image mirrored beyond its edges.

Distortion and rate are the two sides of the ELBO, unweighted: the squared error on the network's scale, summed over
pixels and channels, of one sample of the posterior, and the KL in nats, summed over latents; means over images. A
method without a posterior has no rate, and its distortion is that of its only reconstruction.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.data.arrays import Split
from bench.engines import draw
from bench.errors import BenchError
from bench.evaluations.settings import ReconstructionSettings
from bench.evaluations.task import Findings, Task
from models import losses
from models.method import Method

DATA_RANGE = 1.0
PICTURES = 16


def window(sigma: float) -> int:
    """Side of SSIM's window, in pixels: three and a half deviations to either side."""
    return 2 * int(3.5 * sigma + 0.5) + 1


def psnr(made: Float[Tensor, "b 3 h w"], image: Float[Tensor, "b 3 h w"]) -> Float[Tensor, " b"]:
    """Of each image, in dB; both on [0, 1]."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    found = peak_signal_noise_ratio(made, image, data_range=DATA_RANGE, dim=(1, 2, 3), reduction="none")
    return found.reshape(len(image))


def ssim(
    made: Float[Tensor, "b 3 h w"], image: Float[Tensor, "b 3 h w"], sigma: float
) -> Float[Tensor, " b"]:
    """Of each image; both on [0, 1] and at least as large as the window."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    found = structural_similarity_index_measure(
        made, image, sigma=sigma, data_range=DATA_RANGE, reduction="none"
    )
    assert isinstance(found, Tensor)
    return found.reshape(len(image))


@torch.no_grad()
def reconstruction(task: Task) -> Findings:
    """PSNR, SSIM, distortion and rate of the test images.

    Saves "per_image": psnr, ssim and distortion, float32 [n]; of a method that weighs its pixels also "masks": 16
    test images, uint8, with |Laplacian| and weights on the network's scale, float32 [16, 3, h, w].
    """
    s: ReconstructionSettings = task.settings
    method, pixels = task.method(), task.pixels(task.data.test)
    found: dict[str, list[Tensor]] = {"psnr": [], "distortion": []}
    if task.config["image_size"] >= window(s.sigma):
        found["ssim"] = []
    terms: dict[str, list[float]] = {}
    counts: list[int] = []
    for step, index in enumerate(task.chunks(len(pixels), ahead=pixels)):
        image, _ = pixels.batch(index)
        made = method.reconstruct(image)
        if made is None:
            name = task.config["pretrain"]["method"]
            raise BenchError(f"{name} is registered with a decoder and reconstructs nothing")
        noise = draw(method.noise(), len(index), task.seed, "evaluate", step, image)
        posterior = method.infer(image, noise, task.schedule(method, image))
        sample = made if posterior is None else posterior.recon
        found["distortion"].append((sample - image).square().flatten(1).double().sum(1))
        unit, shown = pixels.to_unit(image), pixels.to_unit(made)
        found["psnr"].append(psnr(shown, unit))
        if "ssim" in found:
            found["ssim"].append(ssim(shown, unit, s.sigma))
        for name, value in (posterior.terms if posterior is not None else {}).items():
            terms.setdefault(name, []).append(float(value))
        counts.append(len(index))
        task.told(sum(counts), len(pixels))
    whole = {name: torch.cat(parts).double().cpu().numpy() for name, parts in found.items()}
    task.attempt.save_arrays(
        "per_image", **{name: values.astype(np.float32) for name, values in whole.items()}
    )
    _save_masks(task, method)
    metrics = {name: float(whole[name].mean()) for name in ("psnr", "ssim", "distortion") if name in whole}
    rates = {name: float(np.average(values, weights=counts)) for name, values in terms.items()}
    if rates:
        metrics["rate"] = sum(rates.values())
        metrics |= {f"rate_{name}": value for name, value in rates.items()}
    facts = {
        "data_range": DATA_RANGE,
        "ssim_sigma": s.sigma,
        "ssim_window": window(s.sigma),
        "scale": task.scale,
        "schedule": method.schedule(task.steps),
        "sampled": bool(rates),
    }
    return Findings(metrics, facts)


def _save_masks(task: Task, method: Method) -> None:
    test = task.data.test
    chosen = task.pictures(test, PICTURES)
    images = np.array(test.images[chosen])
    few = task.pixels(Split(images, test.labels[chosen]))
    image, _ = few.batch(torch.arange(len(few), device=task.device))
    weights = method.pixel_weights(image)
    if weights is not None:
        task.attempt.save_arrays(
            "masks",
            images=images,
            laplacian=losses.laplacian(image).cpu().numpy(),
            weights=weights.cpu().numpy(),
        )
