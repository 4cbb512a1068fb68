"""`bench report`."""

import dataclasses
import io
import shlex
import sys
from pathlib import Path

import click

from bench.commands.options import chosen_results, json_option, results_option, user_path
from bench.errors import UsageError
from bench.files import dumps
from bench.records import check_results, packed_file
from bench.results_folder import report_folder

RULES = ("last", "val", "best-test")


@click.command("report")
@click.argument("given", metavar="[RESULTS]", required=False, type=click.Path(path_type=Path))
@results_option
@click.option("--rule", type=click.Choice(RULES), help="Epoch that counts (default: each protocol's own).")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the page and the tables go (default: report/ in the results folder, or beside a packed file).",
)
@json_option
def command(given: Path | None, results: Path, rule: str | None, out: Path | None, as_json: bool) -> int:
    """Tables and figures of what is there; gaps are marked.

    Prints the tables and writes them as one HTML page, Markdown, LaTeX and CSV. RESULTS is what --results names, or a
    file that `bench pack` wrote, or a folder with such a file.
    """
    results = chosen_results(given, results)
    out = user_path(out) or report_folder(results)
    packed = packed_file(results)
    if packed is None:
        check_results(results)
    if packed is None and not (results / "runs").is_dir():
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
