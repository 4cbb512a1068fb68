"""Which entries of prepared arrays a data set has, told from their fingerprint.json alone.

Whether an entry is still that of its source takes a look at every source file, which `prepare` does; here
nothing is opened but small JSON, so that a listing answers at once for a tree of millions of files too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data.entry import JSON, SCHEMA
from bench.data.prepare import cache_folders
from bench.data.source import DatasetSpec, Source


@dataclass(frozen=True)
class Prepared:
    """An entry.

    Attributes:
        path: its folder.
        about: what its fingerprint.json says.
    """

    path: Path
    about: dict[str, Any]

    @property
    def num_bytes(self) -> int:
        """Of its arrays on disk."""
        return sum(self.about["bytes"].values())


def entries(spec: DatasetSpec, source: Source, root: Path | None) -> list[Prepared]:
    """The entries of this version of a data set from this place, the one used last first.

    Args:
        spec: its row.
        source: what its reader found; nothing of it is read.
        root: the data folder.
    """
    kind, mine = spec.name.partition(":")[0], json.loads(json.dumps(source.settings))
    found = []
    for folder in cache_folders(root):
        for path in folder.glob(f"{kind}-*/{JSON}"):
            try:
                about = json.loads(path.read_text())
                settings, place, used = about["settings"], about["source"], path.stat().st_mtime
                whole = all((path.parent / n).stat().st_size == size for n, size in about["bytes"].items())
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue
            same = settings[:4] == [SCHEMA, kind, spec.version, spec.image_size] and settings[5:] == mine
            if whole and same and place == _place(source, folder):
                found.append((used, Prepared(path.parent, about)))
    return [entry for _, entry in sorted(found, key=lambda pair: pair[0], reverse=True)]


def _place(source: Source, folder: Path) -> str:
    """Where the source lies, as an entry in `folder` has written it down: below the data folder if it can be."""
    where = source.where
    if where is None:
        return ""
    return str(where.relative_to(folder.parent) if where.is_relative_to(folder.parent) else where)
