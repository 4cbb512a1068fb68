"""The rows of names that carry a path; `bench.data.registry` has the others."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.data.names import FOLDER, TIMM, parse
from bench.data.source import DatasetSpec
from bench.errors import UsageError, choice_error

MIN_SIDE = 8  # the stride of resnet9: fewer pixels leave no feature
MAX_SIDE = 65_535  # of a JPEG file
DEFAULT_SIDE = 64  # of images that nobody has published at a size


def row_with_path(name: str, rows: Mapping[str, DatasetSpec], prefixes: Sequence[str]) -> DatasetSpec:
    """The row of `folder:PATH`, `timm:NAME` or `LAYOUT:PATH`, `@SIZE` behind it or not.

    Args:
        name: what was typed, without a fraction.
        rows: of the registry, by name.
        prefixes: what may stand before the path, its colon included.

    Raises:
        UsageError: no such kind (the nearest is named), no path, or a size that cannot be.
    """
    kind, path, size = parse(name)
    if f"{kind}:" not in prefixes:
        if kind in rows:
            raise UsageError(f"data set {kind!r} takes no path: it is read below --data DIR (or BENCH_DATA)")
        known = choice_error("data set", f"{kind}:PATH", [f"{prefix}PATH" for prefix in prefixes])
        raise UsageError(str(known).replace(f"{kind}:PATH", name, 1))
    if not path:
        raise UsageError(f"{name!r} lacks a path: {kind}:PATH or {kind}:PATH@SIZE")
    if size is not None and size < MIN_SIDE:
        raise UsageError(f"{name}: image size {size} is below the backbone's stride, {MIN_SIDE}")
    if size is not None and size > MAX_SIDE:
        raise UsageError(f"{name}: image size {size} is above {MAX_SIDE}")
    base = Path(path).name or path
    if kind not in (FOLDER, TIMM):  # a part of a published data set: in its layout, without its numbers
        row = rows[kind]
        return dataclasses.replace(
            row,
            name=name,
            title=f"{base} ({row.title}'s layout)",
            image_size=size or row.image_size,
            compressed=row.compressed if size is None or size == row.image_size else None,
            num_classes=None,
            num_train=None,
            num_test=None,
            paper=None,
            needs_root=False,
            at=path,
        )
    return DatasetSpec(
        name=name,
        title=base,
        image_size=size or DEFAULT_SIDE,
        num_classes=None,
        version=1,
        flip=True,
        paper=None,
        source=f"{path} holds train/ and test/ (or val/), one folder a class",
        loader="bench.data.folders:folder" if kind == FOLDER else "bench.data.timm_readers:timm",
        needs_root=False,
        at=path,
    )
