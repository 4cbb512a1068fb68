"""The whole report: claims, tables, figures, and what lies behind every cell."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from bench.report.model.claims import Claim
from bench.report.model.figures import Line
from bench.report.model.tables import Table


@dataclass(frozen=True)
class Confusion:
    """How the probes of one cell went wrong, summed over its seeds.

    Attributes:
        classes: number of classes.
        pairs: the commonest mistakes as (true class, predicted class, how often), the commonest first.
        png: the whole matrix as a grey picture, rows the true classes, each row scaled to its own sum; None where
            it was left out for size.
    """

    classes: int
    pairs: tuple[tuple[str, str, int], ...]
    png: bytes | None = None


@dataclass(frozen=True)
class RunDetail:
    """One run as a page shows it when its cell is opened.

    Attributes:
        id: of the run.
        label: what a person calls it.
        values: (title, printed value).
        facts: (what, value): command, commit, device, threads, started, seconds, data fingerprint, weights.
        curve: its accuracy, or its loss, by epoch; None where it has none.
    """

    id: str
    label: str
    values: tuple[tuple[str, str], ...]
    facts: tuple[tuple[str, str], ...]
    curve: Line | None = None


@dataclass(frozen=True)
class Source:
    """Runs that come from one state of the source on one kind of device."""

    source_hash: str
    commit: str
    device: str
    versions: str
    runs: int


@dataclass(frozen=True)
class Plain:
    """A table of texts: the paper's Tables 8 to 12.

    Attributes:
        name: for an anchor.
        number: in the paper.
        title: for a heading.
        columns: the header; the first names the rows.
        rows: as printed.
        note: what a reader should know.
    """

    name: str
    number: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True)
class Report:
    """All that a results folder says.

    Attributes:
        title: of the page.
        study: title and citation of the study, its address; "" for none.
        notices: what must be read first, such as that the schedule is not the paper's.
        claims: of the study, by table.
        tables: the study's, by number, then what no table of it has.
        plain: tables of texts.
        details: run id -> what a cell shows when it is opened.
        confusions: (table name, row number, column number) -> of a cell with predictions.
        pending: pretrainings that no probe has used yet, and tables that nothing was run for, a line each.
        problems: files that could not be read, a line each.
        sources: where the numbers come from.
        done: runs that are done.
        total: runs of any state.
    """

    title: str
    tables: tuple[Table, ...]
    pending: tuple[str, ...]
    problems: tuple[str, ...]
    sources: tuple[Source, ...]
    done: int
    total: int
    study: tuple[str, str, str] = ("", "", "")
    notices: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = ()
    plain: tuple[Plain, ...] = ()
    details: Mapping[str, RunDetail] = field(default_factory=dict)
    confusions: Mapping[tuple[str, int, int], Confusion] = field(default_factory=dict)
