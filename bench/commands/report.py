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
from bench.studies.load import DEFAULT, load_study
from models import registry as methods

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
@click.option(
    "--baseline",
    metavar="METHOD",
    help="Compare every row with this one: differences with their own intervals.",
)
@click.option(
    "--study",
    "study_name",
    default=DEFAULT,
    show_default=True,
    metavar="NAME|FILE",
    help="Whose tables and claims are wanted; a Python file that defines STUDY is a study too.",
)
@json_option
def command(
    given: Path | None,
    results: Path,
    rule: str | None,
    out: Path | None,
    baseline: str | None,
    study_name: str,
    as_json: bool,
) -> int:
    """Tables and figures of what is there; gaps are marked.

    Prints the tables, says of each claim of the study whether the runs support it, contradict it or cannot tell, and
    writes all of it as one HTML page, Markdown, LaTeX, CSV and one Parquet file of all records. RESULTS is what
    --results names, or a file that `bench pack` wrote, or a folder with such a file.
    """
    methods.load_plugins()
    study = load_study(study_name)
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

    report = build(results, rule=rule, study=study, baseline=baseline)
    try:
        paths = write(report, out)
    except UsageError as error:
        raise UsageError(f"{error}: choose another folder with --out") from error
    if as_json:
        tables = tuple(dataclasses.replace(table, figures=()) for table in report.tables)
        bare = dataclasses.replace(report, tables=tables, details={}, confusions={})
        click.echo(dumps({**dataclasses.asdict(bare), "files": paths}, indent=1))
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A terminal that cannot show a sign gets a question mark.
        sys.stdout.reconfigure(errors="replace")
    render_terminal(report)
    click.echo(f"page: {paths['html'].absolute()}")
    return 0
