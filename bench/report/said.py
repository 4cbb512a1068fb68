"""Claims and differences in words: what Markdown, terminal and page share."""

from collections import Counter
from collections.abc import Iterable

from bench.report.findings import measured
from bench.report.layout import signed
from bench.report.model import Claim, Comparison, Verdict
from bench.report.variance import difference_text, unit_text
from bench.report.words import count
from bench.studies.metrics import METRICS

VERDICTS: dict[Verdict, str] = {
    "supported": "Supported",
    "contradicted": "Contradicted",
    "undecided": "Cannot tell yet",
    "not run": "Not run",
}


def verdict_title(claim: Claim) -> str:
    """A verdict as a reader sees it."""
    return VERDICTS[claim.verdict]


def evidence(claim: Claim) -> str:
    """What the runs say of a claim and, where they cannot tell, why not."""
    why = f"{claim.reason[:1].upper()}{claim.reason[1:]}." if claim.reason else ""
    return " ".join([*measured(claim), why]).strip()


def tally(claims: Iterable[Claim]) -> str:
    """How many claims have which verdict: "2 supported, 1 contradicted, 3 cannot tell yet"."""
    counted = Counter(claim.verdict for claim in claims)
    return ", ".join(f"{counted[v]} {title.lower()}" for v, title in VERDICTS.items() if counted[v]) + "."


def difference_line(one: Comparison) -> str:
    """A comparison in one line: what, where, how much, how sure, what the paper has."""
    metric = METRICS[one.metric]
    what = f"{one.a} against {one.b}" if one.column else f"{one.a} {one.b}"
    where = f", {one.column}" if one.column else ""
    if one.difference is None:
        return f"{what}{where}: {one.missing or 'not run'}"
    text = difference_text(one.difference, one.half, one.n, metric, unit_text(metric))
    parts = [f"{what}{where}: {text}", f"n = {one.n}"]
    if one.p is not None:
        parts.append("p < 0.001" if one.p < 0.001 else f"p = {one.p:.3f}")
    if one.published is not None:
        parts.append(f"in the paper {signed(one.published, metric)}")
    more = one.seeds_needed is not None and one.seeds_needed > one.n
    if one.seeds_needed is not None and more and one.as_expected and one.p is not None and one.p >= one.level:
        parts.append(f"about {count(one.seeds_needed, 'seed')} would separate them")
    return "; ".join(parts)
