"""The promises that let a method, a data set or a backbone be compared with others, as tests that anybody can run.

The same checks hold this project's own rows. In the tests of a package, one line a row:

    def test_my_method_keeps_the_contract():
        bench.contract.check_method("my-method")

`bench contract my-method` prints a line for each promise, and its exit code is 1 if one is broken.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.contract.verdicts import ContractBroken, Verdict, judge, require

if TYPE_CHECKING:
    from bench.data.source import DatasetSpec
    from models.registry import MethodSpec

__all__ = [
    "ContractBroken",
    "Verdict",
    "check_backbone",
    "check_dataset",
    "check_method",
    "judge_backbone",
    "judge_dataset",
    "judge_method",
    "promises",
]


def promises(kind: str) -> dict[str, str]:
    """What is promised of a "method", a "dataset" or a "backbone": name -> one sentence."""
    return {name: (check.__doc__ or "").partition("\n")[0] for name, check in _checks(kind).items()}


def _checks(kind: str) -> Mapping[str, Callable[[Any], str | None]]:
    if kind == "method":
        from bench.contract import methods

        return methods.PROMISES
    if kind == "dataset":
        from bench.contract import datasets

        return datasets.PROMISES
    from bench.contract import backbones

    return backbones.PROMISES


def judge_method(
    method: "str | MethodSpec",
    only: Iterable[str] | None = None,
    *,
    backbone: str = "resnet9",
    image_size: int = 32,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[Verdict]:
    """Hold a method to the contract (`models.method`), on random images and the CPU.

    Args:
        method: name of a row, or a row that no package needs to offer yet.
        only: names of promises; None is all of them, see `promises`.
        backbone: on which it is built.
        image_size: side in pixels of most of the images.
        settings: of the method, where its defaults are not to be judged.

    Raises:
        UsageError: no such method or promise.
    """
    from bench.contract.method_case import MethodCase

    return judge(_checks("method"), MethodCase(method, backbone, image_size, dict(settings or {})), only)


def check_method(
    method: "str | MethodSpec",
    only: Iterable[str] | None = None,
    *,
    backbone: str = "resnet9",
    image_size: int = 32,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """See `judge_method`.

    Raises:
        ContractBroken: an AssertionError with a line for each broken promise.
    """
    require(judge_method(method, only, backbone=backbone, image_size=image_size, settings=settings))


def judge_dataset(
    dataset: "str | DatasetSpec", only: Iterable[str] | None = None, *, root: Path | str | None = None
) -> Iterator[Verdict]:
    """Hold a data set to the contract (`bench.data.source`). It is decoded twice, and nothing of it is kept.

    Args:
        dataset: name of a row, or a row.
        only: names of promises; None is all of them.
        root: the data folder; None is `BENCH_DATA`, if that is set.

    Raises:
        UsageError: no such data set or promise.
    """
    from bench.contract.datasets import DatasetCase

    return judge(_checks("dataset"), DatasetCase(dataset, root), only)


def check_dataset(
    dataset: "str | DatasetSpec", only: Iterable[str] | None = None, *, root: Path | str | None = None
) -> None:
    """See `judge_dataset`.

    Raises:
        ContractBroken: an AssertionError with a line for each broken promise.
    """
    require(judge_dataset(dataset, only, root=root))


def judge_backbone(
    backbone: str, only: Iterable[str] | None = None, *, image_size: int = 64
) -> Iterator[Verdict]:
    """Hold a network that timm knows to what is needed of a backbone (`models.backbones`).

    Args:
        backbone: its name in timm, or of an entry point `bench.backbones`.
        only: names of promises; None is all of them.
        image_size: side in pixels of the images.

    Raises:
        UsageError: no such promise.
    """
    from bench.contract.backbones import BackboneCase

    return judge(_checks("backbone"), BackboneCase(backbone, image_size), only)


def check_backbone(backbone: str, only: Iterable[str] | None = None, *, image_size: int = 64) -> None:
    """See `judge_backbone`.

    Raises:
        ContractBroken: an AssertionError with a line for each broken promise.
    """
    require(judge_backbone(backbone, only, image_size=image_size))
