"""Figures as data: curves, points, differences, pictures. Whoever draws them decides how."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Line:
    """A curve: `colour` indexes the report's palette; `mean` tells a mean over seeds from a single one."""

    label: str
    seed: str
    mean: bool
    colour: int
    xs: tuple[float, ...]
    ys: tuple[float, ...]


@dataclass(frozen=True)
class Chart:
    """Curves that share their axes."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Point:
    """One thing in a scatter plot, with the half widths of its intervals."""

    label: str
    colour: int
    x: float
    y: float
    y_half: float | None = None


@dataclass(frozen=True)
class Scatter:
    """Points that share their axes, such as accuracy against cost; `log_x` for a cost that spans decades."""

    title: str
    x_label: str
    y_label: str
    points: tuple[Point, ...]
    log_x: bool = False


@dataclass(frozen=True)
class ForestLine:
    """One difference with its interval and every seed as a dot.

    Attributes:
        label: what is compared.
        group: heading under which it stands, such as a column's title.
        centre: in the printed unit.
        half: half width of the interval; None where there is none.
        dots: one a seed.
        published: the paper's own difference.
    """

    label: str
    group: str
    centre: float
    half: float | None
    dots: tuple[float, ...]
    published: float | None = None


@dataclass(frozen=True)
class Forest:
    """Differences beneath one another on one axis; zero is marked."""

    title: str
    x_label: str
    lines: tuple[ForestLine, ...]


@dataclass(frozen=True)
class Picture:
    """A picture as PNG, pixels of a data set in it.

    Attributes:
        label: what it shows, such as the row.
        seed: of the pretraining.
        png: the file.
        width: pixels.
        height: pixels.
        alt: what a reader who cannot see it must know.
    """

    label: str
    seed: int
    png: bytes
    width: int
    height: int
    alt: str = ""


@dataclass(frozen=True)
class Facts:
    """A small table of texts or numbers that stands beside a figure.

    Attributes:
        columns: the header; the first names the rows.
        rows: as printed, one text a column.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Figure:
    """A numbered or named figure.

    Attributes:
        name: short and unique, such as "figure-3-cifar100".
        title: for a heading.
        caption: what is shown, of which runs, and how to read it.
        panels: in the order of reading.
        facts: numbers that belong to it.
        keys: labels of the colours that its charts use, by their number in the palette.
    """

    name: str
    title: str
    caption: str
    panels: tuple[Chart | Scatter | Forest | Picture, ...]
    facts: tuple[Facts, ...] = ()
    keys: Mapping[int, str] = field(default_factory=dict)
