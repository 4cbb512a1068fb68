"""Names of data sets that carry a path: `folder:PATH`, `imagenet:PATH`, each with `@SIZE` behind it or not."""

import os
from pathlib import Path
from typing import NamedTuple

FOLDER = "folder"


class Named(NamedTuple):
    """A name taken apart: "imagenet:~/few@64" is ("imagenet", "~/few", 64); without a path, all is kind."""

    kind: str
    path: str | None
    size: int | None


def parse(name: str) -> Named:
    """Take a name without a fraction apart; SIZE is None where none is given."""
    kind, colon, path = name.partition(":")
    if not colon:
        return Named(name, None, None)
    head, at, tail = path.rpartition("@")
    if at and tail.isascii() and tail.isdigit():
        return Named(kind, head, int(tail))
    return Named(kind, path, None)


def known_name(name: str, where: Path | None = None) -> str:
    """The name by which a run's identity knows a data set: a path is cut down to its last part.

    Args:
        name: as it was typed, without a fraction.
        where: the folder that was found, where one was looked for.
    """
    kind, path, _ = parse(name)
    return name if path is None else f"{kind}:{(where or Path(path)).name}"


def absolute_source(name: str) -> str:
    """A name that means the same from every folder: its path made absolute."""
    kind, path, _ = parse(name)
    if path is None:
        return name
    return f"{kind}:" + os.path.abspath(os.path.expanduser(name.removeprefix(f"{kind}:")))  # noqa: PTH100, PTH111


def located_name(name: str, root: Path | None) -> str:
    """A name whose path is that of the folder that was found; as it was typed where there is none."""
    kind, path, size = parse(name)
    where = None if path is None else resolve(path, root)
    return name if where is None else f"{kind}:{where}" + (f"@{size}" if size is not None else "")


def resolve(path: str, root: Path | None) -> Path | None:
    """The folder meant by a path that is absolute, or relative to the data folder or the current one."""
    given = Path(path).expanduser()
    candidates = [given] if given.is_absolute() else [root / given, given] if root is not None else [given]
    return next((candidate.resolve() for candidate in candidates if candidate.is_dir()), None)
