"""What stands around a table: titles, captions, facts, notes, warnings."""

from collections.abc import Sequence
from typing import NamedTuple

from bench.protocols import PROTOCOLS
from bench.report.model import Cell, Column, Mark, Row
from bench.report.overlaps import overlap_notes
from bench.report.panel import Panel
from bench.report.sheets import WEIGHTED, Sheet, column_title
from bench.report.words import count, number_ranges, rounded
from bench.stats import SeedPair
from bench.studies.metrics import METRICS

RULES = {
    "last": "the last probe epoch",
    "val": "the epoch that is best on a held-out tenth of the training images",
    "best-test": "the epoch that is best on the test set, which flatters",
}


class Behind(NamedTuple):
    """By how much the untrained backbone is ahead of a trained row; fractions, p adjusted."""

    label: str
    difference: float
    half: float
    p: float
    by_image: bool


WARNED = (
    "In the warnings, intervals and p (Holm over the trained rows of a column) allow for other seeds and other "
    "test images."
)
BEST = (
    "the best method that learns without labels, and those that a paired t test over seeds "
    "(Holm's correction within the column) cannot tell from it"
)


def schedule(panel: Panel) -> str:
    """Epochs in words."""
    train, probe = panel.epochs
    images = panel.pretrain["train"].get("epoch_images")
    size = f" of {images:,} images" if images else ""
    if train is None:
        return f"{count(probe or 0, 'epoch')} of probing"
    words = f"{count(train, 'epoch')}{size} of pretraining"
    return words if probe is None else f"{words}, {probe} of probing"


def same_schedule(panel: Panel, theirs: tuple[int, int]) -> bool:
    """Whether a panel trained as long, on as many images, as the paper: of what it has not done it says nothing."""
    whole = not panel.pretrain["train"].get("epoch_images") and "fraction" not in panel.dataset
    return whole and all(own in (None, their) for own, their in zip(panel.epochs, theirs, strict=True))


def _by_panel(sheet: Sheet, what: str, values: Sequence[str]) -> list[tuple[str, str]]:
    """One fact where all data sets agree, else one each."""
    if len(set(values)) == 1:
        return [(what, values[0])]
    return [(f"{what}, {panel.title}", value) for panel, value in zip(sheet.panels, values, strict=True)]


def _rules(sheet: Sheet) -> list[str]:
    return list(dict.fromkeys(column.rule for column in sheet.columns if column.rule))


def _size(panel: Panel) -> str:
    return f"{panel.title}, {panel.image_size} px" if panel.image_size else panel.title


def title(sheet: Sheet) -> str:
    """A table's heading."""
    if sheet.table is not None:
        return f"Table {sheet.table.name}. {sheet.table.title}"
    return _size(sheet.panels[0]) + (f": {sheet.what}" if sheet.what else "")


def setting(sheet: Sheet) -> str:
    """What tells a table from another of the same number."""
    parts = [
        f"protocol {sheet.panels[0].protocol}",
        sheet.panels[0].backbone,
        f"schedule {sheet.panels[0].schedule}",
    ]
    if sheet.panels[0].changed:
        parts.append(sheet.panels[0].changed)
    return ", ".join(parts)


def facts(sheet: Sheet, pairs: Sequence[SeedPair]) -> tuple[tuple[str, str], ...]:
    """How a table's numbers came about, as (what, value)."""
    probes_each = max((sum(1 for p in pairs if p[0] == seed) for seed, _ in pairs), default=1)
    seeds = number_ranges(seed for seed, _ in pairs) or "none yet"
    if probes_each > 1:
        seeds += f", {probes_each} probes on each"
    first = sheet.panels[0]
    known = PROTOCOLS.get(first.protocol)
    rules = _rules(sheet)
    rows = [
        ("Data sets" if len(sheet.panels) > 1 else "Data set", "; ".join(_size(p) for p in sheet.panels)),
        ("Protocol", f"{first.protocol}: {known.title}" if known else first.protocol),
        *(("Selection rule", f"{rule}: {RULES.get(rule, 'as named')}") for rule in rules),
        ("Backbone", first.backbone),
        *_by_panel(sheet, "Schedule", [schedule(panel) for panel in sheet.panels]),
        ("Seeds", seeds),
    ]
    return (*rows, ("Settings changed", first.changed)) if first.changed else tuple(rows)


def caption(sheet: Sheet, usual: int) -> str:
    """What a reader must know to read the table, in sentences."""
    first = sheet.panels[0]
    metrics = list(dict.fromkeys(column.metric for column in sheet.columns))
    names = ", ".join(METRICS[m].title + (" accuracy (%)" if METRICS[m].probed else "") for m in metrics)
    on = " and ".join(panel.title for panel in sheet.panels)
    probed = any(METRICS[metric].probed for metric in metrics)
    what = f"{names} on {on}" + (f" of probes on {first.backbone}" if probed else f", {first.backbone}")
    if usual > 1:
        what += (
            f": mean over n = {usual} pretraining seeds ± half width of its 95 % t interval (test set fixed)."
        )
    elif usual == 1:
        what += ": one pretraining seed unless n is given, hence no interval."
    else:
        what += ": nothing is done yet."
    schedules = list(dict.fromkeys(schedule(panel) for panel in sheet.panels))
    if len(schedules) == 1:
        sentences = [what, f"Protocol {first.protocol}; {schedules[0]}."]
    else:
        each = "; ".join(f"{schedule(panel)} on {panel.title}" for panel in sheet.panels)
        sentences = [what, f"Protocol {first.protocol}; {each}."]
    sentences += [f"Selection rule {rule}: {RULES.get(rule, 'as named')}." for rule in _rules(sheet)]
    if first.changed:
        sentences.append(f"Settings changed: {first.changed}.")
    return " ".join(sentences)


def legend(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[tuple[Mark, str], ...]:
    """The marks that a table uses and what they mean."""
    pairs = [(column, cell) for row in rows for column, cell in zip(columns, row.cells, strict=True)]
    standings = {cell.standing for _, cell in pairs}
    lines: list[tuple[Mark, str]] = []
    if standings & {"best", "tied"}:
        lines.append(("best", BEST))
    if "unknown" in standings:
        lines.append(("unknown", "cannot be ranked: too few paired seeds, or differences without spread"))
    if any(_agree(cell) for _, cell in pairs):
        lines.append(
            ("agree", "all seeds gave this number, so nothing is known of their spread: no interval")
        )
    if any(cell.end_to_end for _, cell in pairs):
        lines.append(("end to end", "nothing is frozen, so one value stands in every column"))
    printed = [column for column, cell in pairs if cell.published is not None]
    if any(not column.incomparable for column in printed):
        lines.append(("difference", "ours minus the paper's"))
    reasons: dict[tuple[str, str], list[str]] = {}
    for column in dict.fromkeys(printed):
        if column.incomparable:
            reasons.setdefault((column.group, column.incomparable), []).append(column.title)
    for (group, reason), titles in reasons.items():
        every = len(titles) == sum(column.group == group for column in columns)
        what = group if every else f"{group}, {', '.join(titles)}"
        lines.append(("incomparable", f"{what}: not comparable, {reason}"))
    return tuple(lines)


def _agree(cell: Cell) -> bool:
    """Whether its seeds, or their differences from the baseline, are one number."""
    apart = cell.against is not None and cell.against.n > 1 and cell.against.half is None
    return apart or (cell.estimate is not None and cell.estimate.agree)


def notes(sheet: Sheet, rows: Sequence[Row], warned: bool) -> tuple[str, ...]:
    """What a reader should know besides: differences from the paper, mixed sources, mixed devices."""
    lines: list[str] = [WARNED] if warned else []
    if any(cell.published is not None for row in rows for cell in row.cells):
        lines += _beside_the_paper(sheet)
    if sheet.table is not None:
        lines += sheet.table.notes
        if sheet.panels[0].backbone != sheet.table.backbone:
            lines.append(
                f"The paper's table is of {sheet.table.backbone}, ours of {sheet.panels[0].backbone}: its numbers are"
                " not shown."
            )
        shown = {str(panel.dataset["name"]) for panel in sheet.panels}
        absent = [name for name in sheet.table.datasets if name not in shown]
        absent += [title for title in _titles(sheet) if title not in {c.title for c in sheet.columns}]
        if absent:
            lines.append(f"Not run of the paper's table: {', '.join(absent)}.")
    if any(cell.why for row in rows for cell in row.cells):
        lines.append(
            "No weights: FID and KID need the user's own Inception weights (--fid-weights); nothing is put in"
            " their place without them."
        )
    if any("weights" in r.pretrain for row in sheet.rows for r in row.runs.values()):
        lines.append(
            "Weights from elsewhere are one set at every seed: the interval of their row is the probe's alone."
        )
    lines += overlap_notes(sheet)
    lines += [line for panel in sheet.panels for line in panel.left_out]
    runs = {run.id: run for row in sheet.rows for r in row.runs.values() for run in r.all_runs()}
    done = [run for run in runs.values() if run.result is not None]
    sources = {str(run.provenance.get("source_hash")) for run in done if run.provenance.get("source_hash")}
    if len(sources) > 1:
        lines.append(
            f"The runs come from {len(sources)} states of the source ({', '.join(sorted(sources))})."
        )
    devices = {device_name(run.provenance.get("device")) for run in done} - {""}
    if len(devices) > 1 and any(row.costs for row in rows):
        lines.append(f"Times were taken on different devices ({', '.join(sorted(devices))}).")
    return tuple(lines)


def _titles(sheet: Sheet) -> list[str]:
    """Titles of the columns that the study's table has, of any data set."""
    if sheet.table is None:
        return []
    return list(dict.fromkeys(column_title(sheet.table, column) for column in sheet.table.columns))


def _beside_the_paper(sheet: Sheet) -> list[str]:
    table = sheet.table
    if table is None:
        return []
    rules = _rules(sheet)
    line = f"Published numbers: {table.source}; one run each"
    if rules:
        line += f", selected by {table.rule}"
        same = rules == [table.rule]
        line += "" if same else f", while this table's rule is {' and '.join(rules)}"
    lines = [line + "."]
    for panel in sheet.panels:
        theirs = table.schedule.get(str(panel.dataset["name"]))
        if theirs is not None and not same_schedule(panel, theirs):
            lines.append(
                f"{panel.title}: the schedule is not the paper's ({theirs[0]} epochs of pretraining, {theirs[1]} of"
                " probing), so a difference from it speaks neither for nor against a reproduction."
            )
    return lines


def why_missing(column: Column) -> str:
    """Why a number is not there, where a reader could wonder."""
    return "no weights" if column.unit.source == WEIGHTED else ""


def device_name(value: object) -> str:
    """A device as provenance has it, in one short text."""
    if isinstance(value, dict):
        value = value.get("name") or value.get("type") or ""
    return str(value or "")


def beaten(column: str, rows: Sequence[Behind]) -> str:
    """The warning that a control exists for: rows that the untrained backbone beats at one freeze point."""
    each = [
        f"{row.label} by {100 * row.difference:.2f} ± {rounded(100 * row.half, 2)} points "
        f"(p {'< 0.001' if row.p < 0.001 else f'= {row.p:.3f}'}{'' if row.by_image else ', seeds only'})"
        for row in rows
    ]
    return f"At {column} the untrained backbone beats {', '.join(each)}."
