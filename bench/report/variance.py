"""What a difference varies by and how many seeds would tell, in words: what page, Markdown and cells share."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.report.layout import AGREE, GAP, MINUS, half_width, signed
from bench.report.model import Against, Claim, Comparison, Table
from bench.stats import Split
from bench.studies.metrics import METRICS, Metric

TIED = "Pretraining and probe seed cannot be told apart: each pretraining has one probe, so the two vary together."


@dataclass(frozen=True)
class Varied:
    """A difference as a table of variances prints it.

    Attributes:
        label: what is compared.
        where: in which column.
        difference: with its half width and unit.
        n: pretraining seeds in common.
        p: that decides on it; None where it cannot be told.
        split: what its variance comes from; None where seeds alone were counted, or nothing is known.
        seeds_needed: seeds that would tell; None where no number would, or p is None.
        level: what p has to stand.
    """

    label: str
    where: str
    difference: str
    n: int
    p: float | None
    split: Split | None
    seeds_needed: int | None
    level: float


def difference_text(
    difference: float | None, half: float | None, n: int, metric: Metric, unit: str = ""
) -> str:
    """A difference with its half width, without one if there is none: then it says whether seeds agree."""
    if difference is None:
        return GAP
    beside = f" ± {half_width(half, metric)}" if half is not None else f" ({AGREE})" if n > 1 else ""
    return f"{signed(difference, metric)}{beside}{unit}"


def unit_text(metric: Metric) -> str:
    """The unit of a difference, with the space before it."""
    return " points" if metric.percent else f" {metric.unit}" if metric.unit else ""


def of_claims(claims: Iterable[Claim]) -> list[Varied]:
    """The differences that claims rest on, each once; two claims may ask for other numbers of seeds."""
    found: dict[Varied, None] = {}
    for claim in claims:
        for one in (*((claim.overall,) if claim.overall else ()), *claim.comparisons):
            if one.n > 1:
                found[_compared(one, claim)] = None
    return list(found)


def _compared(one: Comparison, claim: Claim) -> Varied:
    metric = METRICS[one.metric]
    label, where = f"{one.a} {MINUS} {one.b}", one.column
    if not one.column:
        label, where = f"{one.a} {one.b}", f"“{claim.text}”"
    text = difference_text(one.difference, one.half, one.n, metric, unit_text(metric))
    return Varied(label, where, text, one.n, one.p, one.split, one.seeds_needed, one.level)


def of_baseline(table: Table) -> list[Varied]:
    """Each row's difference from the baseline's."""
    found = []
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            if (one := cell.against) is not None:
                where = f"{column.group}, {column.title}" if len(table.groups) > 1 else column.title
                text = difference_text(one.difference, one.half, one.n, column.unit, unit_text(column.unit))
                label = f"{row.label} {MINUS} {table.baseline}"
                found.append(Varied(label, where, text, one.n, one.p, one.split, one.seeds_needed, one.level))
    return found


def heads(splits: Iterable[Split | None]) -> tuple[str, ...]:
    """Headings of the shares: the probe seed has one of its own where it can be told from the pretraining's."""
    seeds = ("pretraining seed", "probe seed") if _apart(splits) else ("seeds",)
    return (*seeds, "test images", "rest")


def shares(split: Split | None, among: Sequence[Split | None]) -> tuple[str, ...]:
    """A difference's shares in percent, below the headings of all that it stands among."""
    apart = _apart(among)
    if split is None:
        return (GAP,) * (4 if apart else 3)
    probe = (GAP if split.probe_seed is None else _percent(split.probe_seed),) if apart else ()
    return (_percent(split.pretrain_seed), *probe, _percent(split.test_images), _percent(split.rest))


def _apart(splits: Iterable[Split | None]) -> bool:
    return any(split is not None and split.probe_seed is not None for split in splits)


def _percent(share: float) -> str:
    return f"{100 * share:.0f}"


def seeds_text(one: Varied | Comparison | Against) -> str:
    """How many seeds would tell; "" where nothing is known of it."""
    return "" if one.p is None else "no number" if one.seeds_needed is None else f"{one.seeds_needed:,}"


def explained(splits: Sequence[Split | None]) -> str:
    """What the shares are of."""
    known = [split for split in splits if split is not None]
    parts = []
    if known:
        parts.append(
            "Shares of the variance of each difference, in percent: of the seeds; of the test images, as far as all"
            " seeds agree about them, which no number of seeds makes smaller; the rest is what single seeds make of"
            " single images. From few seeds they are rough."
        )
        tied = sum(split.probe_seed is None for split in known)
        if tied:
            parts.append(
                TIED if tied == len(known) else f"{GAP} below “probe seed”: {TIED[:1].lower()}{TIED[1:]}"
            )
    if len(known) < len(splits):
        parts.append(
            f"{GAP} for all: not split, for no predictions were kept, or the metric is no share of right answers, or"
            " the seeds agree; an interval then counts the seeds alone."
        )
    return " ".join(parts)


def advice(level: float, tested: str) -> str:
    """What the number of seeds promises.

    Args:
        level: what p has to stand.
        tested: what shares the table's 5 %: "claims" or "differences".
    """
    number = round(0.05 / level)
    of = f", the 5 % shared among the table's {number} tested {tested}" if number > 1 else ""
    end = "zero, or from the claim's margin," if tested == "claims" else "zero"
    return (
        f"Seeds that would tell: with so many, the difference seen, varying as seen, would be told from {end} at p <"
        f" {level:.2g}{of}, with a chance of 80 %. From few seeds it is a hopeful guess."
    )


@dataclass(frozen=True)
class Printed:
    """A table of variances as it is printed.

    Attributes:
        heads: headings of its columns; the first two columns are texts.
        rows: one a difference.
        notes: what shares and seeds mean.
    """

    heads: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    notes: tuple[str, ...] = ()


def printed(lines: Sequence[Varied], tested: str) -> Printed:
    """Differences as a table, `tested` as in `advice`."""
    if not lines:
        return Printed()
    splits = [line.split for line in lines]
    known = any(split is not None for split in splits)
    titles = [f"{head}, % of variance" for head in heads(splits)] if known else []
    rows = [
        (
            *(line.label, line.where, line.difference, str(line.n), p_value(line.p)),
            *(shares(line.split, splits) if known else ()),
            seeds_text(line),
        )
        for line in lines
    ]
    notes = [explained(splits)] if known else []
    notes += [advice(line.level, tested) for line in lines if seeds_text(line)][:1]
    columns = ("Difference", "at", "mean", "n", "p", *titles, "seeds that would tell")
    return Printed(columns, tuple(rows), tuple(notes))


def p_value(p: float | None) -> str:
    """A p value below its heading; "" for none."""
    return "" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def cell_facts(against: Against, baseline: str) -> list[list[str]]:
    """What an opened cell says of its difference from the baseline."""
    facts = []
    if (split := against.split) is not None:
        titles = {"pretraining seed": split.pretrain_seed, "probe seed": split.probe_seed}
        if split.probe_seed is None:
            titles = {"pretraining and probe seed (not to be told apart)": split.pretrain_seed}
        titles |= {"test images": split.test_images, "rest": split.rest}
        text = ", ".join(
            f"{_percent(share)} % {title}" for title, share in titles.items() if share is not None
        )
        facts.append(["Its variance", text])
    if needed := seeds_text(against):
        number = round(0.05 / against.level)
        of = f", the 5 % shared among {number} differences" if number > 1 else ""
        facts.append([f"Seeds that would tell it from {baseline}", f"{needed} (p < {against.level:.2g}{of})"])
    return facts
