"""All that can be found wrong with a data set without training on it: `bench data verify`."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import registry
from bench.data.arrays import Dataset, Decoded, Split
from bench.data.compressed import stays_compressed
from bench.data.entries import Prepared, entries
from bench.data.headers import read_sizes
from bench.data.leak_records import Record, entry_of, look
from bench.data.leaks import Leaks
from bench.data.source import DatasetSpec, Progress, Source
from bench.data.split_files import equal_files, split_paths
from bench.errors import DataError

UNBALANCED = 1.5  # times as many images in the largest class as in the smallest
Tell = Callable[[str], Progress | None]


@dataclasses.dataclass(frozen=True)
class Verified:
    """What was found.

    Attributes:
        facts: as JSON.
        leaks: pairs of training and test images.
        train_labels: int64, (n,).
        test_labels: int64, (m,).
        classes: names, in the order of the labels.
        paths: split -> file of each image, below `facts["where"]`; None where they are no files.
    """

    facts: dict[str, Any]
    leaks: Leaks
    train_labels: np.ndarray
    test_labels: np.ndarray
    classes: tuple[str, ...]
    paths: dict[str, list[str]] | None

    @property
    def sound(self) -> bool:
        """Whether nothing is broken: leaks and unequal classes are as the authors published them."""
        fingerprint, counts = self.facts["fingerprint"], self.facts["published"]
        return (
            not self.facts["corrupt"]
            and (fingerprint is None or fingerprint["same"])
            and all(fact["found"] == fact["published"] for fact in counts.values())
        )


def verify(name: str, root: Path | None, tell: Tell = lambda what: None) -> Verified:  # noqa: ARG005
    """Look at a data set from its files to its leaks. Arrays that are not there yet are prepared first.

    Args:
        name: of a whole data set.
        root: the data folder.
        tell: called with what begins; gives the progress of it, or None.

    Raises:
        UsageError: no such data set.
        DataError: it is missing, or so broken that no arrays can be made of it.
    """
    row, source = registry.spec(name), registry.find(name, root)
    data = _loaded(row, source, root, tell)
    sizes = None
    if row.files and (where := source.images_where) is not None:
        sizes = read_sizes(where, source.list_files(), tell("image sizes")).facts()
    entry = _entry(row, source, root, data)
    found = look(data, entry_of(row, source, root, data), row.near_equal, tell("leaks"))
    facts = {
        "name": name,
        "where": None if source.where is None else str(source.where),
        "prepared": None if entry is None else str(entry.path),
        "images": {"train": len(data.train), "test": len(data.test), "pool": len(data.pool)},
        "classes": len(data.classes),
        "published": _published(row, data),
        "balance": {"train": _balance(data.train, data), "test": _balance(data.test, data)},
        "sizes": sizes,
        "grey": found.grey,
        "corrupt": list(data.corrupt),
        "notes": list(data.notes),
        "fingerprint": None if entry is None else _fingerprint(entry),
        "copies": found.copies,
        "leaks": _counted(found),
    }
    paths = split_paths(source, data)
    facts["leaks"]["equal_files"] = None if paths is None else _of_equal_files(source, paths, found.train)
    return Verified(facts, found.train, data.train.labels, data.test.labels, data.classes, paths)


def _of_equal_files(source: Source, paths: dict[str, list[str]], leaks: Leaks) -> int:
    """How many of the pairs of equal images are of equal files."""
    where = source.images_where
    assert where is not None
    pairs = [(paths["train"][i], paths["test"][j]) for i, j in leaks.equal.tolist()]
    return sum(bool(equal_files(where, [a], where, [b])) for a, b in pairs)


def _loaded(row: DatasetSpec, source: Source, root: Path | None, tell: Tell) -> Dataset:
    """The data set; without broken files where there are such, as those are what is looked for."""
    if source.layout is None or not stays_compressed(row, len(source.list_files())):
        try:
            return registry.load(row.name, root, min_side=1, progress=tell("preparing"))
        except DataError as error:
            # Anything else is not there to be looked at.
            if "corrupt image" not in str(error):
                raise
    return registry.load(row.name, root, True, min_side=1, progress=tell("decoding every file"))


def _entry(row: DatasetSpec, source: Source, root: Path | None, data: Dataset) -> Prepared | None:
    return next((e for e in entries(row, source, root) if e.about["sha256"] == data.fingerprint), None)


def _published(row: DatasetSpec, data: Dataset) -> dict[str, dict[str, int]]:
    """What the authors say there is, beside what there is: {"train": {"found": n, "published": n}}."""
    wanted = {"train": row.num_train, "test": row.num_test, "classes": row.num_classes}
    found = {"train": len(data.train), "test": len(data.test), "classes": len(data.classes)}
    return {
        what: {"found": found[what], "published": count}
        for what, count in wanted.items()
        if count is not None
    }


def _balance(split: Split, data: Dataset) -> dict[str, Any]:
    counts = np.bincount(split.labels[split.labels >= 0], minlength=len(data.classes))
    least, most = int(counts.min()), int(counts.max())
    return {
        "min": least,
        "median": float(np.median(counts)),
        "max": most,
        "smallest": data.classes[int(counts.argmin())],
        "largest": data.classes[int(counts.argmax())],
        "empty": [data.classes[label] for label in np.flatnonzero(counts == 0)],
        "unbalanced": bool(most > UNBALANCED * least),
    }


def _fingerprint(entry: Prepared) -> dict[str, Any]:
    """The entry's sha256 beside that of its arrays as they are now."""
    about = entry.about
    arrays = {name: np.load(entry.path / f"{name}.npy", mmap_mode="r") for name in about["arrays"]}
    decoded = Decoded(
        **arrays,
        num_train=about["counts"]["train"],
        pool_start=about["pool_start"],
        classes=tuple(about["classes"]),
    )
    computed = decoded.fingerprint()
    return {"kept": about["sha256"], "computed": computed, "same": computed == about["sha256"]}


def _counted(found: Record) -> dict[str, Any]:
    """Counts of images on either side."""
    leaks = found.train
    return {
        **found.counts(),
        "equal_train": len(np.unique(leaks.equal[:, 0])),
        "near_train": len(np.setdiff1d(leaks.near[:, 0], leaks.equal[:, 0])),
        "equal_pairs": len(leaks.equal),
        "near_pairs": len(leaks.near),
    }
