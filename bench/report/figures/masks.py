"""Figure 6: what the weighted loss L_w looks at, from `masks.npz` of the evaluation `reconstruction`."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from bench.records import Run
from bench.report.figures import raster
from bench.report.figures.rows import NOT_HERE, Absent, Arrays, DatasetRows, evaluated, named, open_arrays
from bench.report.model import Facts, Figure, Picture
from bench.report.panel import RowRuns
from bench.report.words import count

SHOWN = 8


def masks(rows: DatasetRows) -> Figure | Absent | None:
    """Images, |Laplacian|, weights, image times weights; once for all rows that weigh alike."""
    title = f"Figure 6. Weight masks of L_w, {rows.title}"
    opened = open_arrays(rows, "masks", ("images", "laplacian", "weights"), _weighted)
    if not opened.found:
        return Absent(title, NOT_HERE) if opened.missing else None
    groups: dict[str, list[Arrays]] = {}
    for one in opened.found:
        whole = b"".join(np.ascontiguousarray(one.arrays[name]).tobytes() for name in ("images", "weights"))
        groups.setdefault(hashlib.sha256(whole).hexdigest(), []).append(one)
    number = min(_shown(one.arrays["images"]) for one in opened.found)
    caption = (
        f"{count(number, 'test image')} of {rows.title}, drawn at random. Second row: the absolute Laplacian,"
        " mean over channels. Third: the weight of each pixel's squared error in L_w, the Laplacian averaged over"
        " square patches and scaled to mean one. Last: the image times its weight. All depend on the image and"
        " its input scale alone, not on what was learned, so methods that agree in these share a picture."
        f" {opened.note()}"
    )
    facts = Facts(
        ("Method", "Median weight", "Largest weight", "Weight on the heaviest tenth of pixels, %"),
        tuple(_facts(group) for group in groups.values()),
    )
    pictures = tuple(_picture(group) for group in groups.values())
    return Figure(f"{rows.name}-figure-6", title, caption, pictures, (facts,))


def _weighted(row: RowRuns) -> Iterable[tuple[int, Run]]:
    weighs = row.pretrain["method_config"].get("weighted")
    return evaluated(row, "reconstruction") if weighs else ()


def _shown(images: np.ndarray) -> int:
    return raster.beside(images.shape[-1], min(SHOWN, len(images)))


def _picture(group: Sequence[Arrays]) -> Picture:
    arrays = group[0].arrays
    n = _shown(arrays["images"])
    images = [raster.pixels(image) for image in arrays["images"][:n]]
    laplacian, weights = (arrays[name][:n].mean(1) for name in ("laplacian", "weights"))
    steep, heavy = float(laplacian.max()), float(weights.max())
    lines = [
        ("image", images),
        ("|Laplacian|", [raster.grey(values, steep) for values in laplacian]),
        ("weight", [raster.grey(values, heavy) for values in weights]),
        ("image × weight", [_weighed(*pair, heavy) for pair in zip(images, weights, strict=True)]),
    ]
    drawn = raster.sheet(
        [[raster.Tile(raster.enlarge(image)) for image in line] for _, line in lines],
        labels=[label for label, _ in lines],
        scales=(raster.grey_scale("|Laplacian|", steep), raster.grey_scale("weight", heavy)),
    )
    alt = "Rows of test images, their absolute Laplacians, the weights of their pixels, and images times weights"
    return raster.picture(named(group), group[0].seed, drawn, alt)


def _weighed(image: np.ndarray, weights: np.ndarray, high: float) -> np.ndarray:
    return np.rint(image * (weights / (high or 1.0))[..., None]).astype(np.uint8)


def _facts(group: Sequence[Arrays]) -> tuple[str, ...]:
    weights = group[0].arrays["weights"].mean(1)
    weights = np.sort(weights.reshape(len(weights), -1), axis=1)
    top = weights[:, -max(1, weights.shape[1] // 10) :].sum() / weights.sum()
    return (
        ", ".join(one.label for one in group),
        f"{np.median(weights):.2f}",
        f"{weights.max():.2f}",
        f"{100 * top:.1f}",
    )
