"""Figures as data, made from runs: a function each, and a row of one of the two lists here. No torch.

A new figure is one function and one row. Whoever shows a figure draws its charts; pictures of images are composed
here, for they are pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bench.report.figures import consistency, cost, curves, differences, masks, parts, reconstructions
from bench.report.figures.files import write_pictures
from bench.report.figures.rows import Absent, DatasetRows, TableRows
from bench.report.model import Figure

__all__ = [
    "PER_DATASET",
    "PER_TABLE",
    "PICTURES",
    "Absent",
    "Album",
    "DatasetRows",
    "Drawn",
    "TableRows",
    "draw",
    "write_pictures",
]

PER_TABLE: tuple[Callable[[TableRows], Figure | None], ...] = (
    differences.claims,
    differences.baseline,
    cost.cost,
)
PER_DATASET: tuple[Callable[[DatasetRows], Figure | None], ...] = (
    curves.losses,
    curves.accuracies,
    consistency.consistency,
)
PICTURES: tuple[Callable[[DatasetRows], Figure | Absent | None], ...] = (
    reconstructions.reconstructions,
    parts.occurrence,
    parts.patches,
    parts.swaps,
    masks.masks,
)
# In one report, of all its tables: about a third of a megabyte and of a second each.
MOST_PICTURES = 30


@dataclass(frozen=True)
class Drawn:
    """The figures of a table.

    Attributes:
        figures: in the order of the lists, data sets one after another.
        absent: a line for each figure whose runs are there and whose pictures are not.
    """

    figures: tuple[Figure, ...]
    absent: tuple[str, ...] = ()


@dataclass
class Album:
    """What a report has pictured so far: opening arrays and drawing them is most of a report's time and size.

    Attributes:
        left: pictures that may still be made.
        seen: pretrainings that have pictures -> the table where they are.
        curved: runs that have a curve in an earlier table.
    """

    left: int = MOST_PICTURES
    seen: dict[str, str] = field(default_factory=dict)
    curved: set[str] = field(default_factory=set)


def draw(behind: TableRows, album: Album | None = None) -> Drawn:
    """All figures that the runs of a table give.

    Args:
        behind: the table and its runs.
        album: the same for all tables of a report, so that a pretraining is pictured in one of them only.
    """
    album = album or Album()
    name = f"Table {behind.table.number}" if behind.table.number else behind.table.title
    found: list[Figure | Absent | None] = [figure(behind) for figure in PER_TABLE]
    for rows in behind.datasets:
        # Beside others a curve may be drawn again; all of them again tell nothing new.
        runs = {
            run.id for row in rows.rows.values() for run in (*row.pretrains.values(), *row.probes.values())
        }
        if not runs <= album.curved:
            found += [figure(rows) for figure in PER_DATASET]
        album.curved |= runs
        found += _pictures(rows, name, album)
    return Drawn(
        tuple(one for one in found if isinstance(one, Figure)),
        tuple(f"{one.title}: {one.reason}" for one in found if isinstance(one, Absent)),
    )


def _pictures(rows: DatasetRows, name: str, album: Album) -> list[Figure | Absent]:
    new, note = _not_yet(rows, album)
    if not new.rows:
        return []
    if album.left <= 0:
        return [
            Absent(f"Pictures of {name}, {rows.title}", f"the report has {MOST_PICTURES} pictures already")
        ]
    found = []
    for draw_one in PICTURES:
        made = draw_one(new)
        if isinstance(made, Figure):
            album.left -= len(made.panels)
            made = replace(made, caption=made.caption + note)
        if made is not None:
            found.append(made)
    for row in new.rows.values():
        album.seen |= {run.id: name for run in row.pretrains.values()}
    return found


def _not_yet(rows: DatasetRows, album: Album) -> tuple[DatasetRows, str]:
    """The rows of which no earlier table has pictures, and where those of the others are."""
    new, elsewhere = {}, {}
    for number, row in rows.rows.items():
        known = [album.seen.get(run.id) for run in row.pretrains.values()]
        if known and all(known):
            elsewhere.setdefault(known[0], []).append(row.label)
        elif known:
            new[number] = row
    note = "".join(f" Under {name}: {', '.join(labels)}." for name, labels in elsewhere.items())
    return replace(rows, rows=new), note
