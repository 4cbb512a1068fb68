"""`bench report`."""

import contextlib
import dataclasses
import gc
import io
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from bench import plugins
from bench.commands.options import chosen_results, json_option, results_option, table, user_path
from bench.errors import UsageError
from bench.files import dumps
from bench.records import check_results, packed_file
from bench.results_folder import report_folder
from bench.studies.load import DEFAULT, load_study

if TYPE_CHECKING:
    from bench.report import Records, Report

RULES = ("last", "val", "best-test")
Written = TypeVar("Written")


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
@click.option(
    "--compare",
    "other",
    type=click.Path(path_type=Path),
    metavar="DIR|FILE",
    help="Hold these results against others: what differs, beyond what chance explains.",
)
@click.option(
    "--watch", is_flag=True, help="Serve the page on this machine and make it anew while runs go on."
)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8000,
    show_default=True,
    help="Of --watch; 0 takes any free one.",
)
@json_option
def command(
    given: Path | None,
    results: Path,
    rule: str | None,
    out: Path | None,
    baseline: str | None,
    study_name: str,
    other: Path | None,
    watch: bool,
    port: int,
    as_json: bool,
) -> int:
    """Tables and figures of what is there; gaps are marked.

    Prints the tables, says of each claim of the study whether the runs support it, contradict it or cannot tell, and
    writes all of it as one HTML page, Markdown, LaTeX and CSV, with the records as one Parquet file. RESULTS is what
    --results names, or a file that `bench pack` wrote, or a folder with such a file.

    \b
    bench report results --baseline beta-vae
    bench report results --watch --port 8000
    bench report after --compare before
    """  # noqa: D301
    plugins.load()
    study = load_study(study_name)
    results = chosen_results(given, results)
    _check(results)
    out = user_path(out) or report_folder(results)
    if watch and (as_json or other is not None):
        raise UsageError("--watch shows one report as a page: leave --json and --compare away")
    from bench.report import Records, build, read, render_terminal, write

    def make(records: Records | None = None) -> "Report":
        return build(records or results, rule=rule, study=study, baseline=baseline)

    if watch:
        return _watch(results, out, port, make)
    if other is not None:
        other = user_path(other) or other
        _check(other)
        return _compare(make(), build(other, rule=rule, study=study), (other, results), out, as_json)
    from bench.packed import packed_beside

    with _without_collection():
        records = read(results)
        with contextlib.ExitStack() as stack:
            packed = stack.enter_context(packed_beside(results, records.runs, out))
            report = make(records)
            paths = {**_written(lambda: write(report, out)), "parquet": packed}
            _written(stack.close)
    if as_json:
        tables = tuple(dataclasses.replace(table, figures=()) for table in report.tables)
        bare = dataclasses.replace(report, tables=tables, details={}, confusions={})
        click.echo(dumps({**dataclasses.asdict(bare), "files": paths}, indent=1))
        return 0
    _forgive()
    render_terminal(report)
    click.echo(f"page: {paths['html'].absolute()}")
    return 0


@contextlib.contextmanager
def _without_collection() -> Iterator[None]:
    """Nothing of ten thousand records is garbage before the end; to look for it takes a tenth of the time."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def _check(results: Path) -> None:
    """Refuse a folder without runs.

    Raises:
        UsageError: there is nothing to report.
    """
    if packed_file(results) is not None:
        return
    check_results(results)
    if not (results / "runs").is_dir():
        here = shlex.quote(str(results))
        raise UsageError(
            f"no runs in {results}: `bench run --results {here}` makes them, --results names others"
        )


def _written(write: Callable[[], Written]) -> Written:
    try:
        return write()
    except UsageError as error:
        raise UsageError(f"{error}: choose another folder with --out") from error


def _forgive() -> None:
    """Let a terminal that cannot show a sign have a question mark."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")


def _watch(results: Path, out: Path, port: int, make: "Callable[[Records], Report]") -> int:
    import threading

    from bench.packed import packed_beside
    from bench.report import read, write
    from bench.report.build import FILES
    from bench.report.page import render
    from bench.report.watch import HOST, VERSION, Watcher, server

    def anew(version: str) -> bytes:
        records = read(results)
        with packed_beside(results, records.runs, out):
            report = make(records)
            # What lies on the disk is for a reader without a server, so it asks none.
            write(report, out)
        return render(report, refresh=VERSION, version=version).encode()

    watcher = Watcher(packed_file(results) or results, anew, lambda text: click.echo(text, err=True))
    with server(out, port, watcher, frozenset(FILES.values())) as serving:
        if not watcher.refresh():
            raise UsageError(f"no report could be made in {out}")
        follower = threading.Thread(target=watcher.follow, daemon=True)
        follower.start()
        click.echo(f"http://{HOST}:{serving.server_address[1]}/ (Ctrl-C ends it)")
        try:
            serving.serve_forever()
        except KeyboardInterrupt:
            return 0
        finally:
            watcher.stop()
    return 0


def _compare(b: "Report", a: "Report", folders: tuple[Path, Path], out: Path, as_json: bool) -> int:
    from bench.files import write_bytes
    from bench.report import compare_files
    from bench.report.compare import compare

    found = compare(a, b, (str(folders[0]), str(folders[1])))
    forms = {"html": compare_files.page, "md": compare_files.markdown, "csv": compare_files.table}

    def write() -> dict[str, Path]:
        try:
            out.mkdir(parents=True, exist_ok=True)
            for name, form in forms.items():
                write_bytes(out / f"compare.{name}", form(found).encode())
        except OSError as error:
            raise UsageError(f"{out} cannot be written: {error.strerror or error}") from None
        return {name: out / f"compare.{name}" for name in forms}

    paths = _written(write)
    if as_json:
        cells = [{**dataclasses.asdict(one), "state": one.state} for one in found.cells]
        click.echo(dumps({"names": found.names, "cells": cells, "files": paths}, indent=1))
        return 0
    _forgive()
    click.echo("\n".join([*compare_files.sides(found), f"{compare_files.tally(found)}."]))
    click.echo(compare_files.explanation(found))
    rows = [list(compare_files.texts(one)) for one in compare_files.interesting(found)]
    if rows:
        click.echo(table(list(compare_files.HEAD), rows))
    click.echo(f"page: {paths['html'].absolute()}")
    return 0
