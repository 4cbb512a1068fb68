"""What stands between a loaded data set and its use: its leaks are counted, left out if so wished, or refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.data import leak_records
from bench.data.arrays import Dataset, Split
from bench.data.dropped import leave_out, split_dropped
from bench.data.fractions import rows_of_fraction, split_fraction, take, whole_name
from bench.data.leak_records import Record, look_at_images
from bench.data.leaks import Leaks, compare, equal_pairs
from bench.data.names import located_name
from bench.data.signatures import Images, Signatures
from bench.data.source import DatasetSpec, Source
from bench.data.split_files import equal_files, split_paths
from bench.errors import DataError

Rows = NDArray[np.int64]
Recorded = tuple[Dataset, Record]


def guarded(
    data: Dataset, name: str, row: DatasetSpec, entry: Path | None, against: Recorded | None
) -> Dataset:
    """The data set that a name means, with the counts of its leaks.

    They are counted here where that takes seconds, or where they are to be left out; else they are known if
    somebody has looked before.

    Args:
        data: whole, as it was prepared.
        name: as the user typed it, with its fraction and the wish to leave leaks out.
        row: of the registry.
        entry: folder of the prepared arrays.
        against: the other data set whose test images are to be left out of this one too, and what is known of it.
    """
    plain, other = split_dropped(name)
    fraction = split_fraction(plain)[1]
    found = leak_records.known(entry, row.near_equal)
    if found is None and (other is not None or leak_records.is_cheap(data)):
        found = leak_records.look(data, entry, row.near_equal)
    part = data if fraction is None else take(data, plain, fraction)
    if found is None:
        return part
    kept = {"train": _rows(data.train, fraction), "pool": _rows(data.pool, fraction)}
    train, pool = (
        found.train.among(kept["train"]),
        None if found.pool is None else found.pool.among(kept["pool"]),
    )
    if other is None:
        return replace(part, leaks=replace(found, train=train, pool=pool).counts())
    gone = {"train": train.images(), "pool": (pool or train).images()}
    if against is not None:
        for split, images in (("train", data.train.images), ("pool", data.pool.images)):
            if split == "train" or found.pool is not None:
                leaks = _others(images, found.signed[split], *against, row.near_equal).among(kept[split])
                gone[split] = np.union1d(gone[split], leaks.images())
        if found.pool is None:
            gone["pool"] = gone["train"]
    left = leave_out(part, name, gone["train"], gone["pool"])
    none = replace(found, train=_none(train), pool=None if pool is None else _none(pool))
    return replace(left, leaks=none.counts() | {"dropped": {key: len(rows) for key, rows in gone.items()}})


def refuse_shared(pool: str, probed: str, root: Path | None, skip_corrupt: bool = False) -> None:
    """Refuse a pretraining whose pool holds test images of what is probed, byte for byte once decoded.

    Where they are prepared at different sizes, or stay compressed, the bytes of their files are compared instead.

    A data set's own training split is no reason to stop: it is as its authors published it, and reported. What is
    looked at is cached beside the arrays, so that this takes a moment the second time.

    Args:
        pool: name of the data set that is pretrained on.
        probed: name of the one that is probed.
        root: the data folder.
        skip_corrupt: leave out images that cannot be decoded.

    Raises:
        DataError: it does; says how many, the first one and what removes them.
    """
    from bench.data import registry
    from bench.data.whole import whole

    plain, other = split_dropped(pool)
    where = located_name(whole_name(probed), root)
    if other and located_name(other, root) == where:
        return
    data, _, entry = whole(pool, root, skip_corrupt)
    rows = _rows(data.pool, split_fraction(plain)[1])
    if located_name(whole_name(pool), root) == where:
        rows = rows[data.pool.labels[rows] < 0]
    if not len(rows):
        return
    tested, _, of_tested = whole(probed, root, skip_corrupt)
    images, others = data.pool.images, tested.test.images
    arrays = isinstance(images, np.ndarray) and isinstance(others, np.ndarray)
    if arrays and images.shape[1:] == others.shape[1:]:
        signed, their = look_at_images(data, entry), look_at_images(tested, of_tested)
        pairs = equal_pairs(signed.get("pool", signed["train"]).digests[rows], their["test"].digests).tolist()
        what = "byte for byte"
    else:
        pairs = _equal_files(registry.find(pool, root), data, rows, registry.find(probed, root), tested)
        what = "as files of the same bytes"
    if not pairs:
        return
    count, total = len({j for _, j in pairs}), len(tested.test)
    raise DataError(
        f"pretraining on {pool}, probing on {probed}: {count} of {total} test images are in the pool {what} (the"
        f" first: image {rows[pairs[0][0]]} of the pool is test image {pairs[0][1]}); --drop-leaks removes them"
    )


def _equal_files(
    pool: Source, data: Dataset, rows: Rows, probed: Source, tested: Dataset
) -> list[tuple[int, int]]:
    """Of images that are prepared at two sizes: pairs of pool row and test image; none where they are no files."""
    ours, theirs = split_paths(pool, data), split_paths(probed, tested)
    where, other = pool.images_where, probed.images_where
    if ours is None or theirs is None or where is None or other is None:
        return []
    return equal_files(where, [ours["pool"][i] for i in rows], other, theirs["test"])


def _rows(split: Split, fraction: float | None) -> Rows:
    return np.arange(len(split)) if fraction is None else rows_of_fraction(split.labels, fraction)


def _others(images: Images, signed: Signatures, other: Dataset, of_other: Record, near: bool) -> Leaks:
    return compare(images, signed, other.test.images, of_other.signed["test"], near=near)


def _none(leaks: Leaks) -> Leaks:
    """Those that are left where all of them were left out."""
    return replace(leaks, equal=leaks.equal[:0], near=leaks.near[:0], agreement=leaks.agreement[:0])
