"""A part of a data set's training images, such as `cifar100@10%`. The test split is never cut.

A tenth of the images answers a question about methods in a tenth of the time; it is another data set to a run's
identity, and a table says so.
"""

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from bench.data.dropped import split_dropped, suffix_of
from bench.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from bench.data.arrays import Dataset, Split

FRACTION = "fraction"
_SUFFIX = re.compile(r"(?P<name>.+)@(?P<percent>[^@/]*)%")


def split_fraction(name: str) -> tuple[str, float | None]:
    """A data set's name without its fraction, and the fraction; None where all training images are meant.

    Raises:
        UsageError: no such fraction.
    """
    match = _SUFFIX.fullmatch(name)
    if match is None:
        return name, None
    try:
        percent = float(match["percent"])
    except ValueError:
        percent = 0.0
    if not 0 < percent < 100:
        raise UsageError(
            f"{name}: {match['percent']!r} is no percentage of the training images; write more than 0 and less than"
            f" 100, such as {match['name']}@10%"
        )
    return match["name"], percent / 100


def whole_name(name: str) -> str:
    """A data set's name without its fraction, and with its leaks.

    Raises:
        UsageError: no such fraction.
    """
    return split_fraction(split_dropped(name)[0])[0]


def percentage(identity: Mapping[str, Any]) -> str:
    """The fraction of a data set's identity for a reader, such as "10 %"; "" where all images are meant."""
    fraction = identity.get(FRACTION)
    return "" if fraction is None else f"{100 * float(fraction):.6g} %"


def typed_name(identity: Mapping[str, Any]) -> str:
    """A data set as the user types it, by its identity: "cifar100", "cifar100@10%", "cifar100@noleaks"."""
    part = percentage(identity).replace(" ", "")
    name = f"{identity['name']}@{part}" if part else str(identity["name"])
    return name + suffix_of(identity, typed_name)


def evenly(count: int, fraction: float) -> list[int]:
    """Places of a fraction of `count` things at even distances; one at least, where there is one."""
    kept = min(count, max(1, round(fraction * count)))
    return [(2 * i + 1) * count // (2 * kept) for i in range(kept)]


def take(data: "Dataset", name: str, fraction: float) -> "Dataset":
    """The same data set with a fraction of every class's training images, and of its unlabelled ones.

    They lie at even distances in the published order, so that the choice needs no seed and early and late images
    are both in it. A pool that holds the training images keeps those that are kept for training.

    Args:
        data: the whole data set.
        name: as the user typed it.
        fraction: of the images, between 0 and 1.
    """
    import dataclasses

    train = _part(data.train, fraction)
    return dataclasses.replace(
        data,
        name=name,
        train=train,
        pool=train if data.pool is data.train else _part(data.pool, fraction),
        fingerprint=hashlib.sha256(f"{data.fingerprint} {fraction!r}".encode()).hexdigest(),
    )


def rows_of_fraction(labels: "NDArray[np.int64]", fraction: float) -> "NDArray[np.int64]":
    """Positions of the images that a fraction of a split takes, sorted."""
    import numpy as np

    members = (np.flatnonzero(labels == label) for label in np.unique(labels))
    return np.sort(np.concatenate([mine[evenly(len(mine), fraction)] for mine in members]))


def _part(split: "Split", fraction: float) -> "Split":
    import numpy as np

    from bench.data.chosen import choose_rows

    chosen = rows_of_fraction(split.labels, fraction)
    part = type(split)(choose_rows(split.images, chosen), split.labels[chosen])
    for array in (part.images, part.labels):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return part
