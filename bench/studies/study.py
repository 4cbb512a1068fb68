"""What a table of a paper is: its rows, its columns, its published numbers and the claims it is said to show.

A declaration computes nothing and imports neither torch nor pandas.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.studies.architecture import Architecture
from bench.studies.claim import Claim
from bench.studies.metrics import METRICS, Metric


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        dataset: name of the data set that is probed.
        freeze: freeze point; None for what is measured on the pretraining itself.
        metric: name in `bench.studies.metrics.METRICS`.
        title: as printed, where the metric's and the freeze point's own would not do.
        incomparable: why the paper's numbers in it cannot be held against ours; "" where they can.

    Raises:
        ValueError: no such metric, or a probe's without a freeze point.
    """

    dataset: str
    freeze: str | None
    metric: str = "top1"
    title: str | None = None
    incomparable: str = ""

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ValueError(f"unknown metric {self.metric!r}; allowed: {', '.join(METRICS)}")
        if self.unit.probed and not self.freeze:
            raise ValueError(f"a column of {self.metric} needs a freeze point")

    @property
    def unit(self) -> Metric:
        """What its numbers are."""
        return METRICS[self.metric]

    @property
    def kind(self) -> tuple[str | None, str]:
        """What it shows of its data set: freeze point and metric."""
        return self.freeze, self.metric


@dataclass(frozen=True)
class Row:
    """One row of a table, with the numbers that the paper prints in it.

    Attributes:
        title: as printed.
        method: name in `models.registry`.
        published: a number a column, in the metric's unit; None where the paper has none; () for a row that the
            paper lacks altogether.
        pretrain_on: data set it was pretrained on; None is the column's own.
        settings: of the method alone, those that differ from its defaults, such as {"num_parts": 8}.

    Raises:
        ValueError: a setting is one of pretraining, probing or an evaluation, such as "pretrain.lr". Runs that differ
            in these never stand in one table.
    """

    title: str
    method: str
    published: tuple[float | None, ...] = ()
    pretrain_on: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key, value in self.settings.items():
            if "." in key:
                raise ValueError(
                    f"row {self.title!r}: {key} is no setting of a method, and runs that differ in it never stand in"
                    f" one table: leave it out and run the table with --set {key}={value}, a table of its own"
                )


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
        controls: rows that the paper lacks and a reader needs.
        claims: what the paper says that the table shows.
        notes: what a reader must know before comparing.

    Raises:
        ValueError: there are no rows or no columns, a row has not as many numbers as there are columns, two rows or
            columns are the same, or a claim is about rows or columns that are not there, or about an average over
            several metrics.
    """

    name: str
    title: str
    source: str
    backbone: str
    rule: str
    schedule: Mapping[str, tuple[int, int]]
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    controls: tuple[Row, ...] = ()
    claims: tuple[Claim, ...] = ()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what in ("columns", "rows"):
            if not getattr(self, what):
                raise ValueError(f"table {self.name}: it has no {what}")
        self._refuse_twice("column", [(column.dataset, *column.kind) for column in self.columns])
        self._refuse_twice("row", [row.title for row in self.every_row])
        self._refuse_twice("claim", [claim.name for claim in self.claims])
        for row in self.every_row:
            if len(row.published) not in (0, len(self.columns)):
                raise ValueError(
                    f"table {self.name}, row {row.title!r}: "
                    f"{len(row.published)} numbers for {len(self.columns)} columns"
                )
        for claim in self.claims:
            self._check(claim)

    def _refuse_twice(self, what: str, values: Sequence[Any]) -> None:
        for value in values:
            if values.count(value) > 1:
                raise ValueError(f"table {self.name}: {what} {value!r} is there twice")

    def _check(self, claim: Claim) -> None:
        titles = [row.title for row in self.every_row]
        for contrast in claim.contrasts:
            for title in (contrast.a, contrast.b):
                if title not in titles:
                    raise ValueError(
                        f"table {self.name}, claim {claim.name}: no row {title!r}; it has {', '.join(titles)}"
                    )
        # Of every kind of column on its data sets, for a table on others has all kinds of columns on each.
        where = (claim.datasets or ("",))[0]
        meant = [column.unit for column in self.columns if claim.speaks_of(where, *column.kind)]
        metrics = tuple(dict.fromkeys(meant))
        if not metrics:
            raise ValueError(f"table {self.name}, claim {claim.name}: it is about no column")
        for metric in metrics:
            claim.region(metric)
        if claim.over == "average" and len(metrics) > 1:
            names = ", ".join(metric.name for metric in metrics)
            raise ValueError(
                f"table {self.name}, claim {claim.name}: no average is over several metrics ({names}): "
                f"name one, such as metrics=({metrics[0].name!r},), or claim it of each"
            )

    @property
    def every_row(self) -> tuple[Row, ...]:
        """The paper's rows, then the controls."""
        return self.rows + self.controls

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets it is about, in order."""
        return tuple(dict.fromkeys(column.dataset for column in self.columns))

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it prints, in order."""
        return tuple(dict.fromkeys(column.unit for column in self.columns))

    @property
    def freezes(self) -> tuple[str, ...]:
        """The freeze points of its columns, in order."""
        return tuple(dict.fromkeys(column.freeze for column in self.columns if column.freeze is not None))

    def row(self, title: str) -> Row:
        """A row by its title.

        Raises:
            KeyError: it has no such row.
        """
        for row in self.every_row:
            if row.title == title:
                return row
        raise KeyError(f"table {self.name} has no row {title!r}")

    def number(self, row: Row, column: Column) -> float | None:
        """What the paper prints of a row in a column, in the metric's unit; None where it prints nothing."""
        if not row.published or column not in self.columns:
            return None
        return row.published[self.columns.index(column)]

    def on(self, datasets: Iterable[str]) -> "Table":
        """The same table of exactly these data sets, which the paper may lack: it has no numbers there.

        Args:
            datasets: names; a fraction ("cifar100@10%") is a data set of its own, and the paper has no number of it.
        """
        kinds = {column.kind: column for column in reversed(self.columns)}
        printed = {(column.dataset, *column.kind): column for column in self.columns}
        columns = tuple(
            printed.get((name, *kind)) or dataclasses.replace(kinds[kind], dataset=name, incomparable="")
            for name in dict.fromkeys(datasets)
            for kind in dict.fromkeys(column.kind for column in self.columns)
        )
        rows, controls = (
            tuple(dataclasses.replace(row, published=self._numbers(row, columns)) for row in group)
            for group in (self.rows, self.controls)
        )
        return dataclasses.replace(self, columns=columns, rows=rows, controls=controls)

    def _numbers(self, row: Row, columns: tuple[Column, ...]) -> tuple[float | None, ...]:
        return tuple(self.number(row, column) for column in columns) if row.published else ()


@dataclass(frozen=True)
class Study:
    """The tables of one paper.

    Attributes:
        name: what the user types.
        title: of the paper.
        citation: authors, venue, year.
        url: where to read it.
        tables: of numbers, in the paper's order.
        architectures: tables of layers, which nothing is run for.

    Raises:
        ValueError: two tables have the same name.
    """

    name: str
    title: str
    citation: str
    url: str
    tables: tuple[Table, ...]
    architectures: tuple[Architecture, ...] = ()

    def __post_init__(self) -> None:
        names = [table.name for table in (*self.tables, *self.architectures)]
        if len(set(names)) < len(names):
            raise ValueError(f"study {self.name}: two tables have the same name among {', '.join(names)}")

    def table(self, name: str) -> Table:
        """A table by its number.

        Raises:
            KeyError: the study has no such table.
        """
        for table in self.tables:
            if table.name == name:
                return table
        raise KeyError(f"{self.name} has no table {name!r}; it has {', '.join(t.name for t in self.tables)}")
