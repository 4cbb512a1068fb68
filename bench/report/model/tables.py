"""Tables: columns, rows and cells, each cell with all that may stand in it.

Numbers are as records hold them (accuracies are fractions); `bench.report.layout` turns them into what is printed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.report.model.figures import Figure
from bench.stats import Estimate, SeedPair, Split, Standing
from bench.studies.metrics import METRICS, Metric

RowGroup = Literal["methods", "labelled", "controls"]
Mark = Literal["best", "agree", "unknown", "end to end", "difference", "incomparable"]
CellState = Literal["done", "partial", "missing"]


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        dataset: of the probes, as the user types it ("cifar100@10%").
        freeze: freeze point; None where the metric is of the pretraining itself.
        metric: name in `bench.studies.metrics.METRICS`.
        title: without the data set, such as "Conv[1-5]" or "PSNR".
        group: title of the data set, which neighbouring columns share.
        rule: how the epoch was selected; "" where nothing is selected.
        incomparable: why the paper's numbers cannot be held against ours; "" where they can.
    """

    dataset: str
    freeze: str | None
    metric: str
    title: str
    group: str
    rule: str = ""
    incomparable: str = ""

    @property
    def unit(self) -> Metric:
        """What its numbers are."""
        return METRICS[self.metric]


@dataclass(frozen=True)
class Against:
    """A row's difference from the baseline's, a - baseline, paired by seed.

    Attributes:
        difference: in the unit of the records.
        half: half width of its interval; None where there is no spread.
        p: Holm over the table; None where it cannot be told.
        by_image: whether the test images were counted as a sample beside the seeds.
        n: pretraining seeds in common.
        split: what the difference's variance comes from; None where seeds alone were counted, or nothing is known.
        seeds_needed: seeds that would separate the two at the difference seen, at `level`; None where no number
            would, or unknown (then p is None).
        level: the table's 5 % shared among its tested differences.
    """

    difference: float
    half: float | None
    p: float | None
    by_image: bool
    n: int = 0
    split: Split | None = None
    seeds_needed: int | None = None
    level: float = 0.05


@dataclass(frozen=True)
class Cell:
    """One row in one column.

    Attributes:
        state: "done" for all seeds of the table, "partial" for some, "missing" for none.
        estimate: over pretraining seeds; None where missing.
        values: each probe's (or evaluation's) own value, in the order of `seeds`.
        wilson: interval of a single accuracy, (low, high), where there is one seed, or all seeds have the same.
        standing: to the best of its column; None where it takes no part in that comparison.
        p: Holm-adjusted p against the best.
        against: the difference from the chosen baseline; None without one, and for the baseline itself.
        optimism: what choosing the epoch on the test set adds over the last epoch; None where unknown.
        published: the paper's number, in the unit of the records.
        end_to_end: trained without a frozen layer, so the value is the same in every column of the data set.
        seeds: (pretraining seed, probe seed) of the probes in it.
        runs: their ids.
        why: why there is no number, where a reader could wonder ("no Inception weights were given").
    """

    state: CellState
    estimate: Estimate | None = None
    values: tuple[float, ...] = ()
    wilson: tuple[float, float] | None = None
    standing: Standing | None = None
    p: float | None = None
    against: Against | None = None
    optimism: Estimate | None = None
    published: float | None = None
    end_to_end: bool = False
    seeds: tuple[SeedPair, ...] = ()
    runs: tuple[str, ...] = ()
    why: str = ""

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
        pretrained_on: name of the data set; "" where it is each column's own.
        cells: one for each column of the table.
        costs: of its pretraining by data set, as in `Column.dataset`; without those for which nothing was trained.
    """

    label: str
    method: str
    variant: str
    group: RowGroup
    pretrained_on: str
    cells: tuple[Cell, ...]
    costs: Mapping[str, Cost] = field(default_factory=dict)


@dataclass(frozen=True)
class Gap:
    """Cells of a table that have no number, and why.

    Attributes:
        row: label of the row.
        column: title of the column, "" for all of the table's.
        seeds: a text such as "0-2" or "0 (probe seed 1)".
        state: "missing", "running", "interrupted", "failed", "no such rule", "not measured" or "no number".
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
class Table:
    """Rows and columns that may stand beside one another: one protocol, one backbone, one schedule a data set.

    Attributes:
        name: short and unique in the report, fit for a label or an anchor.
        number: in the paper; "" for runs that no table of the paper has.
        title: for a heading.
        facts: (what, value) pairs that say how the numbers came about.
        caption: the same in sentences.
        legend: the marks in it and what they mean.
        protocol: name of the protocol.
        seeds: pretraining seeds in the table.
        usual_n: the number of seeds of most cells; a cell that differs says so.
        baseline: label of the row that `Cell.against` compares with; "" without one.
        columns: by data set.
        rows: in the paper's order, controls last.
        warnings: what a reader must not overlook.
        notes: what a reader should know.
        gaps: cells without a number.
        figures: of these runs.
    """

    name: str
    number: str
    title: str
    facts: tuple[tuple[str, str], ...]
    caption: str
    legend: tuple[tuple[Mark, str], ...]
    protocol: str
    seeds: tuple[int, ...]
    usual_n: int
    baseline: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    gaps: tuple[Gap, ...] = ()
    figures: tuple[Figure, ...] = ()

    @property
    def groups(self) -> tuple[str, ...]:
        """Titles of its data sets, in order."""
        return tuple(dict.fromkeys(column.group for column in self.columns))
