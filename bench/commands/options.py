"""Options that several commands share."""

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import click
import click.core

from bench.errors import UsageError
from bench.launch.workers.share import MOST, Jobs

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


EXECUTORS = ("local", "slurm", "auto")


def executor_options(function: F, default: str | bool = True) -> F:
    """--executor, --slurm and --profile.

    Args:
        function: the command.
        default: what the help says of no --executor; True is what click knows, local.
    """
    for option in (
        click.option(
            "--profile",
            metavar="NAME|FILE",
            envvar="BENCH_PROFILE",
            show_envvar=True,
            help="What the cluster wants to be told: a name or a TOML file.",
        ),
        click.option("--slurm", is_flag=True, help="The same as --executor slurm."),
        click.option(
            "--executor",
            type=click.Choice(EXECUTORS),
            default="local",
            show_default=default,
            help="This process, or jobs of SLURM; auto takes SLURM where sbatch answers.",
        ),
    ):
        function = option(function)
    return function


class _Number(click.ParamType):
    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Jobs:
        if isinstance(value, Jobs):
            return value
        if value == "auto":
            return Jobs()
        if not value.isdecimal() or not 1 <= int(value) <= MOST:
            self.fail(f"{value!r} is neither a number of processes, 1 to {MOST}, nor auto", param, ctx)
        return Jobs(int(value))


def jobs_options(function: F) -> F:
    """-j and --jobs-per-gpu."""
    for option in (
        click.option(
            "--jobs-per-gpu",
            type=click.IntRange(1, MOST),
            metavar="N",
            help="N processes on each GPU, each with one of the GPUs for its own.",
        ),
        click.option(
            "-j",
            "--jobs",
            type=_Number(),
            metavar="N|auto",
            help="N processes here share the cells, and the threads; auto is as many as fit.",
        ),
    ):
        function = option(function)
    return function


class _Seeds(click.ParamType):
    name = "seeds"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Literal["auto"]:
        if value == "auto" or isinstance(value, int):
            return value
        if value == "off":
            return 1
        if not value.isdecimal() or not 1 <= int(value) <= MOST:
            self.fail(f"{value!r} is neither a number of seeds, 1 to {MOST}, nor auto, nor off", param, ctx)
        return int(value)


def together_option(function: F) -> F:
    """--seeds-together N|auto|off."""
    return click.option(
        "--seeds-together",
        type=_Seeds(),
        default="off",
        show_default=True,
        metavar="N|auto|off",
        help="Pretrain N seeds of a method at once; auto where measured steps on a GPU say that it is faster.",
    )(function)


def jobs_of(given: Mapping[str, Any]) -> Jobs | None:
    """How many processes, by `jobs_options`; None is this one alone.

    Raises:
        UsageError: the options contradict one another.
    """
    jobs, per_gpu = given["jobs"], given["jobs_per_gpu"]
    if given.get("seeds_together", 1) != 1 and (jobs or per_gpu) is not None:
        flag = "-j" if jobs is not None else "--jobs-per-gpu"
        raise UsageError(
            f"--seeds-together has one process train several seeds, {flag} several processes: leave one out"
        )
    if per_gpu is None:
        return jobs
    if jobs is not None:
        raise UsageError("-j and --jobs-per-gpu both say how many processes there are: leave one out")
    if given["device"] == "cpu":
        raise UsageError(
            "--jobs-per-gpu is for GPUs, and --device cpu for the processor: -j N has N processes there"
        )
    return Jobs(per_gpu=per_gpu)


def typed(name: str) -> bool:
    """Whether an option was on the command line, and not from the environment or by default."""
    source = click.get_current_context().get_parameter_source(name)
    return source == click.core.ParameterSource.COMMANDLINE


def automatic() -> Literal["local", "slurm"]:
    """SLURM where it answers; a SLURM that is there and silent is said to be."""
    from bench.scheduler import available

    if available():
        return "slurm"
    if shutil.which("sbatch") is not None:
        click.echo("bench: warning: SLURM does not answer, so the cells run in this process", err=True)
    return "local"


def executor_of(given: Mapping[str, Any]) -> Literal["local", "slurm"]:
    """Where the cells are to be computed, by `executor_options`.

    Raises:
        UsageError: the options contradict one another.
    """
    if given["slurm"] and typed("executor") and given["executor"] == "local":
        raise UsageError("--slurm and --executor local contradict each other: leave one out")
    where = "slurm" if given["slurm"] else given["executor"]
    if where == "auto":
        return automatic()
    if where == "local" and typed("profile"):
        raise UsageError(
            "--profile is for --slurm (or --executor slurm): it says nothing to cells that run here"
        )
    return where


def refuse_for_slurm(given: Mapping[str, Any]) -> None:
    """Refuse options that mean nothing to jobs.

    Raises:
        UsageError: one of them was given.
    """
    if given.get("time_budget"):
        raise UsageError(
            "--time-budget is for cells that run here; a job's time is timeout_min of the profile, and a job that"
            " reaches it saves, is queued again and goes on"
        )
    for name, flag in (("jobs", "-j"), ("jobs_per_gpu", "--jobs-per-gpu")):
        if given.get(name) is not None:
            raise UsageError(
                f"{flag} is for cells that run here: jobs of SLURM run beside one another as it is, at most"
                " slurm_array_parallelism of the profile at once"
            )
    if given.get("seeds_together", 1) != 1:
        raise UsageError("--seeds-together is for cells that run here: a job trains one seed after another")
    for name, what in (("data", "a share of what its machine has free"), ("feature", "as much as is usual")):
        if given.get(f"{name}_memory") is not None:
            raise UsageError(f"--{name}-memory is for cells that run here: a job takes {what}")
    if not given.get("keep_going", True):
        raise UsageError(
            "--fail-fast is for cells that run here: jobs run beside one another and none waits for another's"
            " end; `bench cancel` ends them"
        )


def asks(question: str) -> bool:
    """Ask a person yes or no.

    Raises:
        UsageError: nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise UsageError(f"{question} nobody is here to answer: --yes answers")
    return click.confirm(question)


def table(header: list[str], rows: list[list[Any]]) -> str:
    """Rows in columns, as wide as they need to be."""
    cells = [[("" if value is None else str(value)) for value in row] for row in rows]
    widths = [max(len(row[k]) for row in [header, *cells]) for k in range(len(header))]
    lines = [
        "  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) for row in [header, *cells]
    ]
    return "\n".join(line.rstrip() for line in lines)


def counted(count: int, what: str) -> str:
    """A number of things in words: 1 cell, 3 cells."""
    return f"{count} {what}" + ("s" if count != 1 else "")


def user_path(path: Path | None) -> Path | None:
    """A path with ~ as the shell would have it."""
    return None if path is None else Path(os.path.expanduser(path))  # noqa: PTH111


def chosen_results(given: Path | None, results: Path) -> Path:
    """The results that a command means, where it takes them as an argument too.

    Raises:
        UsageError: the argument and --results name different ones, or there is nothing at the argument.
    """
    if given is None:
        return user_path(results) or results
    path = user_path(given) or given
    if typed("results") and (user_path(results) or results) != path:
        raise UsageError(f"{given} and --results {results} name two results: leave one out")
    if not path.exists():
        raise UsageError(f"{given} does not exist: give a results folder or a file that `bench pack` wrote")
    return path
