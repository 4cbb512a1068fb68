"""How much memory images and features may take: options, and what they say."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, TypeVar

import click

# Names of the options, in what is on record of a command line.
MEMORIES = ("data_memory", "feature_memory")
F = TypeVar("F", bound=Callable[..., Any])


class _Size(click.ParamType):
    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if value == "0":
            return 0
        match = re.fullmatch(r"(\d+(?:\.\d*)?)([MG])", value)
        # Whole MiB, so that it can be written as it was typed.
        mebibytes = 0 if match is None else round(float(match[1]) * (1 if match[2] == "M" else 1024))
        if match is None or (not mebibytes and float(match[1])):
            self.fail(f"{value!r} is no size such as 0, 500M or 8G (MiB, GiB)", param, ctx)
        return mebibytes << 20


def memory_options(function: F) -> F:
    """--data-memory SIZE, --feature-memory SIZE."""
    data = click.option(
        "--data-memory",
        type=_Size(),
        metavar="SIZE",
        help="500M, 8G: images that take more of the device's memory are streamed (default: 40 % of what is free).",
    )
    features = click.option(
        "--feature-memory",
        type=_Size(),
        metavar="SIZE",
        help="500M, 8G: a probe's frozen features that take more are kept in a file where that pays, else computed"
        " for every batch, which rounds otherwise; 0 computes them for every batch (default: 4G).",
    )
    return data(features(function))


class Memory(TypedDict):
    """What `bench.commands.order.Order` has of `memory_options`: bytes, or None as is usual."""

    data_bytes: int | None
    feature_bytes: int | None


def memory_of(given: Mapping[str, Any]) -> Memory:
    """Of the options that were given."""
    return {"data_bytes": given["data_memory"], "feature_bytes": given["feature_memory"]}
