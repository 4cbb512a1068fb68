"""Figures 3 to 5, what the parts of a part-based method are: from `parts.npz` of the evaluation `parts`.

Which parts, patches and images are shown follows from a rule that the caption states; nothing is picked by hand.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
MOST_SOURCES = 2
PATCH = 80
SCALE = "probability that the part occurs"
WHICH = f"of more than {MOST_PARTS} parts those whose probability varies most over the images of figure 3"


def occurrence(rows: DatasetRows) -> Figure | Absent | None:
    """Figure 3: where each part occurs in the same test images."""

    def caption(found: Sequence[Arrays]) -> str:
        images = min(len(_images(one)) for one in found)
        return (
            f"{count(images, 'test image')} of {rows.title}, drawn at random and the same for every method, and"
            " beneath them, a row a part, the probability that the part occurs at each location of the encoder's"
            f" grid, over the image in grey; {WHICH}. Colours run from 0 to 1 in every picture."
        )

    return _figure(rows, "3", "Occurrence of parts", ("images", "occurrence", "shown"), _occurrence, caption)


def patches(rows: DatasetRows) -> Figure | Absent | None:
    """Figure 4: for each part the patches where it is surest to occur, with the classes of their images."""
    names = _class_names(rows)

    def caption(found: Sequence[Arrays]) -> str:
        number = min(MOST_PATCHES, *(one.arrays["patches"].shape[1] for one in found))
        return (
            f"Patches of training images of {rows.title} around the places where a part is most probable, at most one"
            f" an image, a row a part ({WHICH}), the surest first, with the classes of their images, which the method"
            f" never saw: the first {number} in order, where the paper selects by hand."
        )

    keys = ("images", "occurrence", "shown", "patches")
    return _figure(rows, "4", "Patches of parts", keys, lambda one: _patches(one, names), caption)


def swaps(rows: DatasetRows) -> Figure | Absent | None:
    """Figure 5: what becomes of a target when a part of it takes the appearance of a part of a source."""

    def caption(_: Sequence[Arrays]) -> str:
        return (
            f"Test images of {rows.title}, drawn at random and the same for every method. Left, a source and where"
            " its likeliest part occurs; middle, a target and where another part, its likeliest, does; right, the"
            " target's reconstruction before and after its part takes the appearance of the source's, and the"
            " change, |after − before|, mean over channels. Where parts occur stays as it is in the target."
        )

    keys = ("source", "source_part", "source_map", "target", "target_part", "target_map", "before", "after")
    return _figure(rows, "5", "Swapped appearance", [f"swap_{key}" for key in keys], _swaps, caption)


def _figure(
    rows: DatasetRows,
    number: str,
    name: str,
    keys: Sequence[str],
    draw: Callable[[Arrays], tuple[Picture, tuple[Facts, ...]]],
    caption: Callable[[Sequence[Arrays]], str],
) -> Figure | Absent | None:
    title = f"Figure {number}. {name}, {rows.title}"
    opened = open_arrays(rows, "parts", keys, lambda row: evaluated(row, "parts"), MOST_ROWS)
    if not opened.found:
        return Absent(title, NOT_HERE) if opened.missing else None
    drawn = [draw(one) for one in opened.found]
    return Figure(
        f"{rows.name}-figure-{number}",
        title,
        f"{caption(opened.found)} {opened.note()} Schedule: {rows.schedule}.",
        tuple(picture for picture, _ in drawn),
        tuple(fact for _, facts in drawn for fact in facts),
    )


def _images(one: Arrays) -> np.ndarray:
    images = one.arrays["images"]
    return images[: raster.beside(images.shape[-1], min(MOST_IMAGES, len(images)))]


def _varied(one: Arrays) -> list[int]:
    """The parts that are shown, by number: those with patches whose probability varies most."""
    shown = np.sort(one.arrays["shown"].astype(int))
    spread = one.arrays["occurrence"][:, shown].astype(np.float64).std((0, 2, 3))
    return sorted(int(part) for part in shown[np.argsort(-spread, kind="stable")[:MOST_PARTS]])


def _occurrence(one: Arrays) -> tuple[Picture, tuple[Facts, ...]]:
    images = [raster.enlarge(raster.pixels(image)) for image in _images(one)]
    lines = [[raster.Tile(image) for image in images]]
    for part in _varied(one):
        maps = one.arrays["occurrence"][: len(images), part]
        lines.append([raster.Tile(raster.overlay(*pair)) for pair in zip(images, maps, strict=True)])
    labels = ["image", *(f"part {part}" for part in _varied(one))]
    drawn = raster.sheet(lines, labels=labels, scales=(raster.heat_scale(SCALE),), blocks=(1,))
    alt = f"Test images above maps of where the parts of {one.label} occur in them"
    return raster.picture(one.label, one.seed, drawn, alt), ()


def _class_names(rows: DatasetRows) -> list[str] | None:
    """Names of the data set's classes, which probes and evaluations leave beside their answers."""
    for row in rows.rows.values():
        for run in (*row.evaluations.values(), *row.probes.values()):
            if names := (run.result or {}).get("classes"):
                return [str(name).replace("_", " ") for name in names]
    return None


def _patches(one: Arrays, names: Sequence[str] | None) -> tuple[Picture, tuple[Facts, ...]]:
    numbers = one.run.arrays("part_numbers") or {}
    places = one.arrays["shown"].tolist()
    lines, facts = [], []
    for part in _varied(one):
        found = one.arrays["patches"][places.index(part)]
        labels = numbers["top_label"][part] if "top_label" in numbers else [-1] * len(found)
        classes = [_named(int(label), names) for label in labels]
        few = [raster.enlarge(raster.pixels(patch), PATCH) for patch in found[:MOST_PATCHES]]
        lines.append([raster.Tile(*pair) for pair in zip(few, classes, strict=False)])
        facts.append((f"part {part}", _probabilities(numbers, part), _counted(classes)))
    drawn = raster.sheet(lines, labels=[f"part {part}" for part in _varied(one)])
    alt = f"Patches of the parts of {one.label}, a row a part, the surest first"
    top = one.arrays["patches"].shape[1]
    columns = (one.label, "Probability", f"Classes of its {top} surest patches")
    return raster.picture(one.label, one.seed, drawn, alt), (Facts(columns, tuple(facts)),)


def _named(label: int, names: Sequence[str] | None) -> str:
    """A class in words; "" where an image has none."""
    if label < 0:
        return ""
    return names[label] if names is not None and label < len(names) else f"class {label}"


def _counted(classes: Sequence[str]) -> str:
    """Classes, the commonest first, with how often they are there."""
    counts = Counter(name for name in classes if name).most_common()
    return ", ".join(name if n == 1 else f"{name} ({n})" for name, n in counts)


def _probabilities(numbers: Mapping[str, Any], part: int) -> str:
    if "top_probability" not in numbers:
        return ""
    values = numbers["top_probability"][part]
    return f"{values[0]:.3f} to {values[-1]:.3f}"


def _swaps(one: Arrays) -> tuple[Picture, tuple[Facts, ...]]:
    a = {key.removeprefix("swap_"): values[:MOST_SOURCES] for key, values in one.arrays.items()}
    changes = np.abs(a["after"].astype(float) - a["before"]).mean(2)
    most = float(changes.max())
    lines, targets = [], changes.shape[1]
    for s, t in np.ndindex(changes.shape[:2]):
        line = _occurs(a["source"][s], a["source_map"][s], a["source_part"][s])
        line += _occurs(a["target"][s, t], a["target_map"][s, t], a["target_part"][s, t])
        line += [raster.Tile(raster.enlarge(raster.pixels(a[when][s, t]))) for when in ("before", "after")]
        lines.append([*line, raster.Tile(raster.enlarge(raster.grey(changes[s, t], most)))])
    drawn = raster.sheet(
        lines,
        headings=("source", "its part", "target", "its part", "before", "after", "change"),
        scales=(raster.heat_scale(SCALE), raster.grey_scale("change, of 255", most)),
        spaces=(2, 4),
        blocks=range(0, len(lines), targets),
    )
    alt = f"Sources, targets, and reconstructions by {one.label} before and after the swap"
    return raster.picture(one.label, one.seed, drawn, alt), ()


def _occurs(image: np.ndarray, values: np.ndarray, part: int) -> list[raster.Tile]:
    """An image and where a part occurs in it."""
    whole = raster.enlarge(raster.pixels(image))
    return [raster.Tile(whole), raster.Tile(raster.overlay(whole, values), f"part {part}")]
