"""What a column of a table may print: where the number comes from, its unit, and which way is better."""

from collections.abc import Iterator
from dataclasses import dataclass

from bench.evaluations.registry import EVALUATIONS


@dataclass(frozen=True)
class Metric:
    """One kind of number.

    Attributes:
        name: what a declaration says.
        title: what a table prints.
        unit: of the number as it is printed.
        higher_is_better: None where neither way is better by itself.
        source: "probe", or the name of the evaluation of a pretraining that computes it.
        percent: records hold a fraction, tables and margins a percentage.
    """

    name: str
    title: str
    unit: str
    higher_is_better: bool | None
    source: str
    percent: bool = False

    @property
    def probed(self) -> bool:
        """Whether probes give it, so that a column needs a freeze point."""
        return self.source == "probe"


_PROBE = (
    Metric("top1", "Top-1", "%", True, "probe", percent=True),
    Metric("top5", "Top-5", "%", True, "probe", percent=True),
)
# What papers print; an evaluation of the same name that computes them takes their place.
_PRINTED = (
    Metric("fid", "FID", "", False, "fid"),
    Metric("kid", "KID", "", False, "fid"),
)
_BETTER = {"higher": True, "lower": False, "neither": None}


def _of_evaluations() -> Iterator[Metric]:
    for evaluation in EVALUATIONS.values():
        for one in evaluation.metrics:
            # A pattern stands for what a method calls its own terms: no table is about those.
            if "*" not in one.name:
                share = one.unit == "share"
                unit = "%" if share else one.unit
                yield Metric(one.name, one.title, unit, _BETTER[one.better], evaluation.name, share)


METRICS: dict[str, Metric] = {row.name: row for row in (*_PROBE, *_PRINTED, *_of_evaluations())}
