"""Tables laid out in groups of columns, their numbers as text: what Markdown, LaTeX, HTML and terminal share.

Fractions turn into percent here, and nowhere before.
"""

from dataclasses import dataclass
from typing import Literal

from bench.report.model import Against, Cell, Column, Cost, Row, Table
from bench.report.words import rounded, seeds_named
from bench.stats import Estimate
from bench.studies.metrics import Metric

GAP = "—"
MINUS = "−"
AGREE = "seeds agree"  # stands where several seeds gave one number, which is no interval of width zero
WIDEST = 9  # columns of numbers that a page holds
WIDEST_TOGETHER = 6  # of several data sets side by side, whose headings are long


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
        at: (number of the row, number of the column) of the cell whose own number this is; None for all else.
        sort: the number itself; None where there is none.
    """

    value: str
    spread: str = ""
    remark: str = ""
    bold: bool = False
    unknown: bool = False
    dagger: bool = False
    at: tuple[int, int] | None = None
    sort: float | None = None

    def plain(self, bold: str = "", unknown: str = " ?", dagger: str = " †") -> str:
        """As one string; `bold` is appended to what is bold elsewhere."""
        text = self.value + (f" ± {self.spread}" if self.spread else "")
        text += f" ({self.remark})" if self.remark else ""
        return text + (bold if self.bold else unknown if self.unknown else dagger if self.dagger else "")


@dataclass(frozen=True)
class Group:
    """Neighbouring columns under one heading.

    Attributes:
        title: of the heading.
        columns: what stands below it: "ours", "paper", ...; one "" where the heading says it all.
        kind: "measured" groups begin with our own number.
        over: heading above the heading: the data set, where the grid shows several; else "".
    """

    title: str
    columns: tuple[str, ...]
    kind: Literal["measured", "optimism", "cost"]
    over: str = ""


@dataclass(frozen=True)
class Line:
    """One printed row: a tuple of cells for every group."""

    label: str
    row: Row
    groups: tuple[tuple[Text, ...], ...]


@dataclass(frozen=True)
class Grid:
    """A printed table.

    Attributes:
        title: the data set, where the table is printed in several grids; else "".
        groups: of columns.
        lines: rows.
        breaks: numbers of the lines before which a rule is drawn.
    """

    title: str
    groups: tuple[Group, ...]
    lines: tuple[Line, ...]
    breaks: tuple[int, ...]

    @property
    def width(self) -> int:
        """Columns of numbers."""
        return sum(len(group.columns) for group in self.groups)


def in_unit(value: float, metric: Metric) -> float:
    """A record's number as it is printed: a fraction in percent."""
    return 100 * value if metric.percent else value


def decimals(metric: Metric) -> int:
    """Digits after the point: two of a percentage, a decibel or a distance, three of what lies in 0..1."""
    return {"ssim": 3, "kid": 3, "distortion": 1, "rate": 1, "parts_alive": 1}.get(metric.name, 2)


def number(value: float, metric: Metric) -> str:
    """A record's number as text."""
    return f"{in_unit(value, metric):.{decimals(metric)}f}".replace("-", MINUS)


def half_width(half: float, metric: Metric) -> str:
    """Half width of an interval as text, in as many digits as it takes to see that it is not zero."""
    return rounded(in_unit(half, metric), decimals(metric))


def signed(value: float, metric: Metric) -> str:
    """A difference of records' numbers as text, with its sign."""
    text = f"{in_unit(value, metric):+.{decimals(metric)}f}"
    return (text[1:] if float(text) == 0 else text).replace("-", MINUS)


def measured(cell: Cell, column: Column, usual_n: int, at: tuple[int, int] | None = None) -> Text:
    """A cell's mean, interval and marks."""
    if cell.estimate is None:
        return Text(GAP, remark=cell.why)
    e = cell.estimate
    remarks = [*([] if e.n == usual_n else [f"n={e.n}"]), *([AGREE] if e.agree else [])]
    return Text(
        number(e.mean, column.unit),
        "" if e.half is None else half_width(e.half, column.unit),
        ", ".join(remarks),
        bold=cell.standing in ("best", "tied"),
        unknown=cell.standing == "unknown",
        dagger=cell.end_to_end,
        at=at,
        sort=in_unit(e.mean, column.unit),
    )


def _signed(value: float | None, metric: Metric) -> Text:
    return Text("") if value is None else Text(signed(value, metric), sort=in_unit(value, metric))


def _against(against: Against | None, metric: Metric) -> Text:
    if against is None:
        return Text("")
    return Text(
        signed(against.difference, metric),
        "" if against.half is None else half_width(against.half, metric),
        AGREE if against.half is None and against.n > 1 else "",
        sort=in_unit(against.difference, metric),
    )


def _optimism(estimate: Estimate | None, metric: Metric) -> Text:
    return Text(GAP) if estimate is None else _signed(estimate.mean, metric)


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
    speed = cost.images_per_second
    rate = Text(GAP) if speed is None else Text(f"{speed:,.0f}", sort=speed)
    return (Text(seconds(cost.seconds), sort=cost.seconds), rate)


def _column(table: Table, j: int, over: str) -> tuple[Group, list[tuple[Text, ...]]]:
    """A column's own number, the difference from the baseline, the paper's number, the difference from it."""
    column, cells = table.columns[j], [row.cells[j] for row in table.rows]
    names = ["ours"]
    texts = [[measured(cell, column, table.usual_n, (i, j))] for i, cell in enumerate(cells)]
    if table.baseline and any(cell.against is not None for cell in cells):
        names.append(f"− {table.baseline}")
        for cell, line in zip(cells, texts, strict=True):
            line.append(_against(cell.against, column.unit))
    if any(cell.published is not None for cell in cells):
        names.append("paper")
        for cell, line in zip(cells, texts, strict=True):
            paper = cell.published
            line.append(
                Text("")
                if paper is None
                else Text(number(paper, column.unit), sort=in_unit(paper, column.unit))
            )
        if not column.incomparable:
            names.append("Δ")
            for cell, line in zip(cells, texts, strict=True):
                line.append(_signed(cell.difference, column.unit))
    group = Group(column.title, tuple(names) if len(names) > 1 else ("",), "measured", over)
    return group, [tuple(line) for line in texts]


def _asides(table: Table, name: str, over: str) -> list[tuple[Group, list[tuple[Text, ...]]]]:
    """Of one data set: what choosing on the test set adds, and what pretraining took."""
    found: list[tuple[Group, list[tuple[Text, ...]]]] = []
    own = [j for j, column in enumerate(table.columns) if column.group == name]
    known = [j for j in own if any(row.cells[j].optimism is not None for row in table.rows)]
    if known:
        titles = tuple(table.columns[j].title for j in known)
        texts = [
            tuple(_optimism(row.cells[j].optimism, table.columns[j].unit) for j in known)
            for row in table.rows
        ]
        found.append((Group("best-test − last", titles, "optimism", over), texts))
    dataset = next(table.columns[j].dataset for j in own)
    if any(dataset in row.costs for row in table.rows):
        costs = [_cost(row.costs.get(dataset)) for row in table.rows]
        found.append((Group("pretraining", ("time", "images/s"), "cost", over), costs))
    return found


def _grid(table: Table, title: str, parts: list[tuple[Group, list[tuple[Text, ...]]]]) -> Grid:
    lines = tuple(
        Line(row.label, row, tuple(texts[i] for _, texts in parts)) for i, row in enumerate(table.rows)
    )
    breaks = tuple(i for i in range(1, len(table.rows)) if table.rows[i].group != table.rows[i - 1].group)
    return Grid(title, tuple(group for group, _ in parts), lines, breaks)


def lay_out(table: Table) -> tuple[Grid, ...]:
    """One grid where all fits side by side; else one a data set, what is beside the point below or beside it."""
    if not table.columns:
        return ()
    several = len(table.groups) > 1
    if several:
        whole = [_column(table, j, column.group) for j, column in enumerate(table.columns)]
        together = _grid(table, "", whole)
        if together.width <= WIDEST_TOGETHER:
            extra = [part for name in table.groups for part in _asides(table, name, name)]
            return (together, _grid(table, "", extra)) if extra else (together,)
    grids: list[Grid] = []
    for name in table.groups:
        own = [_column(table, j, "") for j, column in enumerate(table.columns) if column.group == name]
        rest = _asides(table, name, "")
        title = name if several else ""
        grid = _grid(table, title, [*own, *rest])
        if grid.width <= WIDEST:
            grids.append(grid)
        else:
            grids += [_grid(table, title, parts) for parts in (*_chunks(own), rest) if parts]
    return tuple(grids)


def _chunks(
    parts: list[tuple[Group, list[tuple[Text, ...]]]],
) -> list[list[tuple[Group, list[tuple[Text, ...]]]]]:
    """Columns in as many grids as they need, none wider than a page unless it is one column's."""
    found: list[list[tuple[Group, list[tuple[Text, ...]]]]] = []
    room = 0
    for part in parts:
        width = len(part[0].columns)
        if not found or width > room:
            found.append([])
            room = WIDEST
        found[-1].append(part)
        room -= width
    return found


def legend(table: Table, best: str, unknown: str = "?", dagger: str = "†") -> list[str]:
    """The table's legend as lines, with the marks of a format."""
    marks = {
        "best": best,
        "agree": f"({AGREE})",
        "unknown": unknown,
        "end to end": dagger,
        "difference": "Δ",
        "incomparable": "paper without Δ",
    }
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
