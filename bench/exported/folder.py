"""The folder of an exported backbone: what is in it, and when it may be written or replaced. No torch."""

import contextlib
import json
import math
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import RecordError, UsageError
from bench.files import flush_folder, read_json, temporary

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FILES = frozenset({WEIGHTS, CONFIG, CARD})
# In config.json, what of the weights timm has no word for; timm leaves it alone.
KEY = "bench"


def check_target(folder: Path, force: bool = False) -> None:
    """Refuse a folder that is not ours to write.

    Raises:
        UsageError: it holds something, and `force` is not set or it is no exported backbone; or it cannot be written.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file: --to names a folder")
    held = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if held and not force:
        raise UsageError(
            f"{folder} is not empty ({held[0]}): choose another, or --force replaces an exported backbone"
        )
    if foreign := [name for name in held if name not in FILES]:
        raise UsageError(
            f"{folder} holds {foreign[0]}, which is no part of an exported backbone: choose another folder"
        )
    parent = folder if folder.exists() and _in_place(folder) else _first_there(folder.resolve().parent)
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise UsageError(f"{folder} cannot be written: choose another with --to")


def _first_there(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


def _in_place(folder: Path) -> bool:
    """Whether a folder stays, and files are moved into it: nothing is lost, or a shell stands in it."""
    return not any(folder.iterdir()) or Path.cwd().is_relative_to(folder.resolve())


@contextlib.contextmanager
def written_whole(folder: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `folder`, and of what was there, when the block ends well.

    A link is followed. A folder that was empty stays the same one, and its files appear in it, the config last.

    Raises:
        UsageError: the file system refuses.
    """
    folder = folder.resolve()
    place, old = temporary(folder), temporary(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        stays = folder.exists() and _in_place(folder)
        if stays:
            place = temporary(folder / "new")
        place.mkdir()
        yield place
        flush_folder(place)
        if stays:
            for name in (WEIGHTS, CARD, CONFIG):
                (place / name).replace(folder / name)
            flush_folder(folder)
            return
        if folder.exists():
            folder.rename(old)
        place.rename(folder)
        flush_folder(folder.parent)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(old, ignore_errors=True)


@dataclass(frozen=True)
class Described:
    """A folder that timm can open, as its `config.json` describes it.

    Attributes:
        path: of the folder.
        architecture: timm's name of the network.
        model_args: its arguments.
        mean: of the input, one a channel, of values in [0, 1].
        std: likewise.
        own: what `bench export` adds of a backbone that it wrote; {} of a folder from elsewhere.
    """

    path: Path
    architecture: str
    model_args: dict[str, Any]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    own: dict[str, Any]

    @property
    def weights(self) -> Path:
        """The file of weights."""
        return self.path / WEIGHTS


def read_folder(folder: Path) -> Described:
    """What a folder with a `config.json` of timm's says of itself.

    Raises:
        UsageError: it has none that can be read or that timm could use, or no `model.safetensors` beside it.
    """
    try:
        row = read_json(folder / CONFIG)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} has no {CONFIG}: `bench export RUN --to DIR` writes such a folder"
        ) from None
    except RecordError as error:
        raise UsageError(str(error)) from None
    # timm's older folders have all in one object.
    inner = row.get("pretrained_cfg", row)
    inner, own = (value if isinstance(value, dict) else {} for value in (inner, row.get(KEY)))
    if not isinstance(row.get("architecture"), str):
        raise UsageError(f"{folder / CONFIG} names no architecture, so it is none of timm's")
    if not (folder / WEIGHTS).is_file():
        raise UsageError(f"{folder} has no {WEIGHTS}")
    args = row.get("model_args") or {}
    if not isinstance(args, dict):
        raise UsageError(f"{folder / CONFIG}: model_args is {args!r}, not an object")
    mean, std = (_per_channel(folder / CONFIG, key, inner.get(key)) for key in ("mean", "std"))
    return Described(folder, row["architecture"], args, mean, std, own)


def _per_channel(path: Path, key: str, value: Any) -> tuple[float, ...] | None:
    if value is None:
        return None
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 3 or not all(type(v) in (int, float) and math.isfinite(v) for v in numbers):
        raise UsageError(f"{path}: {key} is {value!r}, not three numbers, one a channel")
    return tuple(map(float, numbers))


def as_text(config: dict[str, Any]) -> str:
    """`config.json` as it is written."""
    return json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
