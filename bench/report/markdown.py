"""A report as Markdown that can be pasted into a README."""

import re

from bench.report.layout import Text, gap_lines, lay_out, legend, split
from bench.report.model import Report, Table

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~])")


def escape(text: str) -> str:
    """Text that Markdown prints as it is, in a table cell too."""
    return _SPECIAL.sub(r"\\\1", text.replace("\n", " "))


def _cell(text: Text) -> str:
    number = text.value + (f" ± {text.spread}" if text.spread else "")
    if text.bold:
        number = f"**{number}**"
    number += f" (n={text.remark.removeprefix('n=')})" if text.remark else ""
    return number + (" ?" if text.unknown else " †" if text.dagger else "")


def render_table(table: Table) -> str:
    """One table with its caption, notes and gaps."""
    lines = [f"### {escape(table.title)}", "", escape(table.caption), ""]
    for grid in split(lay_out(table)):
        if not grid.groups:
            continue
        heads = ["Method"]
        for group in grid.groups:
            heads += [_head(group.title, column) for column in group.columns]
        lines += ["| " + " | ".join(heads) + " |", "|:---" + "|---:" * (len(heads) - 1) + "|"]
        for number, line in enumerate(grid.lines):
            label = escape(line.label)
            if number in grid.breaks and line.row.group == "controls":
                lines.append("| *Controls* |" + " |" * (len(heads) - 1))
            cells = [_cell(text) for group in line.groups for text in group]
            lines.append("| " + " | ".join([label, *cells]) + " |")
        lines.append("")
    lines += [f"{escape(text)}.  " for text in legend(table, best="Bold")]
    if lines[-1].endswith("  "):
        lines.append("")
    for warning in table.warnings:
        lines += [f"> **Warning.** {escape(warning)}", ""]
    for note in table.notes:
        lines += [f"- {escape(note)}"]
    if table.notes:
        lines.append("")
    if table.gaps:
        lines += ["Missing:", "", *(f"- {escape(line)}" for line in gap_lines(table)), ""]
    return "\n".join(lines)


def _head(group: str, column: str) -> str:
    if column in ("", "ours"):
        return escape(group)
    if column in ("paper", "Δ"):
        return column
    return escape(f"{group}, {column}" if group == "best-test − last" else column)


def render(report: Report) -> str:
    """The whole report."""
    parts = [render_table(table) for table in report.tables]
    if not parts:
        parts.append("No probe has been run yet.\n")
    if report.pending:
        parts.append(
            "Pretrained, not probed:\n\n" + "\n".join(f"- {escape(p)}" for p in report.pending) + "\n"
        )
    if report.problems:
        parts.append("Not readable:\n\n" + "\n".join(f"- {escape(p)}" for p in report.problems) + "\n")
    return "\n".join(parts)
