"""The words of a report: titles, captions, notes."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bench.config import variant
from bench.protocols import PROTOCOLS
from bench.report.collect import END_TO_END, Panel, dataset_title
from bench.report.model import Mark, Row
from bench.stats import SeedPair
from bench.studies import Table as PublishedTable

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


def depth(freeze: str) -> int:
    """How deep a freeze point lies; by it the columns are ordered."""
    numbers = re.findall(r"\d+", freeze)
    return int(numbers[-1]) if numbers else 1_000_000


def freeze_title(freeze: str) -> str:
    """A freeze point as the paper writes it."""
    if freeze == END_TO_END:
        return "End to end"
    if match := re.fullmatch(r"conv(\d+)-(\d+)", freeze):
        return f"Conv[{match[1]}-{match[2]}]"
    if match := re.fullmatch(r"(conv|stage)(\d+)", freeze):
        return f"{match[1].capitalize()}{match[2]}"
    return freeze


def number_ranges(numbers: Iterable[int]) -> str:
    """Whole numbers as "0-2, 5"."""
    parts: list[list[int]] = []
    for n in sorted(set(numbers)):
        if parts and n == parts[-1][-1] + 1:
            parts[-1].append(n)
        else:
            parts.append([n])
    return ", ".join(str(p[0]) if len(p) == 1 else f"{p[0]}-{p[-1]}" for p in parts)


def seeds_named(text: str) -> str:
    """Seeds with their noun: "seed 0", "seeds 0-2", "seed 0 (probe seed 1)"."""
    return f"seed {text}" if re.fullmatch(r"\d+( \([^()]*\))?", text) else f"seeds {text}"


def seed_text(pairs: Iterable[SeedPair], among: Iterable[SeedPair]) -> str:
    """Pretraining seeds as a range; with their probe seeds where several probes share one pretraining.

    Args:
        pairs: the seeds to name.
        among: all seeds there are, which tell whether several probes share one pretraining.
    """
    found, every = sorted(set(pairs)), set(among) | set(pairs)
    if len({seed for seed, _ in every}) == len(every):
        return number_ranges(seed for seed, _ in found)
    probes: dict[int, list[int]] = {}
    for seed, probe in found:
        probes.setdefault(seed, []).append(probe)
    return ", ".join(f"{seed} (probe {seeds_named(number_ranges(ps))})" for seed, ps in probes.items())


def count(n: int, what: str) -> str:
    """A number with its noun: "1 epoch", "2 epochs"."""
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _pairs(panel: Panel) -> set[SeedPair]:
    return {pair for row in panel.rows.values() for _, pair in row.probes}


def _schedule(panel: Panel) -> str:
    train, probe = panel.pretrain["train"], panel.probe["probe"]
    if not train["epochs"]:
        return f"{count(probe['epochs'], 'epoch')} of probing"
    images = train.get("epoch_images")
    size = f" of {images:,} images" if images else ""
    return f"{count(train['epochs'], 'epoch')}{size} of pretraining, {probe['epochs']} of probing"


def _changed(panel: Panel) -> str:
    """What a user set in the loops, in the keys of `--set`."""
    parts = variant(panel.probe).split(",")
    return ", ".join(part for part in parts if part.startswith(("pretrain.", "probe.")))


def _home(panel: Panel) -> bool:
    """Whether nothing was pretrained on another data set than the one that is probed."""
    return panel.pretrain["dataset"] == panel.probe["dataset"] or not panel.pretrain["train"]["epochs"]


def title(panel: Panel) -> str:
    """A table's heading."""
    name = dataset_title(panel.probe["dataset"])
    text = f"{name}, {panel.probe['image_size']} px" if panel.probe["image_size"] else name
    if not _home(panel):
        text += f", pretrained on {dataset_title(panel.pretrain['dataset'])}"
    return text


def facts(panel: Panel, rule: str) -> tuple[tuple[str, str], ...]:
    """How a table's numbers came about, as (what, value)."""
    pairs = _pairs(panel)
    probes_each = max((sum(1 for p in pairs if p[0] == seed) for seed, _ in pairs), default=1)
    seeds = number_ranges(seed for seed, _ in pairs) or "none yet"
    if probes_each > 1:
        seeds += f", {probes_each} probes on each"
    protocol = panel.probe["protocol"]
    known = PROTOCOLS.get(protocol)
    rows = [
        ("Data set", title(panel)),
        ("Protocol", f"{protocol}: {known.title}" if known else protocol),
        ("Selection rule", f"{rule}: {RULES.get(rule, 'as named')}"),
        ("Backbone", panel.pretrain["backbone"]),
        ("Schedule", _schedule(panel)),
        ("Seeds", seeds),
    ]
    changed = _changed(panel)
    return (*rows, ("Settings changed", changed)) if changed else tuple(rows)


def caption(panel: Panel, rule: str, usual: int) -> str:
    """What a reader must know to read the table, in sentences."""
    name = dataset_title(panel.probe["dataset"])
    what = f"Top-1 accuracy (%) on {name} of probes on {panel.pretrain['backbone']}"
    if not _home(panel):
        what += f", pretrained on {dataset_title(panel.pretrain['dataset'])}"
    if usual > 1:
        what += (
            f": mean over n = {usual} pretraining seeds ± half width of its 95 % t interval (test set fixed)."
        )
    elif usual == 1:
        what += ": one pretraining seed, hence no interval."
    else:
        what += ": no probe is done yet."
    protocol = f"Protocol {panel.probe['protocol']}; {_schedule(panel)}."
    sentences = [what, protocol, f"Selection rule {rule}: {RULES.get(rule, 'as named')}."]
    if changed := _changed(panel):
        sentences.append(f"Settings changed: {changed}.")
    return " ".join(sentences)


def legend(rows: Sequence[Row]) -> tuple[tuple[Mark, str], ...]:
    """The marks that a table uses and what they mean."""
    cells = [cell for row in rows for cell in row.cells]
    standings = {cell.standing for cell in cells}
    lines: list[tuple[Mark, str]] = []
    if standings & {"best", "tied"}:
        lines.append(("best", BEST))
    if "unknown" in standings:
        lines.append(("unknown", "cannot be ranked: too few paired seeds, or differences without spread"))
    if any(cell.end_to_end for cell in cells):
        lines.append(("end to end", "nothing is frozen, so one value stands in every column"))
    if any(cell.published is not None for cell in cells):
        lines.append(("difference", "ours minus the paper's"))
    return tuple(lines)


def notes(
    panel: Panel, rows: Sequence[Row], rule: str, published: PublishedTable | None, warned: bool
) -> tuple[str, ...]:
    """What a reader should know besides: differences from the paper, mixed sources, mixed devices."""
    lines: list[str] = [WARNED] if warned else []
    if published is not None:
        line = f"Published numbers: {published.source}; one run each, selected by {published.rule}"
        lines.append(line + ("." if rule == published.rule else f", while this table's rule is {rule}."))
        theirs = published.schedule.get(str(panel.probe["dataset"]["name"]))
        ours = (panel.pretrain["train"]["epochs"], panel.probe["probe"]["epochs"])
        if theirs is not None and theirs != ours:
            lines.append(
                f"The schedule is not the paper's ({theirs[0]} epochs of pretraining, {theirs[1]} of probing): "
                "the differences from it speak neither for nor against a reproduction."
            )
    runs = [run for run in panel.all_runs() if run.result is not None]
    sources = {str(run.provenance.get("source_hash")) for run in runs if run.provenance.get("source_hash")}
    if len(sources) > 1:
        lines.append(
            f"The runs come from {len(sources)} states of the source ({', '.join(sorted(sources))})."
        )
    devices = {device_name(run.provenance.get("device")) for run in runs} - {""}
    if len(devices) > 1 and any(row.cost for row in rows):
        lines.append(f"Times were taken on different devices ({', '.join(sorted(devices))}).")
    return tuple(lines)


def device_name(value: object) -> str:
    """A device as provenance has it, in one short text."""
    if isinstance(value, dict):
        value = value.get("name") or value.get("type") or ""
    return str(value or "")


def beaten(column: str, rows: Sequence[Behind]) -> str:
    """The warning that a control exists for: rows that the untrained backbone beats at one freeze point."""
    each = [
        f"{row.label} by {100 * row.difference:.2f} ± {100 * row.half:.2f} points "
        f"(p {'< 0.001' if row.p < 0.001 else f'= {row.p:.3f}'}{'' if row.by_image else ', seeds only'})"
        for row in rows
    ]
    return f"At {column} the untrained backbone beats {', '.join(each)}."
