"""Claims of a paper and what the runs say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.stats import Split

Verdict = Literal["supported", "contradicted", "undecided", "not run"]


@dataclass(frozen=True)
class Comparison:
    """Two rows in one column, as a claim compares them: a - b.

    Attributes:
        a: label of the row that the claim speaks of.
        b: label of the row that it is held against.
        column: title of the column, with its data set.
        metric: name of the metric.
        n: pretraining seeds in common; 0 where a or b was not run.
        difference: mean a - b in the unit of the records; None where n is 0.
        half: half width of its interval; None where there is no spread.
        p: two-sided, of the difference being at the end of what is expected; None where it cannot be told.
        as_expected: whether the difference lies where the claim expects it; None where n is 0.
        by_image: whether the test images were counted as a sample beside the seeds.
        split: what the difference's variance comes from; None where seeds alone were counted, or nothing is known.
        seeds_needed: seeds that would separate the difference seen from what the claim excludes, at `level`; None
            where no number would, or unknown (then p is None).
        level: the table's 5 % shared among its tested claims: what p has to stand.
        by_seed: each pretraining seed's own difference.
        published: the paper's own difference; None where it prints none.
        published_as_expected: whether that lies where the claim expects it; None where it prints none.
        missing: why n is 0, such as "not run" or "no seed in common"; "" where it is not.
        elsewhere: whether no column shows what it is of.
    """

    a: str
    b: str
    column: str
    metric: str
    n: int
    difference: float | None = None
    half: float | None = None
    p: float | None = None
    as_expected: bool | None = None
    by_image: bool = False
    split: Split | None = None
    seeds_needed: int | None = None
    level: float = 0.05
    by_seed: Mapping[int, float] = field(default_factory=dict)
    published: float | None = None
    published_as_expected: bool | None = None
    missing: str = ""
    elsewhere: bool = False


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, and what the runs say of it.

    Attributes:
        name: unique in its table.
        table: `Table.name` of the table it was judged on.
        text: in one sentence of ours.
        quote: the paper's words.
        where: in the paper.
        note: how we read it.
        expectation: what is expected of each difference, such as "a above b" or "within 1 point".
        verdict: with Holm's correction over the table's claims.
        p: of the claim, adjusted; None where nothing could be tested, or where what is missing decided.
        reason: in one line, why the verdict is what it is.
        comparisons: what it rests on.
        average: whether it speaks of the mean over `comparisons` only, which then is `overall`.
        overall: that mean; None unless `average`.
        datasets_run: titles of the data sets that were compared, of a claim about every one; else none.
    """

    name: str
    table: str
    text: str
    quote: str
    where: str
    note: str
    expectation: str
    verdict: Verdict
    p: float | None
    reason: str
    comparisons: tuple[Comparison, ...]
    average: bool = False
    overall: Comparison | None = None
    datasets_run: tuple[str, ...] = ()

    @property
    def place(self) -> str:
        """`where` in words: a number is a section's."""
        return f"section {self.where}" if self.where[:1].isdigit() else self.where
