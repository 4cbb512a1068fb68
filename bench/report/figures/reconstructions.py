"""Test images and what each method makes of them, beneath one another."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from bench.report.figures import raster
from bench.report.figures.rows import Absent, DatasetRows
from bench.report.model import Figure, Picture
from bench.report.words import count

SHOWN = 8
# Rows of a table whose arrays are opened for one figure.
MOST_ROWS = 12
TITLE = "Reconstructions"


class Decoded(NamedTuple):
    """What one pretraining made of the test images."""

    label: str
    seed: int
    images: np.ndarray
    made: np.ndarray


def reconstructions(rows: DatasetRows) -> Figure | Absent | None:
    """The first test images above every row's reconstruction of them: a picture a seed."""
    found, done = _decoded(rows)
    if not found:
        return Absent(f"{TITLE}, {rows.title}", "pictures are not in these records") if done else None
    groups: dict[tuple[int, str], list[Decoded]] = {}
    for one in found:
        key = hashlib.sha256(np.ascontiguousarray(one.images).tobytes()).hexdigest()
        groups.setdefault((one.seed, key), []).append(one)
    pictures = tuple(_picture(group) for group in groups.values())
    number = min(_shown(one.images) for one in found)
    caption = (
        f"{count(number, 'test image')} of {rows.where} (the first of the test split, not chosen), and beneath them"
        " what each method makes of them by the mean of its code; each method's lowest seed, pixels repeated without"
        " smoothing."
    )
    return Figure(f"{rows.name}-reconstructions", f"{TITLE}, {rows.title}", caption, pictures)


def _decoded(rows: DatasetRows) -> tuple[list[Decoded], bool]:
    """Of the lowest seed of each row that has them; and whether any run left a result that could have had them."""
    from models.registry import METHODS

    found, done = [], False
    for row in rows.rows.values():
        spec = METHODS.get(row.method)
        for seed, run in sorted(row.pretrains.items()):
            if run.result is None:
                continue
            arrays = run.reconstructions() if len(found) < MOST_ROWS else None
            if arrays and {"images", "reconstructions"} <= arrays.keys() and len(arrays["images"]):
                found.append(Decoded(row.label, seed, arrays["images"], arrays["reconstructions"]))
            done = done or (spec is not None and spec.decoder)
            break
    return found, done


def _shown(images: np.ndarray) -> int:
    return raster.beside(images.shape[-1], min(SHOWN, len(images)))


def _picture(group: Sequence[Decoded]) -> Picture:
    first, n = group[0], _shown(group[0].images)
    lines = [("image", first.images), *((one.label, one.made) for one in group)]
    tiles = [
        [raster.Tile(raster.enlarge(raster.pixels(image))) for image in images[:n]] for _, images in lines
    ]
    drawn = raster.sheet(tiles, labels=[label for label, _ in lines], blocks=(1,))
    names = ", ".join(one.label for one in group)
    alt = f"A row of test images; beneath it a row of reconstructions each by {names}"
    return Picture(names, first.seed, raster.png(drawn), drawn.width, drawn.height, alt)
