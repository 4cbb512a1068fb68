"""Pictures put together from arrays: tiles enlarged without smoothing, words beside them, what the colours mean.

Pillow is imported when something is drawn.
"""

import functools
import io
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bench.report.model import Picture

if TYPE_CHECKING:
    from PIL import Image, ImageFont

GAP = 4
# Heights of words beside tiles and beneath them, in pixels.
TEXT, SMALL = 14, 12
# Sides of an enlarged image, and of a row of them, in pixels.
SIDE, WIDTH = 96, 900
INK, PAPER, SOFT, EDGE = (20, 20, 20), (255, 255, 255), (110, 110, 110), (200, 200, 200)
# From 0 to 1: dark blue over magenta to yellow. Its lightness grows all the way, so it survives a grey printer.
HEAT = np.array(
    [
        (12, 7, 134),
        (92, 1, 166),
        (156, 23, 158),
        (203, 70, 121),
        (237, 120, 83),
        (253, 178, 47),
        (240, 249, 33),
    ],
    np.float64,
)
SPELLED = {"β": "beta", "×": "x", "−": "-", "–": "-", "ß": "ss", "ø": "o", "æ": "ae", "ł": "l", "…": "..."}
# How much of an image a heat map lets through.
VEIL = 0.6


@dataclass(frozen=True)
class Tile:
    """One small image of a sheet.

    Attributes:
        pixels: uint8 [h, w, 3].
        under: a word or two beneath it.
    """

    pixels: np.ndarray
    under: str = ""


@dataclass(frozen=True)
class Scale:
    """What the colours of a sheet mean.

    Attributes:
        title: what is shown.
        low: text at its lower end.
        high: text at its upper end.
        colours: uint8 [n, 3] from low to high.
    """

    title: str
    low: str
    high: str
    colours: np.ndarray


def pixels(image: np.ndarray) -> np.ndarray:
    """An image [channels, h, w] of 1 or 3 channels as uint8 [h, w, 3]."""
    moved = np.moveaxis(np.asarray(image), 0, -1)
    return np.ascontiguousarray(np.broadcast_to(moved, (*moved.shape[:2], 3)).astype(np.uint8, copy=False))


def times(side: int, wanted: int = SIDE) -> int:
    """How often the pixels of an image are repeated so that its side comes near the wanted one."""
    return max(1, round(wanted / side))


def enlarge(image: np.ndarray, wanted: int = SIDE) -> np.ndarray:
    """Repeat the pixels of [h, w, ...] a whole number of times, without smoothing."""
    number = times(max(image.shape[:2]), wanted)
    return image.repeat(number, 0).repeat(number, 1)


def beside(side: int, most: int, wanted: int = SIDE) -> int:
    """How many enlarged images of a side stand beside one another: at most `most`, and at least four."""
    return max(min(4, most), min(most, WIDTH // (side * times(side, wanted) + GAP)))


def stretch(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """A map [h, w, ...] on `height` x `width` pixels, each the value of the cell that it lies in."""
    rows = np.arange(height) * values.shape[0] // height
    columns = np.arange(width) * values.shape[1] // width
    return values[rows][:, columns]


def heat(values: np.ndarray) -> np.ndarray:
    """Colours of values in [0, 1], as real numbers 0 to 255: [..., 3]."""
    place = np.clip(np.nan_to_num(values), 0, 1) * (len(HEAT) - 1)
    low = np.minimum(place.astype(int), len(HEAT) - 2)
    share = (place - low)[..., None]
    return (1 - share) * HEAT[low] + share * HEAT[low + 1]


def overlay(image: np.ndarray, values: np.ndarray) -> np.ndarray:
    """A map of values in [0, 1], [h, w], as a translucent veil over the grey version of uint8 [H, W, 3]."""
    grey = image.astype(np.float64) @ (0.299, 0.587, 0.114)
    veil = stretch(VEIL * heat(values), *image.shape[:2])
    return np.rint((1 - VEIL) * grey[..., None] + veil).astype(np.uint8)


def heat_scale(title: str) -> Scale:
    """The scale of `overlay`, over a middle grey."""
    steps = (1 - VEIL) * 128 + VEIL * heat(np.linspace(0, 1, 96))
    return Scale(title, "0", "1", np.rint(steps).astype(np.uint8))


def grey(values: np.ndarray, high: float) -> np.ndarray:
    """Values from 0 (black) to `high` (white), [h, w], as uint8 [h, w, 3]."""
    share = np.clip(np.nan_to_num(values) / (high or 1.0), 0, 1)
    return np.rint(255 * share)[..., None].repeat(3, -1).astype(np.uint8)


def grey_scale(title: str, high: float) -> Scale:
    """The scale of `grey`."""
    return Scale(title, "0", f"{high:.3g}", grey(np.linspace(0, 1, 96)[None], 1.0)[0])


@functools.cache
def _font(size: int) -> "ImageFont.FreeTypeFont | ImageFont.ImageFont":
    from PIL import ImageFont

    return ImageFont.load_default(size)


def spelled(text: str) -> str:
    """A text in the letters that Pillow's own font has, which are ASCII and a few signs; others become "?"."""
    for letter, word in SPELLED.items():
        text = text.replace(letter, word)
    plain = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return "".join(c if c.isascii() or c in "±·—" else "?" for c in plain)


def _width(text: str, size: int = TEXT) -> int:
    return int(np.ceil(_font(size).getlength(text))) if text else 0


def shortened(text: str, width: int) -> str:
    """A small text that is no wider than `width` pixels; what is cut off is marked."""
    if _width(text, SMALL) <= width:
        return text
    while text and _width(text + "…", SMALL) > width:
        text = text[:-1]
    return text.rstrip() + "…"


def sheet(
    rows: Sequence[Sequence[Tile]],
    *,
    labels: Sequence[str] = (),
    headings: Sequence[str] = (),
    scales: Sequence[Scale] = (),
    spaces: Sequence[int] = (),
    blocks: Sequence[int] = (),
) -> "Image.Image":
    """Tiles in rows and columns on white.

    Args:
        rows: of tiles of one size; a row may be shorter than others.
        labels: at the left of each row.
        headings: above each column.
        scales: beneath the tiles.
        spaces: numbers of the columns with more room before them.
        blocks: numbers of the rows with more room above them.
    """
    from PIL import Image, ImageDraw

    labels, headings = [spelled(label) for label in labels], [spelled(heading) for heading in headings]
    height, width = rows[0][0].pixels.shape[:2]
    columns = max(len(row) for row in rows)
    line = TEXT + 5
    left = GAP + max((_width(label) + 2 * GAP for label in labels if label), default=0)
    lefts = [left + j * (width + GAP) + 3 * GAP * sum(1 <= s <= j for s in spaces) for j in range(columns)]
    tops, top = [], GAP + (line if any(headings) else 0)
    for i, row in enumerate(rows):
        top += 2 * GAP if i in blocks and i else 0
        tops.append(top)
        top += height + GAP + (line if any(tile.under for tile in row) else 0)
    bars = [_bar_width(scale) + 4 * GAP for scale in scales]
    right = max(lefts[-1] + width + GAP, left + sum(bars))
    canvas = Image.new("RGB", (right, top + (line + 2 * GAP if scales else 0)), PAPER)
    draw = ImageDraw.Draw(canvas)

    def write(x: float, y: float, text: str, anchor: str, small: bool = False) -> None:
        draw.text(
            (x, y), text, fill=SOFT if small else INK, font=_font(SMALL if small else TEXT), anchor=anchor
        )

    for j, heading in enumerate(headings):
        write(lefts[j], line, heading, "ls")
    for i, row in enumerate(rows):
        if i < len(labels):
            write(left - 2 * GAP, tops[i] + height / 2, labels[i], "rm")
        for j, tile in enumerate(row):
            canvas.paste(Image.fromarray(tile.pixels), (lefts[j], tops[i]))
            draw.rectangle((lefts[j] - 1, tops[i] - 1, lefts[j] + width, tops[i] + height), outline=EDGE)
            write(
                lefts[j] + width / 2,
                tops[i] + height + TEXT,
                shortened(spelled(tile.under), width),
                "ms",
                small=True,
            )
    x, y = left, top + GAP
    for scale, taken in zip(scales, bars, strict=True):
        _draw_scale(canvas, write, scale, x, y)
        x += taken
    return canvas


def _bar_width(scale: Scale) -> int:
    return _width(scale.title) + _width(scale.low) + _width(scale.high) + len(scale.colours) + 5 * GAP


def _draw_scale(canvas: "Image.Image", write: Callable[..., None], scale: Scale, x: int, y: int) -> None:
    from PIL import Image, ImageDraw

    middle = y + TEXT / 2
    write(x, middle, scale.title, "lm")
    x += _width(scale.title) + 2 * GAP
    write(x, middle, scale.low, "lm", small=True)
    x += _width(scale.low) + GAP
    bar = Image.fromarray(np.ascontiguousarray(np.broadcast_to(scale.colours, (TEXT, *scale.colours.shape))))
    canvas.paste(bar, (x, y))
    ImageDraw.Draw(canvas).rectangle((x - 1, y - 1, x + bar.width, y + bar.height), outline=EDGE)
    write(x + len(scale.colours) + GAP, middle, scale.high, "lm", small=True)


def png(image: "Image.Image") -> bytes:
    """The file, the same bytes for the same picture: it holds no time."""
    out = io.BytesIO()
    # Level 9 would take ten times as long to save one byte in twenty.
    image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def picture(label: str, seed: int, drawn: "Image.Image", alt: str) -> Picture:
    """A sheet as a panel of a figure."""
    return Picture(label, seed, png(drawn), drawn.width, drawn.height, alt)
