"""A report as LaTeX tables with booktabs, for a paper to input: a float each, or several where one is too long."""

import re
from collections.abc import Sequence

from bench.report.latex_pages import LABEL_WIDTH, LINE_WIDTH, Page, fitting, label_width, pages, wrap
from bench.report.latex_text import escape
from bench.report.layout import GAP, Grid, Text, gap_lines, lay_out, legend
from bench.report.model import Report, Table

# A table that is wider than the line is made smaller.
PREAMBLE = r"""% Needs \usepackage{booktabs}, \usepackage{graphicx} and, for accented names, \usepackage[T1]{fontenc}.
\providecommand{\benchfit}[1]{\leavevmode\sbox0{#1}%
  \ifdim\wd0>\linewidth\resizebox{\linewidth}{!}{\usebox0}\else\usebox0\fi}
"""
# LaTeX keeps so many floats waiting for a page, and no more.
_WAITING = 12


def _cell(text: Text) -> str:
    if not text.value or text.value == GAP:
        return escape(text.value) + (rf" {{\scriptsize({escape(text.remark)})}}" if text.remark else "")
    number = escape(text.value)
    if text.spread:
        number += rf" {{\scriptsize$\pm$\,{escape(text.spread)}}}"
    if text.bold:
        number = rf"\textbf{{{number}}}"
    if text.remark:
        number += rf" {{\scriptsize({escape(text.remark)})}}"
    # The mark takes no room, so that digits stand below digits.
    return number + (r"\rlap{$^{?}$}" if text.unknown else r"\rlap{$^\dagger$}" if text.dagger else "")


def table_floats(table: Table) -> list[str]:
    """One table as table environments under one number; warnings, notes and gaps stand below it in small print."""
    label = re.sub(r"[^A-Za-z0-9]+", "-", table.name)
    caption = " ".join([table.caption, *(f"{line}." for line in legend(table, best="Bold"))])
    remarks = [*table.warnings, *table.notes, *(f"Missing: {line}." for line in gap_lines(table))]
    grids = [part for grid in lay_out(table) for part in fitting(grid)]
    head = [rf"\caption{{{escape(caption)}}}", rf"\label{{tab:{label}}}"]
    more = [r"\addtocounter{table}{-1}", r"\caption{(continued)}"]
    return [_float(page, more if k else head) for k, page in enumerate(pages(caption, grids, remarks))]


def _float(page: Page, head: Sequence[str]) -> str:
    lines = [
        r"\begin{table}[tp]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3.5pt}\emergencystretch=3em",
        *head,
        r"\par\smallskip",
    ]
    if page.grids:
        lines.append("\n\\par\\medskip\n".join(_titled(grid) for grid in page.grids))
    if page.remarks:
        text = " \\par\n".join(escape(remark) for remark in page.remarks)
        lines.append(
            (r"\par\smallskip" if page.grids else "")
            + r"\begin{minipage}{\linewidth}\scriptsize\raggedright"
            + f"\n{text}\n\\end{{minipage}}"
        )
    return "\n".join([*lines, r"\end{table}", ""])


def _titled(grid: Grid) -> str:
    title = rf"\textit{{{escape(grid.title)}}}\par\smallskip" + "\n" if grid.title else ""
    return f"{title}\\benchfit{{{_tabular(grid)}}}"


def _tabular(grid: Grid) -> str:
    long = label_width(grid) > LABEL_WIDTH
    labels = rf"p{{{LABEL_WIDTH / LINE_WIDTH:.2f}\linewidth}}" if long else "l"
    lines = [
        rf"\begin{{tabular}}{{@{{}}{labels}{'r' * grid.width}@{{}}}}",
        r"\toprule",
        *_heads(grid),
        r"\midrule",
    ]
    for number, line in enumerate(grid.lines):
        if number in grid.breaks:
            lines.append(r"\midrule")
        cells = [_cell(text) for group in line.groups for text in group]
        lines.append(" & ".join([_label(line.label, long), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _label(label: str, long: bool) -> str:
    if long:
        return r"\raggedright\hangindent=1em " + escape(label)
    # A bracket or a star after the line before would be an option of its end.
    return ("{}" if label[:1] in ("[", "*") else "") + escape(label)


def _heads(grid: Grid) -> list[str]:
    """Rows of headings: data sets where there are several, columns, and what stands below one heading."""
    lines: list[str] = []
    if any(group.over for group in grid.groups):
        lines += _row("", [(group.over, len(group.columns)) for group in grid.groups])
    lines += _row("Method", [(group.title, len(group.columns)) for group in grid.groups])
    if any(len(group.columns) > 1 for group in grid.groups):
        second = [escape(column) for group in grid.groups for column in group.columns]
        lines.append(" & ".join(["", *second]) + r" \\")
    return lines


def _row(label: str, titles: list[tuple[str, int]]) -> list[str]:
    """One row of headings, neighbours of one title joined and ruled."""
    joined: list[tuple[str, int]] = []
    for title, width in titles:
        if joined and joined[-1][0] == title and title:
            joined[-1] = (title, joined[-1][1] + width)
        else:
            joined.append((title, width))
    parts, rules, at = [label], [], 2
    for title, width in joined:
        heading = _heading(title, "r" if width == 1 else "c", width)
        parts.append(heading if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{heading}}}")
        if width > 1 and title:
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return [" & ".join(parts) + r" \\", *(["".join(rules)] if rules else [])]


def _heading(title: str, side: str, columns: int = 1) -> str:
    lines = wrap(title, columns)
    if len(lines) == 1:
        return escape(title)
    stacked = r"\\".join(rf"\strut {escape(line)}" for line in lines)
    return rf"\shortstack[{side}]{{{stacked}}}"


def render(report: Report) -> str:
    """The whole report, one table after another."""
    floats = [part for table in report.tables if table.columns for part in table_floats(table)]
    for k in range(_WAITING, len(floats), _WAITING):
        floats[k] = "\\clearpage\n" + floats[k]
    return PREAMBLE + "\n" + ("\n".join(floats) if floats else "% No probe has been run yet.\n")
