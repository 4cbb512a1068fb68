"""What the check found, as the page that is published."""

from collections.abc import Sequence

from bench.stats.simulation import plans, synthetic
from bench.stats.simulation.findings import Finding

HEAD = """# Do the statistics keep what they promise?

{verdict} Written by

    {command}

which simulates {studies:,} studies for each row of each table, all from one seed. In percent, with the 95 % interval
of the simulation (the exact binomial one). ° marks what is conservative: the interval lies on the safe side of what
is promised. **BROKEN** marks a promise that a 99.9 % interval excludes. Of {count} promises, {outside} lie outside
their 95 % interval on the wrong side; by chance alone one in forty of those that are kept exactly would."""

CLAIMS = """\
Verdicts of `bench.stats.judge` at 5 %, two-sided: of a claim that says which way, 2.5 % are promised each way
where no method is better. A study's table holds six claims: of one column; of three columns on two data sets, in each
of which it must show; of their average; two of other pairs of methods; and a similarity that is true. Holm's
correction is over the six, and at most 5 % of tables may hold any false verdict. “Alone” is the first claim as a
table of its own. With few seeds and the test images about as uncertain as they, verdicts are conservative: the price
of an interval that never promises too much (`bench/stats/distributions.py` says why not Satterthwaite's).

Beside it the power: how often a difference of two of the seeds' standard deviations is found, alone and in the table
(where the other claims are still of equals, so that verdicts about them are false). “Luck shared” is how much of a
seed's variance all methods have in common: without it the paired difference varies by 1.4 of the seeds' standard
deviations, with half of it by 1."""

EACH_CLAIM = "Where no method is better. Of each 2.5 % are promised each way; the correction leaves less."

COVERAGE = """\
95 % are promised. A t interval over seeds speaks of other seeds on the same test images. It does not promise
to hold for other images, and does not; a claim's interval does."""

ALARMS = "At most 5 % of tables may hold a false alarm; at the very margin of a similarity, 2.5 % each way."

COMPONENTS = """\
The variance found over the variance drawn, on average (10,000 images, seeds 2 points, probe seeds 1 point,
half of the seeds' luck shared). Where a pretraining has one probe, its variance counts as the pretraining's."""

PLANS = f"""\
Planned from the true variances, as many seeds as `seeds_to_separate` asks for must give a power of 80 %, and
where it says that none would, {plans.MANY} must not. Planned from what three seeds have shown, it is a guess: this is
what it would have bought."""

# Title, text and the experiment that the tables are of.
SECTIONS = (
    ("Claims", CLAIMS, "claims"),
    ("Each claim of the table", EACH_CLAIM, "each claim"),
    ("Intervals", COVERAGE, "coverage"),
    ("Other comparisons of equals", ALARMS, "false alarms"),
    ("Variance components", COMPONENTS, "components"),
    ("How many seeds would do", PLANS, "plans"),
)

MARKS = {"conservative": "°", "BROKEN": " **BROKEN**"}


def render(findings: Sequence[Finding], command: str, studies: int) -> str:
    """The whole page.

    Args:
        findings: all of them.
        command: that makes the page.
        studies: simulated for each row.
    """
    promised = [finding for finding in findings if finding.promise is not None]
    broken = sum(finding.kept == "BROKEN" for finding in findings)
    count = len(promised)
    verdict = f"{broken} of {count} promises are broken." if broken else f"All {count} promises are kept."
    outside = sum(finding.outside for finding in promised)
    parts = [HEAD.format(verdict=verdict, command=command, studies=studies, outside=outside, count=count)]
    for title, text, experiment in SECTIONS:
        own = [finding for finding in findings if finding.experiment == experiment]
        parts += [f"## {title}", text, *_tables(own)]
    model = (synthetic.__doc__ or "").partition("\n\n")[2]
    parts += ["## How the studies are drawn", model.strip()]
    return "\n\n".join(parts) + "\n"


def _tables(findings: Sequence[Finding]) -> list[str]:
    """A table for each set of words by which settings are told apart, in order."""
    kinds = dict.fromkeys(tuple(finding.setting) for finding in findings)
    return [_table([f for f in findings if tuple(f.setting) == kind]) for kind in kinds]


def _table(findings: Sequence[Finding]) -> str:
    """Settings down, measures across."""
    settings = list(dict.fromkeys(tuple(finding.setting.items()) for finding in findings))
    measures = list(dict.fromkeys(finding.measure for finding in findings))
    found = {(tuple(f.setting.items()), f.measure): _cell(f) for f in findings}
    names = [name for name, _ in settings[0]]
    rows = [
        [*(value for _, value in setting), *(found.get((setting, measure), "") for measure in measures)]
        for setting in settings
    ]
    lines = [[*names, *measures], [*(":---" for _ in names), *("---:" for _ in measures)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(finding: Finding) -> str:
    mark = MARKS.get(finding.kept, "")
    if finding.sense == "about" and finding.promise == 1.0:
        return f"{finding.value:.3f} ({finding.low:.3f}–{finding.high:.3f}){mark}"
    return f"{100 * finding.value:.2f}{mark} ({100 * finding.low:.1f}–{100 * finding.high:.1f})"
