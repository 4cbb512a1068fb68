"""From a results folder to a report, and from a report to files."""

import dataclasses
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, choice_error
from bench.files import write_bytes
from bench.records import Run, load_runs
from bench.report import captions, figures
from bench.report.collect import Panel, dataset_title, panels, spec
from bench.report.model import Report, Source, Table
from bench.report.tabulate import tabulate
from bench.studies import STUDIES
from bench.studies import Table as PublishedTable

if TYPE_CHECKING:
    from rich.console import Console

TABLE_1 = STUDIES["patchvae"].table("1")
FILES = {"html": "index.html", "markdown": "tables.md", "latex": "tables.tex", "csv": "tables.csv"}


def build(
    results: Path | str,
    *,
    rule: str | None = None,
    published: PublishedTable | None = TABLE_1,
    title: str = "Representation learners compared",
    with_figures: bool = True,
) -> Report:
    """Read a results folder and make its tables.

    Args:
        results: the folder; an empty or missing one gives a report without tables.
        rule: "last", "val" or "best-test" for every table; None takes each protocol's own.
        published: the paper's table to stand beside ours; None for none.
        title: of the page.
        with_figures: read learning curves and reconstructions too, which only the HTML page shows.

    Raises:
        UsageError: no such rule, or a folder of another version.
    """
    if rule is not None and rule not in captions.RULES:
        raise choice_error("rule", rule, captions.RULES)
    problems: list[str] = []
    runs = load_runs(results, on_broken=problems.append)
    found, idle = panels(runs)
    tables, names = [], Counter()
    for panel in found:
        stem = f"{panel.probe['dataset']['name']}-{panel.probe['protocol']}".replace(":", "-")
        names[stem] += 1
        name = stem if names[stem] == 1 else f"{stem}-{names[stem]}"
        table = tabulate(panel, name, rule, published)
        tables.append(_with_figures(table, panel) if with_figures else table)
    return Report(
        title=title,
        tables=tuple(tables),
        pending=tuple(_pending(idle)),
        problems=tuple(dict.fromkeys(problems)),
        sources=_sources(runs),
        done=sum(run.result is not None for run in runs),
        total=len(runs),
    )


def _with_figures(table: Table, panel: Panel) -> Table:
    return dataclasses.replace(
        table,
        losses=figures.losses(panel),
        accuracies=figures.accuracies(panel, table.columns),
        pictures=figures.pictures(panel),
    )


def _pending(idle: Sequence[Run]) -> list[str]:
    """Pretrainings that no table shows: a line for each method, data set and state."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for run in idle:
        method = run.config["method"]
        key = (spec(method).title or method, dataset_title(run.config["dataset"]), run.state)
        seeds.setdefault(key, []).append(run.config["seed"])
    return [
        f"{label} on {dataset}, {captions.seeds_named(captions.number_ranges(numbers))}: {state}"
        for (label, dataset, state), numbers in seeds.items()
    ]


def _sources(runs: Sequence[Run]) -> tuple[Source, ...]:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for run in runs:
        if run.result is None:
            continue
        p = run.provenance
        git = p.get("git") or {}
        commit = str(git.get("commit") or "")[:12] + (" (edited)" if git.get("dirty") else "")
        versions = p.get("versions") or {}
        shown = ", ".join(
            f"{name} {versions[name]}" for name in ("python", "torch", "timm") if versions.get(name)
        )
        counted[str(p.get("source_hash") or ""), commit, captions.device_name(p.get("device")), shown] += 1
    return tuple(Source(*key, runs=number) for key, number in sorted(counted.items()))


def write(report: Report, out: Path | str, formats: Sequence[str] = tuple(FILES)) -> dict[str, Path]:
    """Write a report's files; the same records give the same bytes.

    Args:
        report: what `build` made.
        out: folder, made if need be.
        formats: any of "html", "markdown", "latex", "csv".

    Returns:
        the path of each format.

    Raises:
        UsageError: no such format, or a folder that cannot be written.
    """
    from bench.report import latex, markdown, page, tidy

    renderers = {"html": page.render, "markdown": markdown.render, "latex": latex.render, "csv": tidy.render}
    out, paths = Path(out), {}
    for name in formats:
        if name not in renderers:
            raise choice_error("report format", name, FILES)
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in formats:
            paths[name] = out / FILES[name]
            write_bytes(paths[name], renderers[name](report).encode())
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror or error}") from None
    return paths


def render_terminal(report: Report, console: "Console | None" = None) -> None:
    """Print a report's tables with rich, to standard output unless told otherwise."""
    from rich.console import Console

    from bench.report import terminal

    terminal.render(report, console or Console())
