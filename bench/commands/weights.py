"""`bench run --weights`, and `--backbone-from` of `bench probe` and `bench embed`."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from bench.errors import UsageError
from bench.given import TIMM, Given, look_up
from models import registry as methods

F = TypeVar("F", bound=Callable[..., Any])


def weights_option(function: F) -> F:
    """--weights."""
    return click.option(
        "--weights",
        metavar="timm|timm:NAME.TAG|PATH",
        help="For `supervised`, which then trains nothing: weights of timm, of a file, of an exported folder.",
    )(function)


def weights_of(given: Mapping[str, Any], names: list[str]) -> Given | None:
    """The weights of `--weights`, looked up and tried; None where there are none.

    Args:
        given: the options of `bench run`.
        names: methods.

    Raises:
        UsageError: no method takes them, they cannot be had, or they do not fit.
    """
    if (text := given["weights"]) is None:
        return None
    if given["tables"]:
        raise UsageError(
            "--weights is for -m supervised, and --table runs rows as they are declared: leave one out"
        )
    if not any(methods.spec(name).takes_weights for name in names):
        raise UsageError(f"--weights is for supervised, and -m is {','.join(names)}")
    if given["pretrain_on"] is not None:
        raise UsageError("--weights takes weights as they are, and --pretrain-on trains some: leave one out")
    return tried(look_up(text, given["backbone"], fetch=not given["dry_run"]))


def tried(found: Given) -> Given:
    """Weights that were put into their backbone once, so that what does not fit is said before anything begins."""
    from bench.taking import check

    check(found)
    return found


def untrained(given: Mapping[str, Any]) -> str | None:
    """The network of `--backbone-from timm:NAME`, which has random weights; None where weights are named.

    Args:
        given: the options `source`, `backbone` and `pretrained`.

    Raises:
        UsageError: the options contradict one another.
    """
    source = given["source"]
    named = source.removeprefix(f"{TIMM}:")
    of_timm = named != source
    if source == TIMM or not named:
        raise UsageError(
            "--backbone-from timm:NAME needs the name of a network: `bench list backbones --all`"
        )
    if given["pretrained"] and not of_timm:
        raise UsageError(
            "--pretrained is for --backbone-from timm:NAME: folders and files are weights already"
        )
    if of_timm and given["backbone"] is not None:
        raise UsageError("--backbone is for a file of weights: timm:NAME says which network it is")
    return named if of_timm and "." not in named and not given["pretrained"] else None
