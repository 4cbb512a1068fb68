"""What figures are drawn of: the rows of a table on one data set."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench.records import Run
from bench.report.model import Claim, Table
from bench.report.panel import RowRuns


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


# Rows of a table whose arrays are opened for one figure.
MOST_ROWS = 12
NOT_HERE = "pictures are not in these records"


@dataclass(frozen=True)
class Absent:
    """A figure that cannot be drawn although its runs are there.

    Attributes:
        title: of the figure.
        reason: why.
    """

    title: str
    reason: str


@dataclass(frozen=True)
class Arrays:
    """What one run of a row saved.

    Attributes:
        label: of the row.
        seed: of the pretraining.
        run: that saved it.
        arrays: by name.
    """

    label: str
    seed: int
    run: Run
    arrays: Mapping[str, Any]


def named(group: Sequence[Arrays]) -> str:
    """Labels of a few rows, the number of many: the name of a picture that they share."""
    return ", ".join(one.label for one in group) if len(group) <= 3 else f"{len(group)} methods"


@dataclass(frozen=True)
class Opened:
    """The arrays of the rows of a table, those of one seed for each.

    Attributes:
        found: in the order of the rows.
        missing: labels of rows whose runs are done and left none.
        beyond: labels of rows that were not looked at, for there are too many.
    """

    found: tuple[Arrays, ...]
    missing: tuple[str, ...]
    beyond: tuple[str, ...]

    def note(self) -> str:
        """Which runs are shown and which are not, in sentences."""
        seeds = {one.seed for one in self.found}
        if len(seeds) == 1:
            text = f"Runs: {', '.join(one.label for one in self.found)}; seed {min(seeds)}."
        else:
            text = f"Runs: {', '.join(f'{one.label} (seed {one.seed})' for one in self.found)}."
        if self.missing:
            text += f" Not in these records: {', '.join(self.missing)}."
        if self.beyond:
            text += f" Left out beyond the first {len(self.found)} rows: {', '.join(self.beyond)}."
        return text


def open_arrays(
    rows: DatasetRows,
    name: str,
    keys: Iterable[str],
    runs: Callable[[RowRuns], Iterable[tuple[int, Run]]],
    most: int = MOST_ROWS,
) -> Opened:
    """The arrays `name` of each row's lowest seed that has them; no file of another seed is opened.

    Args:
        rows: of the table.
        name: of the file.
        keys: a file without these is of a method that the figure does not concern.
        runs: a row's runs that ought to have left the file, by seed; none for a row that it does not concern.
        most: rows that are opened.
    """
    keys = set(keys)
    found: list[Arrays] = []
    missing, beyond = [], []
    for row in rows.rows.values():
        done = sorted((seed, run.id, run) for seed, run in runs(row) if run.result is not None)
        if done and len(found) == most:
            beyond.append(row.label)
            continue
        for seed, _, run in done:
            if (arrays := run.arrays(name)) is not None:
                found += [Arrays(row.label, seed, run, arrays)] if keys <= arrays.keys() else []
                break
        else:
            missing += [row.label] if done else []
    return Opened(tuple(found), tuple(missing), tuple(beyond))


def evaluated(row: RowRuns, evaluation: str) -> list[tuple[int, Run]]:
    """A row's runs of one evaluation, with the seeds of the pretrainings."""
    return [(seed, run) for (name, seed), run in row.evaluations.items() if name == evaluation]
