"""A data set without the training images that are in a test split too, such as `cifar100@noleaks`.

`X@noleaks` leaves out of X's training split and pool what is in X's own test split; `X@noleaks=Y` also what is in
that of Y, of a pretraining on X that is probed on Y. What is left out are byte-equal and near-equal images. It is
another data set to a run's identity, and a table says so.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bench.errors import DataError, UsageError

if TYPE_CHECKING:
    import numpy as np

    from bench.data.arrays import Dataset, Split

DROP_LEAKS = "drop_leaks"
# In an identity beside it: raised whenever other images would be left out (`bench.data.perceptual`, `leaks`).
FOUND_BY = "leaks_found_by"
FOUND_BY_VERSION = 1
SUFFIX = "@noleaks"


def split_dropped(name: str) -> tuple[str, str | None]:
    """A data set's name without the suffix, and whose test split it names: "" is its own, None no suffix at all.

    Raises:
        UsageError: a fraction follows the suffix, as if leaks could stay in a part.
    """
    whole, suffix, other = name.partition(SUFFIX)
    if suffix and other.startswith("@"):
        raise UsageError(f"{name}: a fraction comes before {SUFFIX}: write {whole}{other}{SUFFIX}")
    if suffix and (not other or other.startswith("=")):
        return whole, other[1:]
    return name, None


def dropped_name(name: str, other: str = "") -> str:
    """The name of a data set without leaks; `other` is another one whose test split is meant too."""
    return name + SUFFIX + (f"={other}" if other else "")


def suffix_of(identity: Mapping[str, Any], typed: Any) -> str:
    """The suffix of a data set as the user types it, by its identity; "" where nothing was left out.

    Args:
        identity: of a data set.
        typed: gives the name of another one by its identity.
    """
    dropped = identity.get(DROP_LEAKS)
    if not dropped:
        return ""
    return dropped_name("", "" if dropped is True else typed(dropped))


def leave_out(data: "Dataset", name: str, train: "np.ndarray", pool: "np.ndarray") -> "Dataset":
    """A data set without some of its images.

    Args:
        data: the data set.
        name: of what is left.
        train: positions in the training split, sorted.
        pool: positions in the pool, sorted; where that is the training split, the same.

    Raises:
        DataError: a class has no training image any more.
    """
    left = _without(data.train, train)
    for label in sorted(set(data.train.labels.tolist()) - set(left.labels.tolist())):
        raise DataError(f"without leaks class {data.classes[label]!r} of {data.name} has no training image")
    gone = [data.fingerprint, DROP_LEAKS, train.tolist(), pool.tolist()]
    return replace(
        data,
        name=name,
        train=left,
        pool=left if data.pool is data.train else _without(data.pool, pool),
        fingerprint=hashlib.sha256(json.dumps(gone).encode()).hexdigest(),
    )


def _without(split: "Split", rows: "np.ndarray") -> "Split":
    import numpy as np

    from bench.data.chosen import choose_rows

    kept = np.setdiff1d(np.arange(len(split)), rows)
    if len(kept) == len(split):
        return split
    part = type(split)(choose_rows(split.images, kept), split.labels[kept])
    for array in (part.images, part.labels):
        if isinstance(array, np.ndarray):
            array.flags.writeable = False
    return part
