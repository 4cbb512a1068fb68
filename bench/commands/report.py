"""`bench report`."""

import dataclasses
import io
import shlex
import sys
from pathlib import Path

import click

from bench.commands.options import json_option, results_option, user_path
from bench.errors import UsageError
from bench.files import dumps
from bench.records import check_results

RULES = ("last", "val", "best-test")


@click.command("report")
@results_option
@click.option("--rule", type=click.Choice(RULES), help="Epoch that counts (default: each protocol's own).")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the page and the tables go (default: report/ in the results folder).",
)
@json_option
def command(results: Path, rule: str | None, out: Path | None, as_json: bool) -> int:
    """Tables and figures of what is there; gaps are marked.

    Prints the tables and writes them as one HTML page, Markdown, LaTeX and CSV.
    """
    results = user_path(results) or results
    out = user_path(out) or results / "report"
    check_results(results)
    if not (results / "runs").is_dir():
        here = shlex.quote(str(results))
        raise UsageError(
            f"no runs in {results}: `bench run --results {here}` makes them, --results names others"
        )
    from bench.report import build, render_terminal, write

    report = build(results, rule=rule)
    try:
        paths = write(report, out)
    except UsageError as error:
        raise UsageError(f"{error}: choose another folder with --out") from error
    if as_json:
        facts = dataclasses.asdict(build(results, rule=rule, with_figures=False))
        click.echo(dumps({**facts, "files": paths}, indent=1))
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a sign gets a question mark.
        sys.stdout.reconfigure(errors="replace")
    render_terminal(report)
    click.echo(f"page: {paths['html'].absolute()}")
    return 0
