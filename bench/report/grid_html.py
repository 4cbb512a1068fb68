"""A grid as an HTML table: headings in up to three levels, one body a group of rows, every own number a link."""

import html
import itertools
from collections.abc import Mapping
from urllib.parse import quote

from bench.report.layout import AGREE, GAP, Grid, Group, Line, Text
from bench.report.model import Table

_A4 = 515.0  # points between the margins of an upright page
_LETTER = 0.47  # mean width of a letter in tables, in its font's size


def table_html(table: Table, grid: Grid) -> str:
    """The table element.

    Rows that are compared with one another share a body, so that sorting never mixes controls with methods.
    `data-column` numbers the columns that can be sorted, `data-first` says which way first.
    """
    own = [texts[0] for line in grid.lines for texts in line.groups]
    widest = max((_beside(text) for text in own if text.at and AGREE not in text.remark), default=0)
    # The rare long remark makes room in its own column, not in all.
    wide = {
        k: most
        for k in range(len(grid.groups))
        if (most := max((_beside(line.groups[k][0]) for line in grid.lines), default=0)) > widest
    }
    marked = ".62em" if any(text.unknown or text.dagger for text in own) else "0"
    parts = [
        f'<table class="results" style="--beside:{widest}ch;--mark:{marked};--print:{print_size(grid)}pt">',
        f"<thead>{_head(table, grid)}</thead>",
    ]
    starts = [0, *grid.breaks, len(grid.lines)]
    address = "#cell=" + quote(table.name, safe="")
    for start, stop in itertools.pairwise(starts):
        rows = "".join([_row(line, grid.groups, address, wide) for line in grid.lines[start:stop]])
        parts.append(f"<tbody>{rows}</tbody>")
    return "".join([*parts, "</table>"])


def _beside(text: Text) -> int:
    """Letters of what stands beside a number."""
    return len(text.spread) + 2 * bool(text.spread) + (len(text.remark) + 2) * bool(text.remark)


def print_size(grid: Grid) -> float:
    """Size of a table's letters in points at which it fits a page."""
    heads = [title for group in grid.groups for title in group.columns]
    columns = zip(*([text for texts in line.groups for text in texts] for line in grid.lines), strict=True)
    widths = (
        max(len(head), *(len(text.plain()) for text in texts))
        for head, texts in zip(heads, columns, strict=True)
    )
    label = max((min(len(line.label), 22) for line in grid.lines), default=0)
    return round(min(9.0, _A4 / (_LETTER * (label + sum(width + 1.7 for width in widths)))), 2)


def _head(table: Table, grid: Grid) -> str:
    over = [
        (name, sum(len(g.columns) for g in own))
        for name, own in itertools.groupby(grid.groups, lambda g: g.over)
    ]
    levels = []
    if any(name for name, _ in over):
        levels.append(
            [f'<th class="over" colspan="{n}" scope="colgroup">{html.escape(name)}</th>' for name, n in over]
        )
    first = _ways(table, grid)
    deep = any(len(group.columns) > 1 for group in grid.groups)
    groups, subs, at = [], [], 0
    for group in grid.groups:
        n = len(group.columns)
        if n == 1:
            title = group.title if not group.columns[0] else f"{group.title} {group.columns[0]}"
            span = ' rowspan="2"' if deep else ""
            groups.append(_sortable(title, at, first.get(at), f'class="first"{span}'))
        else:
            groups.append(f'<th class="group" colspan="{n}" scope="colgroup">{html.escape(group.title)}</th>')
            subs += [
                _sortable(title, at + k, first.get(at + k), f'class="{"sub" if k else "sub first"}"')
                for k, title in enumerate(group.columns)
            ]
        at += n
    levels += [groups, subs] if deep else [groups]
    levels[0].insert(0, _sortable("Method", -1, "ascending", f'class="label" rowspan="{len(levels)}"'))
    return "".join(f"<tr>{''.join(level)}</tr>" for level in levels)


def _sortable(title: str, column: int, first: str | None, attributes: str) -> str:
    way = f' data-first="{first}"' if first else ""
    return f'<th {attributes} scope="col" data-column="{column}"{way}>{html.escape(title)}</th>'


def _ways(table: Table, grid: Grid) -> dict[int, str]:
    """Columns whose smallest number is the best: sorting begins with it."""
    lower = {(c.group, c.title) for c in table.columns if c.unit.higher_is_better is False}
    only = table.groups[0] if len(table.groups) == 1 else grid.title
    found, at = {}, 0
    for group in grid.groups:
        if group.kind == "measured" and (group.over or only, group.title) in lower:
            found |= dict.fromkeys(range(at, at + len(group.columns)), "ascending")
        at += len(group.columns)
    return found


def _row(line: Line, groups: tuple[Group, ...], address: str, wide: Mapping[int, int]) -> str:
    cells = [f'<th class="label" scope="row">{html.escape(line.label)}</th>']
    for number, (group, texts) in enumerate(zip(groups, line.groups, strict=True)):
        for k, text in enumerate(texts):
            aside = k > 0 or group.kind != "measured"
            room = f' style="--beside:{wide[number]}ch"' if number in wide and not k else ""
            cells.append(_cell(text, f"{'' if k else 'first '}{'aside ' if aside else ''}", address, room))
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: Text, cls: str, address: str, room: str) -> str:
    sort = "" if text.sort is None else f' data-v="{text.sort:.6g}"'
    if text.at is None:
        value = html.escape(text.value) + (f" ± {text.spread}" if text.spread else "")
        if text.value == GAP:
            cls += "gap"
            value += f'<span class="why">{html.escape(text.remark)}</span>' if text.remark else ""
        elif text.remark:
            value += f" ({html.escape(text.remark)})"
        return f'<td class="{cls.strip()}"{sort}>{value}</td>'
    beside = f"± {text.spread}" if text.spread else ""
    if text.remark:
        beside += f"{' ' if beside else ''}({html.escape(text.remark)})"
    number = f"<b>{text.value}</b>" if text.bold else text.value
    mark = "?" if text.unknown else "†" if text.dagger else ""
    return (
        f'<td class="{cls}own"{sort}{room}><a href="{address}:{text.at[0]}:{text.at[1]}">{number}</a>'
        f'<span class="mark">{mark}</span><span class="pm">{beside}</span></td>'
    )
