"""Figures as data, made from runs: a function each, and a row of one of the two lists here. No torch.

A new figure is one function and one row. Whoever shows a figure draws its charts; pictures of images are composed
here, for they are pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass

from bench.report.figures import cost, curves, differences, masks, reconstructions
from bench.report.figures.files import write_pictures
from bench.report.figures.rows import Absent, DatasetRows, TableRows
from bench.report.figures.svg import PALETTE, svg, ticks
from bench.report.model import Figure

__all__ = [
    "PALETTE",
    "PER_DATASET",
    "PER_TABLE",
    "Absent",
    "DatasetRows",
    "Drawn",
    "TableRows",
    "draw",
    "svg",
    "ticks",
    "write_pictures",
]

PER_TABLE: tuple[Callable[[TableRows], Figure | None], ...] = (
    differences.claims,
    differences.baseline,
    cost.cost,
)
PER_DATASET: tuple[Callable[[DatasetRows], Figure | Absent | None], ...] = (
    curves.losses,
    curves.accuracies,
    reconstructions.reconstructions,
    masks.masks,
)


@dataclass(frozen=True)
class Drawn:
    """The figures of a table.

    Attributes:
        figures: in the order of the lists, data sets one after another.
        absent: a line for each figure whose runs are there and whose pictures are not.
    """

    figures: tuple[Figure, ...]
    absent: tuple[str, ...] = ()


def draw(behind: TableRows) -> Drawn:
    """All figures that the runs of a table give."""
    found = [figure(behind) for figure in PER_TABLE]
    found += [figure(rows) for rows in behind.datasets for figure in PER_DATASET]
    return Drawn(
        tuple(one for one in found if isinstance(one, Figure)),
        tuple(f"{one.title}: {one.reason}" for one in found if isinstance(one, Absent)),
    )
