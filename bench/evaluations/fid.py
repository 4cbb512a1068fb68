"""FID and KID between the test images and a method's reconstructions of them, by torch-fidelity.

FID = |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) of the means and covariances of an Inception's features (Heusel et
al., arXiv 1706.08500). KID is the unbiased squared MMD of the same features with the kernel (x.y / d + 1)^3, mean
over random subsets (Binkowski et al., arXiv 1801.01401). FID is biased by the number of images: only values of the
same number compare, and of fewer images than features it says little; KID is free of that.

torch-fidelity's network and formulas; its reading of inputs is left out, since that spawns processes and cannot be
stopped. The images are those of the data set and the reconstructions rounded to 0..255; its network enlarges both to
299 pixels as the original did.
"""

import io
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from bench.errors import BenchError, RecordError
from bench.evaluations.settings import FIDSettings
from bench.evaluations.task import Findings, Task
from bench.files import naming

# Images that go through the Inception at once: at 299 pixels each takes some 20 MiB.
CHUNK = 50
SEED = 2020


def load_inception(path: Path, layer: str) -> nn.Module:
    """torch-fidelity's Inception, uint8 images [b, 3, h, w] -> ([b, d],).

    Its own reader would run what a pickle asks for; it is given a copy that holds tensors and nothing else.

    Raises:
        RecordError: the file does not hold its weights.
    """
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    try:
        with naming(path):
            content = path.read_bytes()
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        copy = io.BytesIO()
        torch.save({str(name): tensor.detach().clone() for name, tensor in dict(state).items()}, copy)
        copy.seek(0)
        return FeatureExtractorInceptionV3(
            "inception-v3-compat",
            [layer],
            feature_extractor_weights_path=copy,  # pyright: ignore[reportArgumentType]
        )
    except Exception as error:
        # A foreign pickle fails in many ways, and so does a foreign layout.
        text = " ".join(str(error).split())[:200]
        raise RecordError(f"{path} does not hold torch-fidelity's Inception: {text}") from error


def frechet_distance(real: Float[Tensor, "n d"], made: Float[Tensor, "m d"]) -> float:
    """FID of features, in double precision."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    one, two = (fid_features_to_statistics(features.double()) for features in (real, made))
    return float(fid_statistics_to_metric(one, two, verbose=False)[KEY_METRIC_FID])


def kernel_distance(
    real: Float[Tensor, "n d"], made: Float[Tensor, "m d"], subsets: int, size: int
) -> tuple[float, float]:
    """KID of features: mean and standard deviation over random subsets of `size` images of each."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    found = kid_features_to_metric(
        real.double(), made.double(), kid_subsets=subsets, kid_subset_size=size, rng_seed=SEED, verbose=False
    )
    return float(found[KEY_METRIC_KID_MEAN]), float(found[KEY_METRIC_KID_STD])


@torch.no_grad()
def fid(task: Task) -> Findings:
    """FID and KID of the test reconstructions.

    Raises:
        RecordError: the file of weights is not what it should be.
        UsageError: it is not there.
    """
    s: FIDSettings = task.settings
    network = load_inception(task.weights_file(), s.layer).to(task.device)
    method, pixels = task.method(), task.pixels(task.data.test)
    count = min(s.images or len(pixels), len(pixels))
    chosen = torch.from_numpy(task.pictures(task.data.test, count, "fid")).to(task.device)
    real, made = [], []
    for part in task.chunks(count, CHUNK):
        index = chosen[part]
        recon = method.reconstruct(pixels.batch(index)[0])
        if recon is None:
            raise BenchError(
                f"{task.config['pretrain']['method']} is registered with a decoder, and has none"
            )
        real.append(_features(network, pixels.rows(index)[0]))
        made.append(_features(network, pixels.to_bytes(recon)))
        task.told(int(part[-1]) + 1, count)
    ours, theirs = torch.cat(made), torch.cat(real)
    size = min(s.kid_subset_size, count)
    kid, deviation = kernel_distance(theirs, ours, s.kid_subsets, size)
    facts: dict[str, Any] = {
        "images": count,
        "features": ours.shape[1],
        "weights_sha256": s.weights_sha256,
        "kid_subset_size": size,
        "kid_subsets_deviation": deviation,
        "kid_seed": SEED,
    }
    return Findings({"fid": frechet_distance(theirs, ours), "kid": kid}, facts)


def _features(network: nn.Module, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
    return network(images)[0].cpu()
