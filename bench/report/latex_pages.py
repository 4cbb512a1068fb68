r"""Tables cut to what a page of an article holds: how wide a grid will be, how high, and where it is cut.

Widths and heights are estimates in points, for digits of 8 points on a line of 345 and a page of 550, as in LaTeX's
own article; `\benchfit` makes up for what they miss.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from bench.report.layout import Grid, Group, Line, Text

LINE_WIDTH, PAGE_HEIGHT = 345.0, 530.0
# A grid may be shrunk so far; what is wider is cut in two.
LEAST_SCALE = 0.8
# Longer labels are set on several lines.
LABEL_WIDTH = 0.38 * LINE_WIDTH
LONGEST_TITLE = 16

_LETTER, _DIGIT, _BOLD, _SMALL = 4.3, 4.3, 4.9, 3.7
_GAP, _ROW, _RULES = 7.0, 9.5, 22.0
_CAPTION_LETTERS, _CAPTION_LINE, _REMARK_LETTERS, _REMARK_LINE = 69, 12.0, 91, 8.0
# Of lines, below which a grid is not cut but begun on the next page.
_FEWEST = 8
_LONGEST_REMARK = 20 * _REMARK_LETTERS


def _letters(text: str) -> float:
    """How many letters of usual width are as wide as a text. One that is printed as its number is six."""
    return len(text) + sum(0.5 if c.isupper() and c < "\u0180" else 6 if c > "\u2e80" else 0 for c in text)


def wrap(title: str, columns: int = 1) -> list[str]:
    """A heading on as many lines of about the same length as it needs."""
    import textwrap

    room = LONGEST_TITLE + 9 * (columns - 1)
    if len(title) <= room:
        return [title]
    even = math.ceil(len(title) / math.ceil(len(title) / room)) + 2
    return textwrap.wrap(title, min(even, room), break_on_hyphens=False) or [title]


def _cell_width(text: Text) -> float:
    width = len(text.value) * (_BOLD if text.bold else _DIGIT)
    if text.spread:
        width += 9 + len(text.spread) * _SMALL
    if text.remark:
        width += 3 + (len(text.remark) + 2) * _SMALL
    return width + (4 if text.unknown or text.dagger else 0)


def label_width(grid: Grid) -> float:
    """Of the widest label on one line."""
    return max((_letters(line.label) * _LETTER for line in grid.lines), default=0.0)


def _group_width(grid: Grid, number: int) -> float:
    group = grid.groups[number]
    columns = [
        max([_letters(title) * _LETTER, *(_cell_width(line.groups[number][k]) for line in grid.lines)])
        for k, title in enumerate(group.columns)
    ]
    within = sum(columns) + _GAP * (len(columns) - 1)
    heads = [part for title in (group.title, group.over) for part in wrap(title, len(columns))]
    return max(within, *(_letters(part) * _LETTER for part in heads))


def width(grid: Grid) -> float:
    """Of a grid with its labels."""
    labels = min(max(label_width(grid), 6 * _LETTER), LABEL_WIDTH)
    return labels + sum(_GAP + _group_width(grid, k) for k in range(len(grid.groups)))


def _part(grid: Grid, numbers: Iterable[int]) -> Grid:
    """Some of a grid's groups."""
    own = list(numbers)
    lines = tuple(dataclasses.replace(line, groups=tuple(line.groups[k] for k in own)) for line in grid.lines)
    return dataclasses.replace(grid, groups=tuple(grid.groups[k] for k in own), lines=lines)


def fitting(grid: Grid) -> list[Grid]:
    """A grid as it is where it fits on a line, at `LEAST_SCALE` if need be; else cut between its groups.

    What is beside the point (optimism, costs) goes below before measured columns are parted.
    """
    if width(grid) <= LINE_WIDTH:
        return [grid]
    measured = [k for k, group in enumerate(grid.groups) if group.kind == "measured"]
    aside = [k for k, group in enumerate(grid.groups) if group.kind != "measured"]
    parts = [_part(grid, own) for own in (measured, aside) if own]
    return [piece for part in parts for piece in _columns(part)]


def _columns(grid: Grid) -> list[Grid]:
    """As few grids as are wide enough, each with about as many columns."""
    room = LINE_WIDTH / LEAST_SCALE
    for count in range(1, len(grid.groups)):
        cuts = [_part(grid, own) for own in _evenly(grid.groups, count)]
        if all(width(cut) <= room for cut in cuts):
            return cuts
    return [_part(grid, [k]) for k in range(len(grid.groups))]


def _evenly(groups: Sequence[Group], count: int) -> list[list[int]]:
    """Numbers of neighbouring groups in `count` lots of nearly the same number of groups."""
    size, more = divmod(len(groups), count)
    found, at = [], 0
    for k in range(count):
        end = at + size + (k < more)
        found.append(list(range(at, end)))
        at = end
    return found


@dataclass
class Page:
    """What one float holds.

    Attributes:
        used: points of its height.
        grids: in order.
        remarks: paragraphs below them.
    """

    used: float
    grids: list[Grid] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def pages(caption: str, grids: Iterable[Grid], remarks: Iterable[str]) -> list[Page]:
    """Grids and remarks on as many pages as they need, in order.

    Args:
        caption: of the first page.
        grids: each no wider than a line.
        remarks: small print.
    """
    found = [Page(_caption_height(caption))]
    for grid in grids:
        _place(found, grid)
    for remark in remarks:
        for piece in _pieces(remark):
            height = math.ceil(_letters(piece) / _REMARK_LETTERS) * _REMARK_LINE
            if found[-1].used + height > PAGE_HEIGHT:
                found.append(_next())
            found[-1].remarks.append(piece)
            found[-1].used += height
    return found


def _caption_height(caption: str) -> float:
    return 20 + math.ceil(_letters(caption) / _CAPTION_LETTERS) * _CAPTION_LINE


def _next() -> Page:
    return Page(_caption_height("(continued)"))


def _place(found: list[Page], grid: Grid) -> None:
    """A grid on the last page, or on new ones, cut between its lines where it is longer than a page."""
    while True:
        heads = _RULES + _ROW * (2.5 + bool(grid.title) + 0.6 * len(grid.breaks))
        room = int((PAGE_HEIGHT - found[-1].used - heads) / _line_height(grid))
        if room >= len(grid.lines):
            found[-1].grids.append(grid)
            found[-1].used += heads + len(grid.lines) * _line_height(grid)
            return
        whole = (PAGE_HEIGHT - _next().used - heads) / _line_height(grid)
        if room < _FEWEST or (whole >= len(grid.lines) and found[-1].grids):
            # A page that holds nothing yet takes what it can, or there would be no end.
            if found[-1].grids or found[-1].used > _next().used:
                found.append(_next())
                continue
            room = max(room, 1)
        first, grid = _cut(grid, room)
        found[-1].grids.append(first)
        found.append(_next())


def _line_height(grid: Grid) -> float:
    """Of the highest of its lines, as labels that are too long are broken."""
    return _ROW * max(1, math.ceil(label_width(grid) * 1.15 / LABEL_WIDTH))


def _cut(grid: Grid, count: int) -> tuple[Grid, Grid]:
    def some(lines: tuple[Line, ...], first: int) -> Grid:
        breaks = tuple(k - first for k in grid.breaks if first < k < first + len(lines))
        return dataclasses.replace(grid, lines=lines, breaks=breaks)

    return some(grid.lines[:count], 0), some(grid.lines[count:], count)


def _pieces(remark: str) -> list[str]:
    """A remark that is longer than a good part of a page, in several."""
    import textwrap

    return (
        textwrap.wrap(remark, _LONGEST_REMARK, break_on_hyphens=False)
        if len(remark) > _LONGEST_REMARK
        else [remark]
    )
