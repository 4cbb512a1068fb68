"""A report on the terminal, with rich: as many groups of columns side by side as the width allows."""

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text as RichText

from bench.report.layout import GAP, Grid, Text, gap_lines, lay_out, legend
from bench.report.model import Report, Table
from bench.report.said import VERDICTS, evidence, tally

BEST = "*"


def _column(texts: list[Text], head: str) -> tuple[str, list[RichText]]:
    """A column set by hand: means under means, intervals under intervals, marks in a margin of their own."""
    number = max(len(text.value) for text in texts)
    spread = max(len(text.spread) + 3 if text.spread else 0 for text in texts)
    tails = [(f" ({t.remark})" if t.remark else "") + _mark(t) for t in texts]
    margin = max(len(tail) for tail in tails)
    if not spread and not margin:
        number = max(number, *(len(part) for part in head.split("\n")))
    cells = []
    for text, tail in zip(texts, tails, strict=True):
        plus = f" ± {text.spread}" if text.spread else ""
        line = text.value.rjust(number) + plus.rjust(spread)
        line = line.rstrip() + tail if not text.spread else line + tail
        style = "bold green" if text.bold else "dim" if text.value == GAP else ""
        cells.append(RichText(line, style=style))
    width = number + spread + (margin if not number else 0)
    return "\n".join(part.rjust(width) for part in head.split("\n")), cells


def _mark(text: Text) -> str:
    return f" {BEST}" if text.bold else " ?" if text.unknown else " †" if text.dagger else ""


def _head(group_title: str, column: str) -> str:
    return f"{group_title}\n{column}" if column else group_title


def _columns(grid: Grid, group: int) -> list[tuple[str, list[RichText]]]:
    """Heads and cells of a group's columns; its title stands over the first."""
    shown = []
    for k, column in enumerate(grid.groups[group].columns):
        title = " ".join(part for part in (grid.groups[group].over, grid.groups[group].title) if part)
        head = _head(title if k == 0 else "", column)
        shown.append(_column([line.groups[group][k] for line in grid.lines], head))
    return shown


def _width(columns: list[tuple[str, list[RichText]]]) -> int:
    """Printed width of a group, padding included."""
    return sum(
        2 + max(*(len(part) for part in head.split("\n")), *(len(cell) for cell in cells))
        for head, cells in columns
    )


def _pack(grid: Grid, width: int) -> list[list[int]]:
    """Group numbers for each printed table, in order, none wider than the terminal unless alone."""
    label = 2 + max([len("Method"), *(len(line.label) for line in grid.lines)])
    packs: list[list[int]] = []
    room = 0
    for i in range(len(grid.groups)):
        size = _width(_columns(grid, i))
        if not packs or size > room:
            packs.append([])
            room = width - label
        packs[-1].append(i)
        room -= size
    return packs


def _print_grid(grid: Grid, console: Console) -> None:
    for pack in _pack(grid, console.width):
        shown = RichTable(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 1))
        shown.add_column("Method", overflow="fold", vertical="bottom")
        columns = [column for i in pack for column in _columns(grid, i)]
        for head, _ in columns:
            shown.add_column(head, justify="left", no_wrap=True, vertical="bottom")
        for number, line in enumerate(grid.lines):
            if number in grid.breaks:
                shown.add_row()
            shown.add_row(RichText(line.label), *(cells[number] for _, cells in columns))
        console.print(shown)
        console.print()


def _print_table(table: Table, console: Console) -> None:
    def line(text: str, style: str = "") -> None:
        console.print(RichText(text), style=style, highlight=False)

    line(table.title, "bold underline")
    line(table.caption, "dim")
    console.print()
    for grid in lay_out(table):
        if grid.title:
            line(grid.title, "bold")
        _print_grid(grid, console)
    for warning in table.warnings:
        line(f"Warning: {warning}", "yellow")
    for text in [*(f"{entry}." for entry in legend(table, best=BEST)), *table.notes]:
        line(text, "dim")
    gaps = gap_lines(table)
    for text in gaps[:12]:
        line(f"Missing: {text}")
    if len(gaps) > 12:
        line(f"Missing: {len(gaps) - 12} more, all named in the written report")
    console.print()


def _print_claims(report: Report, console: Console) -> None:
    """Every claim with its verdict, a line each, by table."""
    styles = {"supported": "green", "contradicted": "red", "undecided": "", "not run": "dim"}
    wide = max(len(title) for title in VERDICTS.values())
    for table in report.tables:
        own = [claim for claim in report.claims if claim.table == table.name]
        if not own:
            continue
        console.print(RichText(f"What the paper says of it: {table.title}"), style="bold", highlight=False)
        console.print(RichText(tally(own)), style="dim", highlight=False)
        for claim in own:
            text = RichText(VERDICTS[claim.verdict].ljust(wide + 2), style=styles[claim.verdict])
            text.append(f"{claim.text} ", style="")
            text.append(evidence(claim), style="dim")
            console.print(text, highlight=False)
        console.print()


def render(report: Report, console: Console) -> None:
    """Print a report."""
    for text in report.notices:
        console.print(RichText(text), style="yellow", highlight=False)
    if report.notices:
        console.print()
    for table in report.tables:
        _print_table(table, console)
    _print_claims(report, console)
    if not report.tables:
        console.print("No probe has been run yet.")
    for title, lines in (("Not in any table", report.pending), ("Not readable", report.problems)):
        for text in lines:
            console.print(RichText(f"{title}: {text}"), highlight=False)
