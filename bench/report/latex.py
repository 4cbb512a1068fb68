"""A report as LaTeX tables with booktabs, one `table` environment each, for a paper to input."""

import re

from bench.report.layout import GAP, Grid, Text, gap_lines, lay_out, legend, split
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
    """Text that LaTeX prints as it is. The weighted loss L_w is set as the paper sets it."""
    escaped = _PATTERN.sub(lambda match: _ESCAPES[match[0]], text)
    return re.sub(r"\bL\\_w\b", lambda _: r"$\mathcal{L}_w$", escaped)


def _cell(text: Text) -> str:
    if not text.value or text.value == GAP:
        return escape(text.value)
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
    tabulars = [_tabular(grid) for grid in split(lay_out(table)) if grid.groups]
    lines.append("\n\\par\\medskip\n".join(tabulars))
    remarks = [*table.warnings, *table.notes, *(f"Missing: {line}." for line in gap_lines(table))]
    if remarks:
        text = " \\par ".join(escape(remark) for remark in remarks)
        lines.append(rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\scriptsize {text}\end{{minipage}}")
    return "\n".join([*lines, r"\end{table}", ""])


def _tabular(grid: Grid) -> str:
    width = sum(len(group.columns) for group in grid.groups)
    lines = [rf"\begin{{tabular}}{{@{{}}l{'r' * width}@{{}}}}", r"\toprule", *_heads(grid), r"\midrule"]
    for number, line in enumerate(grid.lines):
        if number in grid.breaks:
            lines.append(r"\midrule")
        cells = [_cell(text) for group in line.groups for text in group]
        lines.append(" & ".join([escape(line.label), *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def _heads(grid: Grid) -> list[str]:
    top, rules, second, at = ["Method"], [], [""], 2
    for group in grid.groups:
        width = len(group.columns)
        title = escape(group.title)
        top.append(title if width == 1 else rf"\multicolumn{{{width}}}{{c}}{{{title}}}")
        if width > 1:
            rules.append(rf"\cmidrule(lr){{{at}-{at + width - 1}}}")
        second += [escape(column) for column in group.columns]
        at += width
    lines = [" & ".join(top) + r" \\"]
    return [*lines, "".join(rules), " & ".join(second) + r" \\"] if rules else lines


def render(report: Report) -> str:
    """The whole report, one table after another."""
    tables = [render_table(table) for table in report.tables if table.columns]
    return PREAMBLE + "\n" + ("\n".join(tables) if tables else "% No probe has been run yet.\n")
