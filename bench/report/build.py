"""From a results folder to a report, and from a report to files."""

import dataclasses
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bench.errors import UsageError, choice_error
from bench.files import write_bytes
from bench.reading import as_object
from bench.records import Run, load_runs
from bench.report import captions
from bench.report.baseline import check_baseline
from bench.report.claims import judge_claims
from bench.report.collect import panels
from bench.report.details import confusions, details
from bench.report.leftover import leftover_sheets
from bench.report.model import Claim, Plain, Report, Source, Table
from bench.report.notices import notices
from bench.report.panel import dataset_title, spec
from bench.report.predictions import Predictions
from bench.report.sheets import Sheet, study_sheets
from bench.report.tabulate import tabulate
from bench.report.words import number_ranges, seeds_named
from bench.studies import STUDIES, Study

if TYPE_CHECKING:
    from rich.console import Console

PATCHVAE = STUDIES["patchvae"]
FILES = {"html": "index.html", "markdown": "tables.md", "latex": "tables.tex", "csv": "tables.csv"}


@dataclasses.dataclass(frozen=True)
class Records:
    """What was read for a report.

    Attributes:
        runs: of a results folder or of a file of packed records, by id.
        problems: a line for each file that could not be read; reports made from the runs add to it.
    """

    runs: list[Run]
    problems: list[str]


def read(results: Path | str) -> Records:
    """The records of a results folder or of a file of packed ones; none where it is empty or missing.

    Raises:
        UsageError: a folder of another version.
    """
    problems: list[str] = []
    return Records(load_runs(results, on_broken=problems.append), problems)


def build(
    results: Path | str | Records,
    *,
    rule: str | None = None,
    study: Study | None = PATCHVAE,
    baseline: str | None = None,
    title: str = "Representation learners compared",
    with_figures: bool = True,
) -> Report:
    """Make the tables, claims and figures of a results folder.

    Args:
        results: the folder, or a file of packed records, or what `read` gave; one that is empty or missing gives a
            report without tables.
        rule: "last", "val" or "best-test" for every table; None takes each protocol's own.
        study: whose tables and claims are wanted; None for none.
        baseline: a method, or a row's label, that every row is compared with.
        title: of the page.
        with_figures: make figures and what a cell shows when it is opened, which only the HTML page has.

    Raises:
        UsageError: no such rule or baseline, or a folder of another version.
    """
    if rule is not None and rule not in captions.RULES:
        raise choice_error("rule", rule, captions.RULES)
    records = results if isinstance(results, Records) else read(results)
    runs = records.runs
    found, idle = panels(runs)
    declared = study_sheets(found, study, rule)
    named = _named([*declared, *leftover_sheets(found, declared, rule)])
    predictions = Predictions()
    if baseline is not None:
        check_baseline(baseline, list(named.values()))
    tables = {name: tabulate(sheet, name, predictions, baseline) for name, sheet in named.items()}
    titled = _titled(tables, named)
    claims = tuple(c for name, sheet in named.items() for c in judge_claims(sheet, name, predictions))
    absent: list[str] = []
    if with_figures:
        titled, absent = _with_figures(titled, named, claims)
    return Report(
        title=title,
        tables=tuple(titled),
        pending=(*_pending(idle), *_not_run(study, list(named.values())), *dict.fromkeys(absent)),
        problems=tuple(dict.fromkeys(records.problems)),
        sources=_sources(runs),
        done=sum(run.result is not None for run in runs),
        total=len(runs),
        study=("", "", "") if study is None else (study.title, study.citation, study.url),
        notices=tuple(notices(study, list(named.values()))),
        claims=claims,
        plain=_plain(study, list(named.values())),
        details=details(list(named.values())) if with_figures else {},
        confusions=confusions(named, predictions) if with_figures else {},
    )


def _named(found: Sequence[Sheet]) -> dict[str, Sheet]:
    """Sheets by a short name, each its own."""
    names: Counter[str] = Counter()
    named: dict[str, Sheet] = {}
    for sheet in found:
        panel = sheet.panels[0]
        about = f"table-{sheet.table.name}" if sheet.table else panel.name
        stem = _stem(f"{about}-{panel.protocol}")
        names[stem] += 1
        while (name := stem if names[stem] == 1 else f"{stem}-{names[stem]}") in named:
            names[stem] += 1
        named[name] = sheet
    return named


def _stem(name: str) -> str:
    """A name as part of an address, a label and a file name; letters that these cannot hold become numbers."""
    text = re.sub(r"[^\x00-\x7f]", lambda match: f"u{ord(match[0]):x}", name.replace("%", ""))
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-")


def _titled(tables: dict[str, Table], named: dict[str, Sheet]) -> list[Table]:
    """Tables of one title told apart by their setting."""
    titles = Counter(table.title for table in tables.values())
    return [
        table
        if titles[table.title] == 1
        else dataclasses.replace(table, title=f"{table.title} ({captions.setting(named[name])})")
        for name, table in tables.items()
    ]


def _with_figures(
    tables: Sequence[Table], named: dict[str, Sheet], claims: Sequence[Claim]
) -> tuple[list[Table], list[str]]:
    """The tables with their figures, and a line for each figure whose pictures are not in the records."""
    from bench.report.figures import Album, DatasetRows, TableRows, draw

    done, absent, album = [], [], Album()
    for table in tables:
        sheet = named[table.name]
        datasets = [
            DatasetRows(
                name=_stem(f"{table.name}-{panel.name}"),
                dataset=panel.name,
                title=panel.title,
                schedule=captions.schedule(panel),
                rows={
                    i: dataclasses.replace(row.runs[place], label=row.label)
                    for i, row in enumerate(sheet.rows)
                    if place in row.runs
                },
            )
            for place, panel in enumerate(sheet.panels)
        ]
        drawn = draw(TableRows(table, claims, datasets), album)
        done.append(dataclasses.replace(table, figures=drawn.figures))
        absent += drawn.absent
    return done, absent


def _not_run(study: Study | None, found: Sequence[Sheet]) -> list[str]:
    """The study's tables that nothing is there for, in one line."""
    shown = {sheet.table.name for sheet in found if sheet.table is not None}
    names = [table.name for table in study.tables if table.name not in shown] if study and shown else []
    if not names:
        return []
    return [
        f"Table{'s' * (len(names) > 1)} {', '.join(names)} of the paper: nothing was run; `bench run --table"
        f" {names[0]}` begins"
    ]


def _plain(study: Study | None, found: Sequence[Sheet]) -> tuple[Plain, ...]:
    """The study's tables of layers, beside its tables of numbers."""
    if study is None or not any(sheet.table is not None for sheet in found):
        return ()
    return tuple(
        Plain(
            name=f"table-{one.name}",
            number=one.name,
            title=f"Table {one.name}. {one.title}",
            columns=one.columns,
            rows=(*one.rows, ("paper", *(f"{total:,}" for total in one.published))),
            note=f"As the modules that are trained have it. The paper's totals: {one.source}.",
        )
        for one in study.architectures
    )


def _pending(idle: Sequence[Run]) -> list[str]:
    """Pretrainings that no table shows: a line for each method, data set and state."""
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for run in idle:
        method = run.config["method"]
        key = (spec(method).title or method, dataset_title(run.config["dataset"]), run.state)
        seeds.setdefault(key, []).append(run.config["seed"])
    return [
        f"{label} on {dataset}, {seeds_named(number_ranges(numbers))}: {state} (pretrained, not probed)"
        for (label, dataset, state), numbers in seeds.items()
    ]


def _sources(runs: Sequence[Run]) -> tuple[Source, ...]:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for run in runs:
        if run.result is None:
            continue
        p = run.provenance
        git = as_object(p.get("git"))
        commit = str(git.get("commit") or "")[:12] + (" (edited)" if git.get("dirty") else "")
        versions = as_object(p.get("versions"))
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
