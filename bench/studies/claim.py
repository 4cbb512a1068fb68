"""What a paper concludes from a table, in a form that runs can support or contradict. Computes nothing."""

import math
import re
from dataclasses import dataclass
from typing import Literal, get_args

from bench.data.fractions import split_fraction
from bench.studies.metrics import Metric

Expectation = Literal["better", "not better", "similar"]
Over = Literal["each", "average"]


@dataclass(frozen=True)
class Contrast:
    """Two rows of a table, the first of which is held against the second.

    Attributes:
        a: title of a row.
        b: title of the row that it is compared with.
        except_on: data sets on which the paper itself does not claim it.
    """

    a: str
    b: str
    except_on: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.a == self.b:
            raise ValueError(f"a contrast of {self.a!r} with itself")


@dataclass(frozen=True)
class Claim:
    """One sentence of a paper about one of its tables.

    Attributes:
        name: unique in the table, as in an address: "l-w-helps".
        text: the claim in one sentence of ours.
        quote: the paper's own words.
        where: section of the paper.
        contrasts: the pairs of rows that it is about.
        expect: how the first row of a pair stands to the second, in the direction that is good for the metric:
            "better" by more than `margin`; "not better" by as much as `margin`; "similar" within `margin`.
        margin: in the unit that is printed, such as points of accuracy. The paper states none: ours.
        datasets: it speaks of these alone; None: of every data set that was run.
        freezes: it speaks of these freeze points alone; None: of every one.
        metrics: it speaks of these metrics alone; None: of every one.
        over: "each": it says so of every pair in every column. "average": it says so on the whole
            ("generally"), of the mean difference over its pairs and columns.
        note: how we read a sentence that can be read in several ways.

    Raises:
        ValueError: it names nothing to compare, or its margin does not go with what it expects.
    """

    name: str
    text: str
    quote: str
    where: str
    contrasts: tuple[Contrast, ...]
    expect: Expectation = "better"
    margin: float = 0.0
    datasets: tuple[str, ...] | None = None
    freezes: tuple[str, ...] | None = None
    metrics: tuple[str, ...] | None = None
    over: Over = "each"
    note: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(f"claim {self.name!r}: a name is lower-case words joined by hyphens")
        if not self.contrasts:
            raise ValueError(f"claim {self.name}: it compares no rows")
        for field, allowed in (("expect", Expectation), ("over", Over)):
            if (value := getattr(self, field)) not in get_args(allowed):
                raise ValueError(
                    f"claim {self.name}: {field} is {value!r}; allowed: {', '.join(get_args(allowed))}"
                )
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"claim {self.name}: margin is {self.margin!r}; it must not be negative")
        if self.expect != "better" and self.margin == 0:
            raise ValueError(f"claim {self.name}: {self.expect!r} means nothing without a margin above 0")

    def region(self, metric: Metric) -> tuple[float, float]:
        """The open interval in which the difference a - b lies if the claim is true, in the printed unit.

        An interval of ours that lies inside supports the claim, one that lies outside contradicts it, and one that
        does neither cannot tell.

        Raises:
            ValueError: neither way of the metric is better.
        """
        if self.expect == "similar":
            return -self.margin, self.margin
        if metric.higher_is_better is None:
            raise ValueError(f"claim {self.name}: neither way of {metric.name} is better")
        low, high = (self.margin, math.inf) if self.expect == "better" else (-math.inf, self.margin)
        return (low, high) if metric.higher_is_better else (-high, -low)

    def speaks_of(self, dataset: str, freeze: str | None, metric: str) -> bool:
        """Whether it is about a column; what it says of a data set it says of a fraction of it."""
        return (
            (self.datasets is None or split_fraction(dataset)[0] in self.datasets)
            and (self.freezes is None or freeze in self.freezes)
            and (self.metrics is None or metric in self.metrics)
        )
