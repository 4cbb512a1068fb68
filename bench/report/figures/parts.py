"""Figures 3 to 5, what the parts of a PatchVAE are: from `parts.npz` of the evaluation `parts`.

Which parts, patches and images are shown follows from a rule that the caption states; nothing is picked by hand.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from bench.report.figures import raster
from bench.report.figures.rows import NOT_HERE, Absent, Arrays, DatasetRows, evaluated, open_arrays
from bench.report.model import Facts, Figure, Picture
from bench.report.words import count

# Methods shown in one figure: a picture each.
MOST_ROWS = 4
MOST_PARTS = 8
MOST_IMAGES = 8
MOST_PATCHES = 10
MOST_SWAPS = 6
PATCH = 80
SCALE = "probability that the part occurs"


def occurrence(rows: DatasetRows) -> Figure | Absent | None:
    """Figure 3: where each part occurs in the same test images."""

    def caption(found: Sequence[Arrays]) -> str:
        images = min(len(_images(one)) for one in found)
        parts = {one.arrays["occurrence"].shape[1] for one in found}
        some = (
            f"the {MOST_PARTS} parts whose probability varies most"
            if max(parts) > MOST_PARTS
            else "every part"
        )
        return (
            f"The first {count(images, 'test image')} of {rows.title} and, a row a part, the probability that the"
            f" part occurs at each location of the encoder's grid, over the image in grey; {some} over these images."
            " Colours run from 0 to 1 in every picture."
        )

    return _figure(rows, "3", "Occurrence of parts", ("images", "occurrence"), _occurrence, caption)


def patches(rows: DatasetRows) -> Figure | Absent | None:
    """Figure 4: for each part the patches where it is surest to occur, with the classes of their images."""

    def caption(found: Sequence[Arrays]) -> str:
        number = min(MOST_PATCHES, *(one.arrays["patches"].shape[1] for one in found))
        return (
            f"Patches of {rows.title} around the places where a part is most probable, a row a part, the surest"
            f" first, with the classes of their images, which the method never saw: the first {number} in order,"
            " where the paper selects by hand."
        )

    keys = ("patches", "scores", "labels", "classes")
    return _figure(rows, "4", "Patches of parts", keys, _patches, caption, facts=_classes)


def swaps(rows: DatasetRows) -> Figure | Absent | None:
    """Figure 5: what becomes of a target when a part of it takes the appearance of a part of a source."""

    def caption(_: Sequence[Arrays]) -> str:
        return (
            f"Test images of {rows.title}. Left, a source and where one of its parts occurs; middle, a target and"
            " where one of its own parts does; right, the target's reconstruction before and after that part takes"
            " the appearance of the source's, and the change, |after − before|, mean over channels. Occurrence stays"
            " the target's."
        )

    keys = ("images", "occurrence", "swap", "before", "after")
    return _figure(rows, "5", "Swapped appearance", keys, _swaps, caption)


def _figure(
    rows: DatasetRows,
    number: str,
    name: str,
    keys: Sequence[str],
    picture: Callable[[Arrays], Picture],
    caption: Callable[[Sequence[Arrays]], str],
    facts: Callable[[Arrays], Facts] | None = None,
) -> Figure | Absent | None:
    title = f"Figure {number}. {name}, {rows.title}"
    opened = open_arrays(rows, "parts", keys, lambda row: evaluated(row, "parts"), MOST_ROWS)
    if not opened.found:
        return Absent(title, NOT_HERE) if opened.missing else None
    return Figure(
        f"{rows.name}-figure-{number}",
        title,
        f"{caption(opened.found)} {opened.note()} Schedule: {rows.schedule}.",
        tuple(picture(one) for one in opened.found),
        tuple(facts(one) for one in opened.found) if facts is not None else (),
    )


def _images(one: Arrays) -> np.ndarray:
    images = one.arrays["images"]
    return images[: raster.beside(images.shape[-1], min(MOST_IMAGES, len(images)))]


def _occurrence(one: Arrays) -> Picture:
    images = [raster.enlarge(raster.pixels(image)) for image in _images(one)]
    maps = one.arrays["occurrence"][: len(images)].astype(np.float64)
    varied = np.argsort(-maps.std((0, 2, 3)), kind="stable")[:MOST_PARTS]
    shown = sorted(int(part) for part in varied)
    lines = [[raster.Tile(image) for image in images]]
    for part in shown:
        pairs = zip(images, maps[:, part], strict=True)
        lines.append([raster.Tile(raster.overlay(image, values)) for image, values in pairs])
    labels = ["image", *(f"part {part}" for part in shown)]
    drawn = raster.sheet(lines, labels=labels, scales=(raster.heat_scale(SCALE),), blocks=(1,))
    return raster.picture(
        one.label, one.seed, drawn, f"Test images above maps of where the parts of {one.label} occur in them"
    )


def _shown_parts(one: Arrays) -> range:
    return range(min(MOST_PARTS, len(one.arrays["patches"])))


def _class_names(one: Arrays, part: int) -> list[str]:
    names = one.arrays["classes"]
    return [str(names[label]).replace("_", " ") for label in one.arrays["labels"][part]]


def _patches(one: Arrays) -> Picture:
    lines = []
    for part in _shown_parts(one):
        few = one.arrays["patches"][part][:MOST_PATCHES]
        names = _class_names(one, part)
        lines.append(
            [
                raster.Tile(raster.enlarge(raster.pixels(patch), PATCH), name)
                for patch, name in zip(few, names, strict=False)
            ]
        )
    drawn = raster.sheet(lines, labels=[f"part {part}" for part in _shown_parts(one)])
    return raster.picture(
        one.label, one.seed, drawn, f"Patches of the parts of {one.label}, a row a part, the surest first"
    )


def _classes(one: Arrays) -> Facts:
    """Of every part shown: how sure its patches are and which classes they come from."""
    lines = []
    for part in _shown_parts(one):
        scores = one.arrays["scores"][part]
        counted = Counter(_class_names(one, part)).most_common()
        names = ", ".join(name if n == 1 else f"{name} ({n})" for name, n in counted)
        lines.append((f"part {part}", f"{scores.max():.3f}-{scores.min():.3f}", names))
    top = one.arrays["patches"].shape[1]
    return Facts((one.label, "Probability", f"Classes of its {top} surest patches"), tuple(lines))


def _swaps(one: Arrays) -> Picture:
    swaps = list(zip(one.arrays["swap"].tolist(), one.arrays["before"], one.arrays["after"], strict=True))
    swaps = swaps[:MOST_SWAPS]
    changes = [np.abs(after.astype(float) - before).mean(0) for _, before, after in swaps]
    most = max(float(change.max()) for change in changes)
    lines, blocks = [], []
    for number, (((source, part, target, own), before, after), change) in enumerate(
        zip(swaps, changes, strict=True)
    ):
        if number == 0 or swaps[number - 1][0][:2] != [source, part]:
            blocks.append(number)
        line = _occurs(one, source, part) + _occurs(one, target, own)
        line += [raster.Tile(raster.enlarge(raster.pixels(image))) for image in (before, after)]
        lines.append([*line, raster.Tile(raster.enlarge(raster.grey(change, most)))])
    drawn = raster.sheet(
        lines,
        headings=("source", "its part", "target", "its part", "before", "after", "change"),
        scales=(raster.heat_scale(SCALE), raster.grey_scale("change, of 255", most)),
        spaces=(2, 4),
        blocks=blocks,
    )
    alt = f"Sources, targets, and reconstructions by {one.label} before and after the swap"
    return raster.picture(one.label, one.seed, drawn, alt)


def _occurs(one: Arrays, image: int, part: int) -> list[raster.Tile]:
    """An image and where a part occurs in it."""
    whole = raster.enlarge(raster.pixels(one.arrays["images"][image]))
    shown = raster.overlay(whole, one.arrays["occurrence"][image, part])
    return [raster.Tile(whole), raster.Tile(shown, f"part {part}")]
