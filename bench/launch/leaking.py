"""A pretraining that would see test images of what is probed is refused before it begins."""

from collections.abc import Collection
from pathlib import Path

from bench.plan import Plan, shared_splits


def refuse_leaking(
    plan: Plan, ids: Collection[str], root: Path | None, skip_corrupt: bool, name: str = ""
) -> None:
    """Look at every pair of a pool and a test split that cells need.

    Args:
        plan: with the cells.
        ids: of those to compute.
        root: the data folder.
        skip_corrupt: leave out images that cannot be decoded.
        name: of a data set: only pairs that it is in; "" is all.

    Raises:
        DataError: a pool holds test images, see `bench.data.guards.refuse_shared`.
    """
    for pool, probed in shared_splits(plan.groups, ids):
        if not name or name in (pool, probed):
            from bench.data.guards import refuse_shared

            refuse_shared(pool, probed, root, skip_corrupt)
