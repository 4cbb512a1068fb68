"""What figures are drawn of: the rows of a table on one data set."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bench.records import Run
from bench.report.model import Claim, Table
from bench.report.panel import RowRuns
from bench.report.words import number_ranges, seeds_named


@dataclass(frozen=True)
class DatasetRows:
    """The rows of a table on one data set.

    Attributes:
        name: fit for an anchor and unique in the report, such as "table-1-cifar100".
        dataset: as in `Column.dataset`.
        title: of the data set, for readers.
        schedule: in words, such as "2 epochs of pretraining, 3 of probing".
        rows: number of the row in its table, which is its colour, -> its runs on this data set.
    """

    name: str
    dataset: str
    title: str
    schedule: str
    rows: Mapping[int, RowRuns]

    @property
    def keys(self) -> dict[int, str]:
        """Labels of the colours."""
        return {number: row.label for number, row in self.rows.items()}

    @property
    def where(self) -> str:
        """The data set and the schedule, for a caption."""
        return f"{self.title}, {self.schedule}" if self.schedule else self.title


@dataclass(frozen=True)
class TableRows:
    """A table with all that lies behind it.

    Attributes:
        table: with its cells.
        claims: of the study; those that are about other tables are passed over.
        datasets: the table's runs.
    """

    table: Table
    claims: Sequence[Claim]
    datasets: Sequence[DatasetRows]


@dataclass(frozen=True)
class Absent:
    """A figure that cannot be drawn although its runs are there.

    Attributes:
        title: of the figure.
        reason: why.
    """

    title: str
    reason: str


def evaluated(row: RowRuns, evaluation: str) -> Iterator[tuple[int, Run]]:
    """The evaluations of a row that are done, the lowest seed first."""
    for (name, seed), run in sorted(row.evaluations.items()):
        if name == evaluation and run.result is not None:
            yield seed, run


def seeds_text(seeds: set[int]) -> str:
    """Seeds with their noun."""
    return seeds_named(number_ranges(seeds))
