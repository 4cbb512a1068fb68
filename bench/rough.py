"""Orders of magnitude of what cells take, where nothing better is known. No torch."""

from collections.abc import Mapping
from typing import Literal

from bench.evaluations.registry import EVALUATIONS
from bench.plan import Cell

DeviceKind = Literal["cpu", "gpu"]

# Images a second at 32 pixels with the resnet9 that the paper's methods share: one thread of a server's processor,
# and a guess of a GPU. They fall with the square of the size. Order of magnitude, no more.
ROUGH: Mapping[str, Mapping[DeviceKind, float]] = {
    "pretrain": {"cpu": 350.0, "gpu": 8_000.0},
    "features": {"cpu": 3_000.0, "gpu": 50_000.0},
    "none": {"cpu": 600.0, "gpu": 10_000.0},
    "conv1": {"cpu": 800.0, "gpu": 12_000.0},
    "conv1-3": {"cpu": 1_600.0, "gpu": 20_000.0},
    "other": {"cpu": 10_000.0, "gpu": 50_000.0},
    "evaluate": {"cpu": 250.0, "gpu": 5_000.0},
}
# A method that takes two phases a step, or another method's, in units of a plain autoencoder's.
ROUGH_COST: Mapping[str, float] = {"gan": 3.0, "supervised": 0.5}


def rough_rates(cell: Cell, kind: DeviceKind) -> tuple[float, float]:
    """Seconds an image of training, or of an evaluation, and of computing features."""
    config = cell.config
    scale = ((config["image_size"] or 64) / 32) ** 2
    features = 0.0
    if config["kind"] == "pretrain":
        row = "pretrain"
        scale *= next((cost for part, cost in ROUGH_COST.items() if part in cell.method), 1.0)
    elif config["kind"] == "evaluate":
        row, known = "evaluate", EVALUATIONS.get(config["evaluation"])
        scale *= known.cost if known is not None else 1.0
    else:
        row = config["freeze"] if config["freeze"] in ROUGH else "other"
        features = 0.0 if row == "none" else scale / ROUGH["features"][kind]
    return scale / ROUGH[row][kind], features
