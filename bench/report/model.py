"""The report as typed data: all that is printed, before anyone decides how. Accuracies are fractions."""

from dataclasses import dataclass
from typing import Literal

from bench.stats import Estimate, SeedPair, Standing

RowGroup = Literal["methods", "labelled", "controls"]
Mark = Literal["best", "unknown", "end to end", "difference"]
CellState = Literal["done", "partial", "missing"]


@dataclass(frozen=True)
class Column:
    """A freeze point."""

    freeze: str
    title: str


@dataclass(frozen=True)
class Cell:
    """One row at one freeze point.

    Attributes:
        state: "done" for all seeds of the table, "partial" for some, "missing" for none.
        estimate: top-1 over seeds; None where missing.
        standing: to the best of its column; None where it takes no part in that comparison.
        p: Holm-adjusted p against the best.
        optimism: what choosing the epoch on the test set adds over the last epoch; None where unknown.
        published: the paper's number.
        end_to_end: trained without a frozen layer, so the value is the same in every column.
        seeds: (pretraining seed, probe seed) of the probes in it.
        runs: their ids.
    """

    state: CellState
    estimate: Estimate | None = None
    standing: Standing | None = None
    p: float | None = None
    optimism: Estimate | None = None
    published: float | None = None
    end_to_end: bool = False
    seeds: tuple[SeedPair, ...] = ()
    runs: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Ours minus the paper's."""
        if self.estimate is None or self.published is None:
            return None
        return self.estimate.mean - self.published


@dataclass(frozen=True)
class Cost:
    """Means over the pretrainings of a row.

    Attributes:
        seconds: of a pretraining.
        images_per_second: while it trained.
    """

    seconds: float
    images_per_second: float | None


@dataclass(frozen=True)
class Row:
    """One method, or one variant of it.

    Attributes:
        label: as printed.
        method: name in the registry.
        variant: what differs from the method's defaults, such as "num_parts=8".
        group: what it is compared with.
        pretrained_on: name of the data set.
        schedule: epochs of pretraining and of probing, such as "90+90".
        cells: one for each column of the table.
        cost: of its pretraining; None where nothing was trained.
    """

    label: str
    method: str
    variant: str
    group: RowGroup
    pretrained_on: str
    schedule: str
    cells: tuple[Cell, ...]
    cost: Cost | None


@dataclass(frozen=True)
class Gap:
    """Cells of a table that have no number, and why.

    Attributes:
        row: label of the row.
        column: title of the freeze point, "" for all of the table's.
        seeds: a text such as "0-2" or "0 (probe seed 1)".
        state: "missing", "running", "interrupted", "failed" or "no such rule".
        detail: the error of a failed run.
        runs: ids of the runs concerned.
    """

    row: str
    column: str
    seeds: str
    state: str
    detail: str = ""
    runs: tuple[str, ...] = ()


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
class Picture:
    """Test images above their reconstructions, as PNG.

    Attributes:
        label: the row.
        seed: of the pretraining.
        png: the file.
        width: pixels.
        height: pixels.
    """

    label: str
    seed: int
    png: bytes
    width: int
    height: int


@dataclass(frozen=True)
class Table:
    """Everything of one data set under one setting: no two settings share a table.

    Attributes:
        name: short and unique in the report, fit for a label or an anchor.
        title: for a heading.
        facts: (what, value) pairs that say how the numbers came about.
        caption: the same in sentences.
        legend: the marks in it and what they mean.
        dataset: name of the probed data set.
        rule: how the epoch was selected.
        protocol: name of the protocol.
        seeds: pretraining seeds in the table.
        usual_n: the number of seeds of most cells; a cell that differs says so.
        columns: freeze points.
        rows: in the registry's order, controls last.
        warnings: what a reader must not overlook.
        notes: what a reader should know.
        gaps: cells without a number.
        losses: pretraining loss by epoch, a chart a row.
        accuracies: test accuracy by probe epoch, a chart a freeze point.
        pictures: reconstructions.
    """

    name: str
    title: str
    facts: tuple[tuple[str, str], ...]
    caption: str
    legend: tuple[tuple[Mark, str], ...]
    dataset: str
    rule: str
    protocol: str
    seeds: tuple[int, ...]
    usual_n: int
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    losses: tuple[Chart, ...] = ()
    accuracies: tuple[Chart, ...] = ()
    pictures: tuple[Picture, ...] = ()


@dataclass(frozen=True)
class Source:
    """Runs that come from one state of the source on one kind of device."""

    source_hash: str
    commit: str
    device: str
    versions: str
    runs: int


@dataclass(frozen=True)
class Report:
    """All tables of a results folder.

    Attributes:
        title: of the page.
        tables: one a data set and setting.
        pending: pretrainings that no probe has used yet, a line each.
        problems: files that could not be read, a line each.
        sources: where the numbers come from.
        done: runs that are done.
        total: runs of any state.
    """

    title: str
    tables: tuple[Table, ...]
    pending: tuple[str, ...]
    problems: tuple[str, ...]
    sources: tuple[Source, ...]
    done: int
    total: int
