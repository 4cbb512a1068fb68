"""Options of every part of `bench perf` that prints facts, keeps them and compares them."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from bench.commands.options import data_option, json_option
from bench.errors import UsageError
from bench.launch.device import DEVICES, num_cores

F = TypeVar("F", bound=Callable[..., Any])


memory_option = click.option(
    "--memory/--no-memory", default=True, help="Each way's peak, in a process of its own."
)


def shared_options(dataset: str) -> Callable[[F], F]:
    """Where to measure, of which images, and what becomes of the numbers."""
    options = (
        click.option(
            "-d", "--dataset", default=dataset, show_default=True, metavar="NAME", help="Of which images."
        ),
        click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True),
        click.option(
            "--precision",
            type=click.Choice(["auto", "fp32", "bf16"]),
            default="auto",
            show_default=True,
            help="Of the fast ways.",
        ),
        click.option("--threads", type=click.IntRange(1), default=1, show_default=True, metavar="N"),
        data_option,
        click.option(
            "--compare",
            "earlier",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="An earlier perf.json: which ratios got worse; exit code 1 if one did.",
        ),
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            metavar="FOLDER",
            help="Also perf.json, perf.md and the roofline as perf.svg and perf.png.",
        ),
        json_option,
    )
    return lambda function: functools.reduce(lambda f, option: option(f), reversed(options), function)


def beside(given: Mapping[str, Any]) -> int:
    """Processes beside one another: each on cores of its own, or seconds of the processor do not hold its waiting.

    Raises:
        UsageError: there are not so many cores.
    """
    count, threads, cores = given.get("beside", 1), given["threads"], num_cores()
    if count > 1 and count * threads > cores:
        allowed = f"at most {cores // threads} here" if cores > threads else "not here"
        raise UsageError(
            f"--beside {count} with --threads {threads} takes {count * threads} cores of {cores}: {allowed}"
        )
    return count


def check_shared(given: Mapping[str, Any], freezes: Sequence[str]) -> None:
    """Refuse `--shared` where no features are kept for another freeze point.

    Raises:
        UsageError: there is one freeze point, or it is all in bf16.
    """
    if given.get("shared") and len(freezes) < 2:
        raise UsageError(f"--shared is for freeze points in turn: --probes {','.join(freezes)} names one")
    if given.get("shared") and given["precision"] == "bf16":
        raise UsageError("--shared is for fp32: no features are made of what is kept in bf16")
