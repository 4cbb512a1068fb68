"""A report as LaTeX tables with booktabs, one `table` environment each, for a paper to input."""

import re

from bench.report.layout import GAP, Grid, Text, gap_lines, lay_out, legend
from bench.report.model import Report, Table

_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi",
    "ρ": "rho", "σ": "sigma", "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi",
    "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta", "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi",
    "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip

_ESCAPES = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%",
    "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
    ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "−": r"$-$", "±": r"$\pm$", "×": r"$\times$", "—": "---", "–": "--", "†": r"$^\dagger$", "…": r"\ldots{}",
    "\u00a0": "~", "\n": " ",
    **{letter: rf"$\{name}$" for letter, name in _GREEK.items()},
}  # fmt: skip

_PATTERN = re.compile("|".join(re.escape(key) for key in sorted(_ESCAPES, key=len, reverse=True)))

PREAMBLE = "% Needs \\usepackage{booktabs} and, for accented names, \\usepackage[T1]{fontenc}.\n"


def escape(text: str) -> str:
    """Text that LaTeX prints as it is. The weighted loss L_w is set as the paper sets it.

    Letters beyond Latin-1 that have no command here become "?".
    """
    known = "".join(c if c in _ESCAPES or _printable(c) else " " if c.isspace() else "?" for c in text)
    escaped = _PATTERN.sub(lambda match: _ESCAPES[match[0]], known)
    return re.sub(r"\bL\\_w\b", lambda _: r"$\mathcal{L}_w$", escaped)


def _printable(letter: str) -> bool:
    """Whether pdflatex sets a letter: of others it makes an error, and no table at all."""
    return " " <= letter <= "~" or "\u00a1" <= letter <= "\u00ff"


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
    return number + ("$^{?}$" if text.unknown else r"$^\dagger$" if text.dagger else "")


def render_table(table: Table) -> str:
    """One table environment; warnings, notes and gaps stand below it in small print."""
    label = re.sub(r"[^A-Za-z0-9]+", "-", table.name)
    caption = " ".join([table.caption, *(f"{line}." for line in legend(table, best="Bold"))])
    lines = [
        r"\begin{table}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{3pt}",
        rf"\caption{{{escape(caption)}}}",
        rf"\label{{tab:{label}}}",
    ]
    tabulars = [_titled(grid) for grid in lay_out(table)]
    lines.append("\n\\par\\medskip\n".join(tabulars))
    remarks = [*table.warnings, *table.notes, *(f"Missing: {line}." for line in gap_lines(table))]
    if remarks:
        text = " \\par ".join(escape(remark) for remark in remarks)
        lines.append(rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\scriptsize {text}\end{{minipage}}")
    return "\n".join([*lines, r"\end{table}", ""])


def _titled(grid: Grid) -> str:
    title = rf"\textit{{{escape(grid.title)}}}\par\smallskip" + "\n" if grid.title else ""
    return title + _tabular(grid)


def _tabular(grid: Grid) -> str:
    lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * grid.width}@{{}}}}", r"\toprule", *_heads(grid), r"\midrule"]
    for number, line in enumerate(grid.lines):
        if number in grid.breaks:
            lines.append(r"\midrule")
        cells = [_cell(text) for group in line.groups for text in group]
        lines.append(" & ".join([escape(line.label), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


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
        parts.append(escape(title) if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{escape(title)}}}")
        if width > 1 and title:
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        at += width
    return [" & ".join(parts) + r" \\", *(["".join(rules)] if rules else [])]


def render(report: Report) -> str:
    """The whole report, one table after another."""
    tables = [render_table(table) for table in report.tables if table.columns]
    return PREAMBLE + "\n" + ("\n".join(tables) if tables else "% No probe has been run yet.\n")
