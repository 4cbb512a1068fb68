"""What was found of a data set's leaks, computed once for each entry of prepared arrays and kept in it.

The two files are no part of the entry's identity: they say something of its arrays, and may be removed.
"""

import contextlib
import io
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from bench.data import perceptual
from bench.data.arrays import Dataset, Split
from bench.data.entries import entries
from bench.data.leaks import Leaks, compare, copies_within
from bench.data.prepare import cache_folders
from bench.data.signatures import Signatures, signatures
from bench.data.source import DatasetSpec, Progress, Source
from bench.errors import BenchError
from bench.files import write_bytes

SCHEMA = 1
LEAKS = "leaks.json"
SIGNATURES = "signatures.npz"
KEPT_APART = ".leaks"
CHEAP_BYTES = 1 << 30  # of decoded images: some seconds
CHEAP_PAIRS = 1 << 31


@dataclass(frozen=True)
class Record:
    """What was found.

    Attributes:
        train: of the training split.
        pool: of the pool; None where it is the training split.
        copies: split -> images that are copies, byte for byte, of an earlier one.
        grey: split -> images without colour.
        near: whether near-equal images were to be looked for.
        signed: split -> its signatures; no "pool" where that is the training split.
    """

    train: Leaks
    pool: Leaks | None
    copies: dict[str, int]
    grey: dict[str, int]
    near: bool
    signed: dict[str, Signatures]

    @property
    def of_pool(self) -> Signatures:
        """Signatures of what is pretrained on."""
        return self.signed.get("pool", self.signed["train"])

    def counts(self) -> dict[str, Any]:
        """What a run keeps of it, as JSON: test images that are on the other side too."""
        facts: dict[str, Any] = dict(self.train.counts())
        if self.pool is not None:
            of_pool = self.pool.counts()
            facts["pool"] = {key: of_pool[key] for key in ("equal", "near")}
        return facts | {"distance": perceptual.DISTANCE, "agreement": perceptual.AGREEMENT}


def is_cheap(data: Dataset) -> bool:
    """Whether looking takes seconds: little that needs no decoding."""
    images = [split.images for split in _splits(data).values()]
    return (
        all(isinstance(one, np.ndarray) for one in images)
        and sum(one.nbytes for one in images) <= CHEAP_BYTES
        and len(data.pool) * len(data.test) <= CHEAP_PAIRS
    )


def entry_of(row: DatasetSpec, source: Source, root: Path | None, data: Dataset) -> Path | None:
    """Where what is found of a data set is kept: the folder of the prepared arrays that it was loaded from.

    None of what is in memory alone. A folder of its own, which may not be there yet, of images that stay compressed,
    and of arrays in a folder that only another may write, where that one has not looked.
    """
    apart = f"{row.name.partition(':')[0]}-{data.fingerprint[:16]}{KEPT_APART}"
    if not all(isinstance(split.images, np.ndarray) for split in _splits(data).values()):
        return cache_folders(root)[0] / apart
    path = next((e.path for e in entries(row, source, root) if e.about["sha256"] == data.fingerprint), None)
    if path is None or os.access(path, os.W_OK) or (path / LEAKS).exists():
        return path
    return cache_folders(None)[0] / apart


def known(entry: Path | None, near: bool = True) -> Record | None:
    """What was found before; None where nobody has looked, or not as this version does."""
    if entry is None:
        return None
    try:
        kept = json.loads((entry / LEAKS).read_text())
        if kept["how"] != _how(near):
            return None
        signed = _signed(entry, kept["splits"])
        if signed is None:
            return None
        pool = None if kept["pool"] is None else Leaks.of_json(kept["pool"])
        train = Leaks.of_json(kept["train"])
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None
    return Record(train, pool, kept["copies"], kept["grey"], near, signed)


def look(data: Dataset, entry: Path | None, near: bool = True, progress: Progress | None = None) -> Record:
    """What was found before or is found now, which is then kept where that can be done.

    Args:
        data: whole: no fraction, nothing left out.
        entry: folder of its prepared arrays.
        near: whether near-equal images are looked for.
        progress: called with (images done, images in all).
    """
    found = known(entry, near)
    if found is not None:
        return found
    splits, signed = _splits(data), look_at_images(data, entry, progress)

    def leaks(name: str) -> Leaks:
        images, test = splits[name].images, splits["test"].images
        return compare(images, signed[name], test, signed["test"], near=near)

    pool = leaks("pool") if "pool" in splits else None
    found = Record(
        leaks("train"),
        pool,
        {name: copies_within(signed[name].digests) for name in splits},
        {name: int(signed[name].grey.sum()) for name in splits},
        near,
        signed,
    )
    if entry is not None:
        _keep(found, entry)
    return found


def look_at_images(
    data: Dataset, entry: Path | None, progress: Progress | None = None
) -> dict[str, Signatures]:
    """Signatures of each split, found before or now, and kept; no "pool" where that is the training split.

    See `look` for the arguments.
    """
    splits = _splits(data)
    found = None if entry is None else _signed(entry, splits)
    if found is not None and all(len(found[name]) == len(split) for name, split in splits.items()):
        return found
    total, done = sum(len(split) for split in splits.values()), 0
    signed: dict[str, Signatures] = {}
    for name, split in splits.items():
        report = None if progress is None else _shifted(progress, done, total)
        signed[name] = signatures(split.images, report)
        done += len(split)
    if entry is not None:
        content = io.BytesIO()
        arrays = {f"{name}_{key}": array for name, one in signed.items() for key, array in vars(one).items()}
        np.savez(content, allow_pickle=False, schema=np.array(SCHEMA), **arrays)
        _write(entry, SIGNATURES, content.getvalue())
    return signed


def _signed(entry: Path, splits: Iterable[str]) -> dict[str, Signatures] | None:
    try:
        with np.load(entry / SIGNATURES, allow_pickle=False) as arrays:
            if arrays["schema"] != SCHEMA:
                return None
            return {
                name: Signatures(*(arrays[f"{name}_{field.name}"] for field in fields(Signatures)))
                for name in splits
            }
    except (OSError, ValueError, KeyError, TypeError, EOFError):
        return None


def _keep(found: Record, entry: Path) -> None:
    kept = {
        "how": _how(found.near),
        "train": found.train.as_json(),
        "pool": None if found.pool is None else found.pool.as_json(),
        "copies": found.copies,
        "grey": found.grey,
        "splits": list(found.signed),
    }
    _write(entry, LEAKS, json.dumps(kept).encode())


def _write(entry: Path, name: str, content: bytes) -> None:
    # A folder that cannot be written, or a full disk: it is then looked for again.
    with contextlib.suppress(OSError, BenchError):
        if entry.suffix == KEPT_APART:
            entry.mkdir(parents=True, exist_ok=True)
        write_bytes(entry / name, content)


def _how(near: bool) -> list[Any]:
    return [SCHEMA, *([perceptual.DISTANCE, perceptual.AGREEMENT] if near else [])]


def _splits(data: Dataset) -> dict[str, Split]:
    pool = {} if data.pool is data.train else {"pool": data.pool}
    return {"train": data.train, **pool, "test": data.test}


def _shifted(progress: Progress, done: int, total: int) -> Progress:
    return lambda now, _: progress(done + now, total)
