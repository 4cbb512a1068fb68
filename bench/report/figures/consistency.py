"""What the paper asserts of parts and never measures: how many are used, how consistent and how separate they are."""

import math
from collections.abc import Container, Mapping, Sequence
from typing import Any

from bench.evaluations.registry import EVALUATIONS, Metric
from bench.records import Run
from bench.report.figures.rows import DatasetRows, evaluated
from bench.report.layout import AGREE
from bench.report.model import Chart, Facts, Figure, Line
from bench.report.panel import RowRuns
from bench.report.words import rounded
from bench.stats import t_interval

EVALUATION = "parts"
# Seeds of a row whose curves are drawn, each from a file of its own.
MOST_SEEDS = 6
# What a metric's name ends in that is the level of chance of the one without.
CHANCE = "_chance"
PURITIES = {"purity_labels": "label purity, %", "purity_pixels": "pixel purity, %"}


def consistency(rows: DatasetRows) -> Figure | None:
    """A table of the parts' numbers, and the purity of each part, the purest first, against chance."""
    done = {
        number: sorted(
            (seed, run.id, run) for seed, run in evaluated(row, EVALUATION) if run.result is not None
        )
        for number, row in rows.rows.items()
    }
    done = {number: [(seed, run) for seed, _, run in runs] for number, runs in done.items() if runs}
    if not done:
        return None
    lines = {name: [] for name in PURITIES}
    for number, runs in done.items():
        found = [(seed, run.arrays("part_numbers") or {}) for seed, run in runs[:MOST_SEEDS]]
        for name in PURITIES:
            lines[name] += _curves(rows.rows[number], number, name, found)
    every = [run for runs in done.values() for _, run in runs]
    own = max(rows.rows) + 1
    charts = [
        Chart(title, "part, the purest first", title, (*curves, *_chance(name, curves, every, own)))
        for name, title in PURITIES.items()
        if (curves := lines[name])
    ]
    keys = {number: rows.rows[number].label for number in done}
    return Figure(
        f"{rows.name}-parts",
        f"Parts in numbers, {rows.title}",
        _caption(rows, done, bool(charts)),
        tuple(charts),
        (_facts(rows, done),),
        {**keys, own: "chance"} if charts else keys,
    )


def _caption(rows: DatasetRows, done: Mapping[int, Sequence[tuple[int, Run]]], charts: bool) -> str:
    every = [(run.result or {}).get("facts") or {} for runs in done.values() for _, run in runs]
    one = every[0]
    keys = ("threshold", "alive_share", "top", "clusters", "patch")
    text = f"Parts of methods on {rows.where}: mean ± half width of the 95 % t interval over n pretraining seeds."
    if all(key in one for key in keys):
        text += (
            f" A part is present where its probability exceeds {one['threshold']:g}, and alive if it is so somewhere"
            f" in at least {100 * one['alive_share']:g} % of the test images. Purity: the share of a part's"
            f" {one['top']} surest patches ({one['patch']} px, of the training images, at most one an image) in the"
            f" commonest class of their images, or in the commonest of {one['clusters']} clusters of a k-means of"
            " their pixels, mean over the parts alive; chance is that of as many patches from random places."
            " Overlap: the share of locations with two parts or more, and the mean intersection over union of the"
            " locations of two parts alive."
        )
    if any([facts.get(key) for key in keys] != [one.get(key) for key in keys] for facts in every):
        text += " These settings differ between the runs."
    if charts:
        text += (
            " Charts: a thin line a seed, a thick one their mean at each rank, over the parts alive in all of them;"
            " the level line is chance."
        )
    if charts and any(len(runs) > MOST_SEEDS for runs in done.values()):
        text += f" Of each row the first {MOST_SEEDS} seeds are drawn; the table is of all."
    return text


def _facts(rows: DatasetRows, done: Mapping[int, Sequence[tuple[int, Run]]]) -> Facts:
    """A line a method, a column a metric that any of them has; the level of chance stands in brackets."""
    spec = EVALUATIONS.get(EVALUATION)
    values = {
        number: [(run.result or {}).get("metrics") or {} for _, run in runs] for number, runs in done.items()
    }
    metrics = [
        metric
        for metric in (spec.metrics if spec is not None else ())
        if any(metric.name in one for runs in values.values() for one in runs)
    ]
    names = {metric.name for metric in metrics}
    shown = [metric for metric in metrics if metric.name.removesuffix(CHANCE) not in names - {metric.name}]
    lines = [
        (rows.rows[number].label, *(_cell(runs, metric) for metric in shown), str(len(runs)))
        for number, runs in values.items()
    ]
    return Facts(("Method", *(_heading(metric, names) for metric in shown), "n"), tuple(lines))


def _heading(metric: Metric, names: Container[str]) -> str:
    title = metric.title[:1].upper() + metric.title[1:]
    title += " (chance)" if metric.name + CHANCE in names else ""
    return f"{title}, %" if metric.unit == "share" else title


def _cell(runs: Sequence[Mapping[str, Any]], metric: Metric) -> str:
    """Mean and interval of those seeds that have the number; how many they are, where they are not all."""
    known, by_chance = (
        [(100 if metric.unit == "share" else 1) * float(one[name]) for one in runs if name in one]
        for name in (metric.name, metric.name + CHANCE)
    )
    if not known:
        return "—"
    found = t_interval(known)
    text = f"{found.mean:.1f}" + ("" if found.half is None else f" ± {rounded(found.half, 1)}")
    # The same for every seed, hence no sample.
    text += f" ({t_interval(by_chance).mean:.1f})" if by_chance else ""
    text += f", {AGREE}" if found.agree else ""
    return text if len(known) == len(runs) else f"{text}, n={len(known)}"


def _curves(
    row: RowRuns, number: int, name: str, found: Sequence[tuple[int, Mapping[str, Any]]]
) -> list[Line]:
    """Purity of the parts alive, in percent, the highest first: a line a seed, and their mean at each rank."""
    lines = []
    for seed, arrays in found:
        if name in arrays and "alive" in arrays:
            values = sorted(
                (100 * float(v) for v in arrays[name][arrays["alive"]] if math.isfinite(v)), reverse=True
            )
            if values:
                ranks = tuple(float(i + 1) for i in range(len(values)))
                lines.append(Line(row.label, f"seed {seed}", False, number, ranks, tuple(values)))
    if len(lines) > 1:
        fewest = min((line.xs for line in lines), key=len)
        means = [math.fsum(line.ys[i] for line in lines) / len(lines) for i in range(len(fewest))]
        lines.append(Line(row.label, f"mean of {len(lines)}", True, number, fewest, tuple(means)))
    return lines


def _chance(name: str, curves: Sequence[Line], runs: Sequence[Run], colour: int) -> list[Line]:
    """A level line for each level of chance: one, unless runs differ in how patches were taken."""
    found = [((run.result or {}).get("metrics") or {}).get(name + CHANCE) for run in runs]
    levels = dict.fromkeys(round(100 * float(value), 6) for value in found if value is not None)
    last = max(2.0, *(line.xs[-1] for line in curves))
    return [Line("chance", "chance", False, colour, (1.0, last), (level, level)) for level in levels]
