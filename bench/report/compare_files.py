"""A comparison of two results as texts: Markdown, CSV and one page of HTML."""

import csv
import io
from collections import Counter

from bench.report.compare import STATES, Compared, Comparison
from bench.report.layout import GAP, in_unit, number
from bench.report.markdown import escape
from bench.report.variance import difference_text
from bench.report.words import count
from bench.studies.metrics import METRICS


def tally(comparison: Comparison) -> str:
    """How many cells are in which state."""
    counted = Counter(one.state for one in comparison.cells)
    return "; ".join(f"{counted[state]} {state}" for state in STATES if counted[state]) or "no cells"


def meanings(comparison: Comparison) -> str:
    """What the states that occur mean."""
    found = {one.state for one in comparison.cells}
    said = [f"{state}: {meaning}" for state, meaning in STATES.items() if state in found and meaning]
    return "; ".join(said) + "." if said else ""


def sides(comparison: Comparison) -> list[str]:
    """What A and B are, where their numbers come from, and what could not be read."""
    lines: list[str] = []
    for k, letter in enumerate("AB"):
        done, total = comparison.done[k]
        said = [f"{s.commit or 'unknown'} ({s.runs} runs, {s.device})" for s in comparison.sources[k]]
        lines.append(
            f"{letter} is {comparison.names[k]}: {done} of {count(total, 'run')} done, {', '.join(said)}"
        )
        lines += [f"{letter}, not read: {problem}" for problem in comparison.problems[k]]
    return [line.removesuffix(", ") for line in lines]


def texts(one: Compared) -> tuple[str, ...]:
    """One cell as printed: what, A, B, the difference, its state."""
    metric = METRICS[one.key.metric]
    what = " ".join(part for part in (one.key.label, one.key.dataset, one.key.freeze) if part)
    values = [GAP if value is None else number(value, metric) for value in (one.a, one.b)]
    difference = difference_text(one.difference, one.half, 1, metric)
    p = "" if one.p is None else "< 0.001" if one.p < 0.001 else f"{one.p:.3f}"
    return (what, metric.title, *values, difference, f"{one.n[0]}, {one.n[1]}", p, one.state)


HEAD = ("cell", "metric", "A", "B", "B − A", "n", "p", "")


def interesting(comparison: Comparison) -> list[Compared]:
    """The cells that are not identical, those that tell most first."""
    order = list(STATES)
    cells = (one for one in comparison.cells if one.state != "identical")
    return sorted(cells, key=lambda one: order.index(one.state))


def markdown(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    a, b = comparison.names
    lines = [f"# {escape(a)} and {escape(b)}", "", f"{tally(comparison)}.", ""]
    lines += [f"- {escape(line)}" for line in sides(comparison)]
    lines += ["", explanation(comparison), ""]
    rows = interesting(comparison)
    if rows:
        lines += ["| " + " | ".join(HEAD) + " |", "|:---|:---" + "|---:" * 5 + "|:---|"]
        lines += ["| " + " | ".join(map(escape, texts(one))) + " |" for one in rows]
    return "\n".join([*lines, ""])


def explanation(comparison: Comparison) -> str:
    """How the differences are tested."""
    paired = sum(one.paired for one in comparison.cells)
    changed = sum(one.same_runs and not one.same for one in comparison.cells)
    moved = (
        f"{count(changed, 'cell')} of the same run ids with other numbers: code, device or versions differ. "
    )
    return (
        f"Differences are B less A with 95 % intervals: paired by seed where both have it ({count(paired, 'cell')}),"
        " else of two samples (Welch). p: Holm over all cells whose numbers are not the same. "
        + (moved if changed else "")
        + meanings(comparison)
    ).strip()


def table(comparison: Comparison) -> str:
    """The comparison as CSV: one line a cell, in the printed unit."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    fields = ("dataset", "protocol", "rule", "backbone", "schedule", "changed", "label", "freeze", "metric")
    writer.writerow(
        [*fields, "a", "b", "n_a", "n_b", "difference", "half_width", "p", "paired", "same_runs", "state"]
    )
    for one in comparison.cells:
        metric = METRICS[one.key.metric]
        numbers = [
            "" if v is None else f"{in_unit(v, metric):.4f}" for v in (one.a, one.b, one.difference, one.half)
        ]
        p = "" if one.p is None else f"{one.p:.6g}"
        key = [getattr(one.key, field) for field in fields]
        writer.writerow([*key, *numbers[:2], *one.n, *numbers[2:], p, one.paired, one.same_runs, one.state])
    return out.getvalue()


def page(comparison: Comparison) -> str:
    """The comparison as one HTML page that needs nothing else."""
    from bench.report.page import templates

    return (
        templates()
        .get_template("compare.html")
        .render(
            comparison=comparison,
            tally=tally(comparison),
            sides=sides(comparison),
            explanation=explanation(comparison),
            head=HEAD,
            rows=[(one, texts(one)) for one in interesting(comparison)],
        )
    )
