"""A table laid out in groups of columns, its numbers as text: what Markdown, LaTeX, HTML and terminal share.

Accuracies turn into percent here, and nowhere before.
"""

from dataclasses import dataclass
from typing import Literal

from bench.report.captions import seeds_named
from bench.report.model import Cell, Cost, Row, Table
from bench.stats import Estimate

GAP = "—"
MINUS = "−"


@dataclass(frozen=True)
class Text:
    """One printed cell.

    Attributes:
        value: the number, GAP where there is none, "" where there can be none.
        spread: half width after the plus-minus sign, "" where there is none.
        remark: in brackets after it, such as "n=1".
        bold: best, or not distinguishable from the best.
        unknown: cannot be ranked.
        dagger: end to end.
    """

    value: str
    spread: str = ""
    remark: str = ""
    bold: bool = False
    unknown: bool = False
    dagger: bool = False

    def plain(self, bold: str = "", unknown: str = " ?", dagger: str = " †") -> str:
        """As one string; `bold` is appended to what is bold elsewhere."""
        text = self.value + (f" ± {self.spread}" if self.spread else "")
        text += f" ({self.remark})" if self.remark else ""
        return text + (bold if self.bold else unknown if self.unknown else dagger if self.dagger else "")


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading."""

    title: str
    columns: tuple[str, ...]
    kind: Literal["accuracy", "optimism", "cost"]


@dataclass(frozen=True)
class Line:
    """One printed row: a tuple of cells for every group."""

    label: str
    row: Row
    groups: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True)
class Grid:
    """A printed table. `breaks` are the numbers of the lines before which a rule is drawn."""

    groups: tuple[Group, ...]
    lines: tuple[Line, ...]
    breaks: tuple[int, ...]


def percent(value: float) -> str:
    """A fraction in percent, two decimals."""
    return f"{100 * value:.2f}".replace("-", MINUS)


def signed(value: float) -> str:
    """A difference of fractions in points, with its sign."""
    text = f"{100 * value:+.2f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def accuracy(cell: Cell, usual_n: int) -> Text:
    """A cell's mean, interval and marks."""
    if cell.estimate is None:
        return Text(GAP)
    e = cell.estimate
    return Text(
        percent(e.mean),
        "" if e.half is None else percent(e.half),
        "" if e.n == usual_n else f"n={e.n}",
        bold=cell.standing in ("best", "tied"),
        unknown=cell.standing == "unknown",
        dagger=cell.end_to_end,
    )


def _optimism(estimate: Estimate | None) -> Text:
    return Text(GAP) if estimate is None else Text(signed(estimate.mean))


def seconds(value: float) -> str:
    """A duration that a reader can take in."""
    if value < 99.5:
        return f"{value:.3g} s"
    if value < 99.5 * 60:
        return f"{value / 60:.3g} min"
    return f"{value / 3600:.3g} h"


def _cost(cost: Cost | None) -> tuple[Text, ...]:
    if cost is None:
        return (Text(GAP), Text(GAP))
    speed = GAP if cost.images_per_second is None else f"{cost.images_per_second:,.0f}"
    return (Text(seconds(cost.seconds)), Text(speed))


def lay_out(table: Table) -> Grid:
    """Groups of columns: every freeze point (ours, the paper's, the difference), optimism, cost."""
    groups: list[Group] = []
    cells: list[list[tuple[Text, ...]]] = [[] for _ in table.rows]
    for i, column in enumerate(table.columns):
        published = any(row.cells[i].published is not None for row in table.rows)
        groups.append(Group(column.title, ("ours", "paper", "Δ") if published else ("",), "accuracy"))
        for row, line in zip(table.rows, cells, strict=True):
            cell = row.cells[i]
            texts = [accuracy(cell, table.usual_n)]
            if published:
                paper, difference = cell.published, cell.difference
                texts.append(Text("" if paper is None else percent(paper)))
                texts.append(Text("" if difference is None else signed(difference)))
            line.append(tuple(texts))
    if any(cell.optimism is not None for row in table.rows for cell in row.cells):
        titles = tuple(column.title for column in table.columns)
        groups.append(Group("best-test − last", titles, "optimism"))
        for row, line in zip(table.rows, cells, strict=True):
            line.append(tuple(_optimism(cell.optimism) for cell in row.cells))
    if any(row.cost is not None for row in table.rows):
        groups.append(Group("pretraining", ("time", "images/s"), "cost"))
        for row, line in zip(table.rows, cells, strict=True):
            line.append(_cost(row.cost))
    lines = tuple(Line(row.label, row, tuple(line)) for row, line in zip(table.rows, cells, strict=True))
    breaks = tuple(i for i in range(1, len(table.rows)) if table.rows[i].group != table.rows[i - 1].group)
    return Grid(tuple(groups), lines, breaks)


def split(grid: Grid, widest: int = 9) -> tuple[Grid, ...]:
    """The grid itself, or, when it has more columns than a page holds, accuracies apart from the rest."""
    if sum(len(group.columns) for group in grid.groups) <= widest:
        return (grid,)
    halves = [
        [i for i, g in enumerate(grid.groups) if (g.kind == "accuracy") == first] for first in (True, False)
    ]
    return tuple(
        Grid(
            tuple(grid.groups[i] for i in half),
            tuple(Line(line.label, line.row, tuple(line.groups[i] for i in half)) for line in grid.lines),
            grid.breaks,
        )
        for half in halves
        if half
    )


def legend(table: Table, best: str, unknown: str = "?", dagger: str = "†") -> list[str]:
    """The table's legend as lines, with the marks of a format."""
    marks = {"best": best, "unknown": unknown, "end to end": dagger, "difference": "Δ"}
    return [f"{marks[mark]}: {text}" for mark, text in table.legend]


def gap_lines(table: Table) -> list[str]:
    """What is missing, a line for each row and reason; readers see them under the word "Missing"."""
    lines = []
    for gap in table.gaps:
        where = f" at {gap.column}" if gap.column else ""
        detail = f" ({gap.detail})" if gap.detail else ""
        ids = f" [{', '.join(gap.runs)}]" if gap.runs else ""
        reason = "" if gap.state == "missing" else f": {gap.state}"
        lines.append(f"{gap.row}{where}, {seeds_named(gap.seeds)}{reason}{detail}{ids}")
    return lines
