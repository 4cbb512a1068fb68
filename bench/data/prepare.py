"""Decode a data set once and keep its arrays, as an entry of a cache folder (`bench.data.entry`)."""

import os
from collections.abc import Callable
from pathlib import Path

from bench.data.arrays import Dataset, Decoded
from bench.data.entry import FULL, Entry, Listing
from bench.data.locks import locked
from bench.data.partial import NoSpace, build_arrays
from bench.data.source import DatasetSpec, Progress, Source
from bench.errors import DataError


def cache_folders(root: Path | None) -> list[Path]:
    """Where entries may be: the data folder's .bench, then $BENCH_CACHE or ~/.cache/bench."""
    fallback = os.environ.get("BENCH_CACHE") or os.environ.get("XDG_CACHE_HOME", "~/.cache") + "/bench"
    folders = [Path(fallback).expanduser()]
    if root is not None and root.is_dir():
        folders.insert(0, root / ".bench")
    return folders


def prepared(
    spec: DatasetSpec,
    source: Source,
    root: Path | None,
    skip_corrupt: bool = False,
    min_side: int = 8,
    progress: Progress | None = None,
    waiting: Callable[[], None] = lambda: None,
) -> Dataset:
    """The data set's arrays, memory-mapped from an entry that is there or made now.

    Args:
        spec: its row.
        source: what its reader found.
        root: the data folder.
        skip_corrupt: drop files that cannot be decoded instead of refusing the data set.
        min_side: refuse images whose shorter side has fewer pixels.
        progress: called with (files done, files in all) while decoding.
        waiting: called where another process prepares them, before this one waits for it.

    Raises:
        DataError: the source is broken, an image is too small, no space is left, or no folder can be written.
    """
    listing = Listing.of(source.list_files())
    unwritable = []
    folders = cache_folders(root)
    for folder in folders:
        entry = Entry(folder, spec, source, listing, skip_corrupt)
        found = entry.open()
        if found is not None:
            return _accept(found, spec, min_side)
    for folder in folders:
        entry = Entry(folder, spec, source, listing, skip_corrupt)
        try:
            with locked(folder, entry.decoding, waiting) as alone:
                found = entry.open()  # another process may have finished it meanwhile
                if found is None:
                    entry.write(
                        lambda place: _read(spec, source, skip_corrupt, min_side, progress, place),
                        alone=alone,
                    )
                    found = entry.open()
                    if found is None:
                        raise DataError(f"{entry.path} was written but cannot be read back")
                return _accept(found, spec, min_side)
        except OSError as error:
            if error.errno in FULL:
                raise _no_space(folder, spec.name, error) from error
            unwritable.append(f"{folder} ({error.strerror or error})")
    if source.light:
        return _read(spec, source, skip_corrupt, min_side, progress).dataset(spec.name, spec.flip)
    raise DataError(
        f"nowhere to keep the arrays of {spec.name}: cannot write to"
        f" {', '.join(unwritable)}; set BENCH_CACHE to a folder that can be written"
    )


def _read(
    spec: DatasetSpec,
    source: Source,
    skip_corrupt: bool,
    min_side: int,
    progress: Progress | None,
    place: Path | None = None,
) -> Decoded:
    """Decode a data set: image files into a folder, if there is one, anything else into memory."""
    try:
        layout = source.layout() if source.layout is not None and place is not None else None
        decoded = source.read(skip_corrupt, progress) if layout is None else None
    except OSError as error:  # not to be taken for a cache folder that cannot be written
        raise DataError(f"{spec.name}: cannot read {error.filename}: {error.strerror}") from error
    if decoded is None:
        assert layout is not None
        assert place is not None
        decoded = build_arrays(place, spec.name, layout, spec.image_size, skip_corrupt, progress)
    _refuse_small(spec.name, decoded, min_side)
    return decoded


def _accept(found: tuple[Decoded, str], spec: DatasetSpec, min_side: int) -> Dataset:
    decoded, sha256 = found
    _refuse_small(spec.name, decoded, min_side)
    return decoded.dataset(spec.name, spec.flip, sha256)


def _refuse_small(name: str, decoded: Decoded, min_side: int) -> None:
    if decoded.smallest is not None and decoded.smallest < min_side:
        raise DataError(
            f"{name}: {decoded.smallest_name} has only {decoded.smallest} pixels on its shorter side;"
            f" the backbone's stride needs {min_side}"
        )


def _no_space(folder: Path, name: str, error: OSError) -> DataError:
    needed = ""
    if isinstance(error, NoSpace):
        needed = f" ({error.wanted / 1e6:,.1f} MB are needed, {error.free / 1e6:,.1f} MB are free)"
    return DataError(
        f"no space left in {folder} for the arrays of {name}{needed}: free some, or clear {folder}"
    )
