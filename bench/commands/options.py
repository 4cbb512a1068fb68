"""Options that several commands share."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def results_option(function: F) -> F:
    """--results DIR."""
    return click.option(
        "--results",
        type=click.Path(path_type=Path),
        default=Path("results"),
        envvar="BENCH_RESULTS",
        show_default=True,
        show_envvar=True,
        metavar="DIR",
        help="Where runs are kept.",
    )(function)


def data_option(function: F) -> F:
    """--data DIR."""
    return click.option(
        "--data",
        "root",
        type=click.Path(path_type=Path),
        envvar="BENCH_DATA",
        show_envvar=True,
        metavar="DIR",
        help="Where data sets lie.",
    )(function)


def json_option(function: F) -> F:
    """--json."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead.")(function)


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Rows in columns, as wide as they need to be."""
    cells = [[("" if value is None else str(value)) for value in row] for row in rows]
    widths = [max(len(row[k]) for row in [header, *cells]) for k in range(len(header))]
    lines = [
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) for row in [header, *cells]
    ]
    return "\n".join(line.rstrip() for line in lines)


def user_path(path: Path | None) -> Path | None:
    """A path with ~ as the shell would have it."""
    return None if path is None else Path(os.path.expanduser(path))  # noqa: PTH111
