"""Test images and what each method makes of them, beneath one another."""

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np

from bench.records import Run
from bench.report.figures import raster
from bench.report.figures.rows import NOT_HERE, Absent, Arrays, DatasetRows, named, open_arrays
from bench.report.model import Figure, Picture
from bench.report.panel import RowRuns, spec
from bench.report.words import count

SHOWN = 8


def reconstructions(rows: DatasetRows) -> Figure | Absent | None:
    """The first test images above every row's reconstruction of them: a picture a seed."""
    title = f"Reconstructions, {rows.title}"
    opened = open_arrays(rows, "reconstructions", ("images", "reconstructions"), _decoding)
    if not opened.found:
        return Absent(title, NOT_HERE) if opened.missing else None
    groups: dict[tuple[int, str], list[Arrays]] = {}
    for one in opened.found:
        images = np.ascontiguousarray(one.arrays["images"])
        groups.setdefault((one.seed, hashlib.sha256(images.tobytes()).hexdigest()), []).append(one)
    pictures = tuple(_picture(group) for group in groups.values())
    number = min(_shown(one.arrays["images"]) for one in opened.found)
    caption = (
        f"The first {count(number, 'test image')} of {rows.title}, and beneath them what each method makes of them by"
        f" the mean of its code. {opened.note()} Schedule: {rows.schedule}. Pixels are repeated, not smoothed."
    )
    return Figure(f"{rows.name}-reconstructions", title, caption, pictures)


def _decoding(row: RowRuns) -> Iterable[tuple[int, Run]]:
    """The pretrainings of a method that makes images; of one that is not installed, those that may have."""
    known = spec(row.method)
    return row.pretrains.items() if not known.name or known.decoder else ()


def _shown(images: np.ndarray) -> int:
    return raster.beside(images.shape[-1], min(SHOWN, len(images)))


def _picture(group: Sequence[Arrays]) -> Picture:
    images = group[0].arrays["images"]
    lines = [("image", images), *((one.label, one.arrays["reconstructions"]) for one in group)]
    tiles = [
        [raster.Tile(raster.enlarge(raster.pixels(image))) for image in line[: _shown(images)]]
        for _, line in lines
    ]
    drawn = raster.sheet(tiles, labels=[label for label, _ in lines], blocks=(1,))
    names = ", ".join(one.label for one in group)
    alt = f"A row of test images; beneath it a row of reconstructions each by {names}"
    return raster.picture(named(group), group[0].seed, drawn, alt)
