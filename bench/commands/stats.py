"""`bench stats`."""

import dataclasses
import shlex
import time
from pathlib import Path

import click

from bench.commands.options import json_option, user_path
from bench.errors import UsageError
from bench.files import dumps, naming, write_bytes

DEFAULTS = {"studies": 2000, "seed": 0}


@click.group("stats")
def command() -> None:
    """Whether the statistics of the reports keep what they promise."""


@command.command("check")
@click.option(
    "--studies",
    type=click.IntRange(20),
    default=DEFAULTS["studies"],
    show_default=True,
    metavar="N",
    help="Studies simulated for each finding.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=DEFAULTS["seed"],
    show_default=True,
    metavar="N",
    help="Of all random numbers.",
)
@click.option(
    "-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, metavar="N", help="Processes."
)
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write the Markdown there, and print less."
)
@json_option
def check(studies: int, seed: int, jobs: int, out: Path | None, as_json: bool) -> int:
    """Simulate studies whose truth is known and count.

    How often intervals contain the truth, how often something is called different where nothing is, how often a
    true difference is found. Takes minutes (--studies 100: one). Exit code 1 where a promise is not kept.
    """
    out = user_path(out)
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"no folder {out.parent} for --out {out.name}")
    from bench.stats.simulation import check, markdown

    def tell(task: check.Task) -> None:
        click.echo(f"{time.strftime('%H:%M:%S')} {task.name}", err=True)

    findings = check.run(studies, seed, jobs, tell)
    broken = [finding for finding in findings if finding.kept == "BROKEN"]
    page = markdown.render(findings, _line(studies, seed, out), studies)
    if out is not None:
        with naming(out):
            write_bytes(out, page.encode())
    if as_json:
        facts = [{**dataclasses.asdict(finding), "outside": finding.outside} for finding in findings]
        click.echo(
            dumps({"studies": studies, "seed": seed, "broken": len(broken), "findings": facts}, indent=1)
        )
    else:
        click.echo(page if out is None else f"{len(findings)} findings, {len(broken)} broken: {out}")
    return 1 if broken else 0


def _line(studies: int, seed: int, out: Path | None) -> str:
    """The command that makes the same page; `--jobs` changes nothing in it."""
    given = {"studies": studies, "seed": seed}
    words = [f"--{name} {value}" for name, value in given.items() if value != DEFAULTS[name]]
    return " ".join(["bench stats check", *words, *([f"--out {shlex.quote(str(out))}"] if out else [])])
