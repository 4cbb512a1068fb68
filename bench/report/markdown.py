"""A report as Markdown that can be pasted into a README."""

import re
from collections.abc import Sequence

from bench.report.layout import Grid, Group, Text, gap_lines, lay_out, legend
from bench.report.model import Claim, Plain, Report, Table
from bench.report.said import difference_line, evidence, tally, verdict_title
from bench.report.variance import Varied, of_baseline, of_claims, printed

_SPECIAL = re.compile(r"([\\`*_\[\]<>|~$])")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def escape(text: str) -> str:
    """Text that Markdown prints as it is, in a table cell too."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", text))


def _cell(text: Text) -> str:
    number = text.value + (f" ± {text.spread}" if text.spread else "")
    if text.bold:
        number = f"**{number}**"
    number += f" ({text.remark})" if text.remark else ""
    return number + (" ?" if text.unknown else " †" if text.dagger else "")


def render_table(table: Table) -> str:
    """One table with its caption, notes and gaps."""
    lines = [f"### {escape(table.title)}", "", escape(table.caption), ""]
    for grid in lay_out(table):
        lines += [f"**{escape(grid.title)}**", ""] if grid.title else []
        lines += [*_grid(grid), ""]
    lines += [f"{escape(text)}.  " for text in legend(table, best="Bold")]
    if lines[-1].endswith("  "):
        lines.append("")
    for warning in table.warnings:
        lines += [f"> **Warning.** {escape(warning)}", ""]
    for note in table.notes:
        lines += [f"- {escape(note)}"]
    if table.notes:
        lines.append("")
    lines += _variances(of_baseline(table), "differences")
    if table.gaps:
        lines += ["Missing:", "", *(f"- {escape(line)}" for line in gap_lines(table)), ""]
    return "\n".join(lines)


def _grid(grid: Grid) -> list[str]:
    heads = ["Method", *(head for group in grid.groups for head in _heads(group))]
    lines = ["| " + " | ".join(heads) + " |", "|:---" + "|---:" * (len(heads) - 1) + "|"]
    for number, line in enumerate(grid.lines):
        if number in grid.breaks and line.row.group == "controls":
            lines.append("| *Controls* |" + " |" * (len(heads) - 1))
        cells = [_cell(text) for group in line.groups for text in group]
        lines.append("| " + " | ".join([escape(line.label), *cells]) + " |")
    return lines


def _heads(group: Group) -> list[str]:
    """A heading's columns, each readable by itself: Markdown has one row of headings."""
    over = f"{group.over} " if group.over else ""
    if group.kind != "measured":
        return [escape(f"{over}{group.title}, {column}") for column in group.columns]
    first = escape(f"{over}{group.title}".strip() or "ours")
    return [first, *(escape(column) for column in group.columns[1:])]


def render_claim(claim: Claim) -> str:
    """One claim as an item of a list, its differences below it."""
    quote = f"*“{escape(claim.quote)}”*" if claim.quote else ""
    where = f"({escape(claim.place)})" if claim.where else ""
    said = " ".join(part for part in (quote, where, escape(claim.note)) if part)
    lines = [f"- **{verdict_title(claim)}**: {escape(claim.text)} {escape(evidence(claim))}"]
    lines += [f"  {said}"] if said else []
    shown = [*([claim.overall] if claim.overall else []), *claim.comparisons]
    lines += [f"    - {escape(difference_line(one))}" for one in shown if one.n]
    return "\n".join(lines)


def _variances(lines: Sequence[Varied], tested: str) -> list[str]:
    """What differences vary by and how many seeds would tell: a table with what it means below it."""
    found = printed(lines, tested)
    if not found.rows:
        return []
    table = ["| " + " | ".join(found.heads) + " |", "|:---|:---" + "|---:" * (len(found.heads) - 2) + "|"]
    table += ["| " + " | ".join(map(escape, row)) + " |" for row in found.rows]
    return ["**What the differences vary by**", "", *table, "", escape(" ".join(found.notes)), ""]


def _claims(report: Report) -> list[str]:
    parts = []
    for table in report.tables:
        own = [claim for claim in report.claims if claim.table == table.name]
        if own:
            items = "\n".join(render_claim(claim) for claim in own)
            varied = "".join(f"{line}\n" for line in _variances(of_claims(own), "claims"))
            text = f"### Claims of {escape(table.title)}\n\n{tally(own)}\n\n{items}\n\n{varied}"
            parts.append(f"{text.rstrip()}\n")
    return parts


def _plain(table: Plain) -> str:
    lines = [f"### {escape(table.title)}", "", "| " + " | ".join(map(escape, table.columns)) + " |"]
    lines.append("|:---" * len(table.columns) + "|")
    lines += ["| " + " | ".join(map(escape, row)) + " |" for row in table.rows]
    return "\n".join([*lines, "", escape(table.note), ""])


def render(report: Report) -> str:
    """The whole report: what must be read first, claims, tables, what is missing."""
    parts = ["".join(f"> {escape(line)}\n" for line in report.notices)] if report.notices else []
    parts += _claims(report)
    parts += [render_table(table) for table in report.tables]
    if not report.tables:
        parts.append("No probe has been run yet.\n")
    parts += [_plain(table) for table in report.plain]
    if report.pending:
        parts.append("Not in any table:\n\n" + "\n".join(f"- {escape(p)}" for p in report.pending) + "\n")
    if report.problems:
        parts.append("Not readable:\n\n" + "\n".join(f"- {escape(p)}" for p in report.problems) + "\n")
    return "\n".join(parts)
