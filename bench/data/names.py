"""Names of data sets that carry a path: `folder:PATH`, `imagenet:PATH`, each with `@SIZE` behind it or not."""

import os
from pathlib import Path
from typing import NamedTuple

FOLDER = "folder"
TIMM = "timm"
# Of timm's, by the first part of `timm:READER/NAME`; what begins with none of these is a path.
READERS = ("torch", "hfds", "hfids", "tfds", "wds")


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


def reader_of(path: str) -> tuple[str, str]:
    """READER and NAME of `timm:READER/NAME`; "" and the whole of a path."""
    reader, slash, rest = path.partition("/")
    return (reader.lower(), rest) if slash and reader.lower() in READERS else ("", path)


def _place(name: str) -> tuple[str, str | None]:
    """A name cut before its path, and the path, `@SIZE` still behind it; None where it has no path."""
    kind, colon, path = name.partition(":")
    if not colon:
        return name, None
    reader, rest = reader_of(path) if kind == TIMM else ("", path)
    if reader and reader != "wds" and not rest.startswith(("/", "~", ".")):
        return name, None
    return f"{kind}:{reader}/" if reader else f"{kind}:", rest


def known_name(name: str, where: Path | None = None) -> str:
    """The name by which a run's identity knows a data set: a path is cut down to its last part.

    Args:
        name: as it was typed, without a fraction.
        where: the folder that was found, where one was looked for.
    """
    head, path = _place(name)
    if path is None:
        kind, of, _ = parse(name)
        return name if of is None else f"{kind}:{of}"
    size = parse(name).size
    whole = path if size is None else path.removesuffix(f"@{size}")
    return head + (where or Path(whole)).name


def absolute_source(name: str) -> str:
    """A name that means the same from every folder: its path made absolute."""
    head, path = _place(name)
    return name if path is None else head + os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111


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
