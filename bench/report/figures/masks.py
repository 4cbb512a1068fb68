"""Figure 6: what the weighted loss L_w looks at, from `masks.npz` of the evaluation `reconstruction`."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.report.figures import raster
from bench.report.figures.rows import Absent, DatasetRows, evaluated
from bench.report.model import Facts, Figure, Picture
from bench.report.words import count

SHOWN = 8
MOST_ROWS = 12
TITLE = "Figure 6. Weight masks of L_w"


class Masks(NamedTuple):
    """Images with the |Laplacian| and the weight of each pixel, both averaged over channels."""

    label: str
    seed: int
    images: np.ndarray
    laplacian: np.ndarray
    weights: np.ndarray


def masks(rows: DatasetRows) -> Figure | Absent | None:
    """Images, |Laplacian|, weights, image times weights; once for all rows that weigh alike."""
    found, missing = _masks(rows)
    if not found:
        return Absent(f"{TITLE}, {rows.title}", "pictures are not in these records") if missing else None
    groups: dict[str, list[Masks]] = {}
    for one in found:
        whole = b"".join(np.ascontiguousarray(part).tobytes() for part in (one.images, one.weights))
        groups.setdefault(hashlib.sha256(whole).hexdigest(), []).append(one)
    pictures = tuple(_picture(group) for group in groups.values())
    number = min(_shown(one) for one in found)
    caption = (
        f"{count(number, 'test image')} of {rows.where} (the first of the test split, not chosen). Second row: the"
        " absolute Laplacian, mean over channels. Third: the weight of each pixel's squared error in L_w: the"
        " Laplacian averaged over square patches and scaled to mean one. Last: the image times its weight. All"
        " depend on the image and its input scale alone, not on what was learned, so methods that agree in these"
        " share a picture."
    )
    facts = Facts(
        (
            "Method",
            "median weight",
            "largest weight",
            "share of the weight on the heaviest tenth of pixels, %",
        ),
        tuple(_facts(group) for group in groups.values()),
    )
    name = f"{rows.name}-figure-6"
    return Figure(name, f"{TITLE}, {rows.title}", caption, pictures, (facts,))


def _masks(rows: DatasetRows) -> tuple[list[Masks], bool]:
    """Of the lowest seed of each row that has them; and whether a weighted method's evaluation lacks them."""
    found, missing = [], False
    for row in rows.rows.values():
        if not row.pretrain["method_config"].get("weighted"):
            continue
        for seed, run in evaluated(row, "reconstruction"):
            arrays = run.arrays("masks") if len(found) < MOST_ROWS else None
            if arrays and {"images", "laplacian", "weights"} <= arrays.keys() and len(arrays["images"]):
                maps = [arrays[name].mean(1) for name in ("laplacian", "weights")]
                found.append(Masks(row.label, seed, arrays["images"], *maps))
            else:
                missing = True
            break
    return found, missing


def _shown(one: Masks) -> int:
    return raster.beside(one.images.shape[-1], min(SHOWN, len(one.images)))


def _picture(group: Sequence[Masks]) -> Picture:
    one = group[0]
    n = _shown(one)
    images = [raster.pixels(image) for image in one.images[:n]]
    steep, heavy = (float(maps[:n].max()) for maps in (one.laplacian, one.weights))
    lines = [
        ("image", images),
        ("|Laplacian|", [raster.grey(values, steep) for values in one.laplacian[:n]]),
        ("weight", [raster.grey(values, heavy) for values in one.weights[:n]]),
        ("image × weight", [_weighed(*pair, heavy) for pair in zip(images, one.weights[:n], strict=True)]),
    ]
    tiles = [[raster.Tile(raster.enlarge(image)) for image in line] for _, line in lines]
    drawn = raster.sheet(
        tiles,
        labels=[label for label, _ in lines],
        scales=(raster.grey_scale("|Laplacian|", steep), raster.grey_scale("weight", heavy)),
    )
    names = ", ".join(mask.label for mask in group)
    alt = "Rows of test images, their absolute Laplacians, the weights of their pixels, and images times weights"
    return Picture(names, one.seed, raster.png(drawn), drawn.width, drawn.height, alt)


def _weighed(image: np.ndarray, weights: np.ndarray, high: float) -> np.ndarray:
    return np.rint(image * (weights / (high or 1.0))[..., None]).astype(np.uint8)


def _facts(group: Sequence[Masks]) -> tuple[str, ...]:
    weights = np.sort(group[0].weights.reshape(len(group[0].weights), -1), axis=1)
    top = weights[:, -max(1, weights.shape[1] // 10) :].sum() / weights.sum()
    return (
        ", ".join(one.label for one in group),
        f"{np.median(weights):.2f}",
        f"{weights.max():.2f}",
        f"{100 * top:.1f}",
    )
