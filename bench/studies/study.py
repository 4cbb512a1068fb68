"""What a table of a paper is: its rows, its columns, its published numbers and where they were printed.

A declaration computes nothing and imports neither torch nor pandas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        dataset: name of the data set that is probed.
        freeze: freeze point.
        metric: what is printed, in percent.
    """

    dataset: str
    freeze: str
    metric: str = "top1"


@dataclass(frozen=True)
class Row:
    """One row of a table, with the numbers that the paper prints in it.

    Attributes:
        title: as printed.
        method: name in `models.registry`.
        published: a number a column, in percent; None where the paper has none.
        pretrain_on: data set it was pretrained on; None is the column's own.
        settings: what differs from the method's defaults, such as {"num_parts": 8}.
    """

    title: str
    method: str
    published: tuple[float | None, ...]
    pretrain_on: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    Attributes:
        name: its number.
        title: what it compares.
        source: where the numbers are printed.
        backbone: name of the network.
        rule: how the paper selects the epoch it reports.
        schedule: for each data set, the paper's epochs of pretraining and of probing.
        columns: in the paper's order.
        rows: in the paper's order.
        notes: what a reader must know before comparing.

    Raises:
        ValueError: a row has not as many numbers as there are columns.
    """

    name: str
    title: str
    source: str
    backbone: str
    rule: str
    schedule: Mapping[str, tuple[int, int]]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row.published) != len(self.columns):
                raise ValueError(
                    f"table {self.name}, row {row.title!r}: "
                    f"{len(row.published)} numbers for {len(self.columns)} columns"
                )

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets it is about, in order."""
        return tuple(dict.fromkeys(column.dataset for column in self.columns))

    def published(
        self,
        method: str,
        dataset: str,
        freeze: str,
        *,
        pretrain_on: str,
        backbone: str,
        settings: Mapping[str, Any] | None = None,
    ) -> float | None:
        """The paper's number for a cell, in percent; None where it has none for exactly this cell.

        Args:
            method: name of the method.
            dataset: data set that is probed.
            freeze: freeze point.
            pretrain_on: data set of the pretraining.
            backbone: name of the network.
            settings: what differs from the method's defaults.
        """
        if backbone != self.backbone:
            return None
        for row in self.rows:
            if row.method != method or (row.pretrain_on or dataset) != pretrain_on:
                continue
            if dict(row.settings) != dict(settings or {}):
                continue
            for column, number in zip(self.columns, row.published, strict=True):
                if (column.dataset, column.freeze) == (dataset, freeze):
                    return number
        return None


@dataclass(frozen=True)
class Study:
    """The tables of one paper.

    Attributes:
        name: what the user types.
        title: of the paper.
        citation: authors, venue, year.
        url: where to read it.
        tables: by their number.
    """

    name: str
    title: str
    citation: str
    url: str
    tables: tuple[Table, ...]

    def table(self, name: str) -> Table:
        """A table by its number.

        Raises:
            KeyError: the study has no such table.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(f"{self.name} has no table {name!r}; it has {', '.join(t.name for t in self.tables)}")
