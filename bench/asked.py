"""What was ever asked for: results/asked/<hash>.json, one file a distinct plan. No torch.

So `bench status` knows of cells that nobody has begun, and `bench retry` can run any cell again.

A plan of thousands of cells differs in seeds and little else: what its cells share is written once. The file's
name is the hash of its content, which thereby vouches for every id in it.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.broken import warn
from bench.data.names import absolute_source
from bench.errors import RecordError
from bench.files import clear_left_behind, plain, set_aside, write_bytes
from bench.plan import Cell, Plan, Selection
from bench.records import Once

FOLDER = "asked"
SCHEMA = 1
# What differs from cell to cell; the rest of a configuration is shared.
_OWN = ("seed", "pretrain", "pretrain_id")


@dataclass(frozen=True)
class Asked:
    """A cell that somebody asked for, and how.

    Attributes:
        cell: with its whole configuration.
        pretrain_id: of the pretraining that the cell needs; None for a pretraining.
        root: folder of the data sets, absolute.
        skip_corrupt: leave out images that cannot be decoded.
        selection: the `bench.plan.Selection` that it was part of, as JSON; of a plan of several, the first, with
            which it shares preset and protocol.
        tables: tables of studies that it belongs to, as "study/table", whoever asked for them.
        flags: of `bench run --table` by which it was asked for; () where `selection` tells them.
        how: typed flags that are part of no cell, such as {"precision": "bf16"}.
    """

    cell: Cell
    pretrain_id: str | None
    root: str | None
    skip_corrupt: bool
    selection: Mapping[str, Any]
    tables: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    how: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Tables:
    """What of a plan was asked for as tables of a study.

    Attributes:
        cells: "study/table" -> ids of its cells.
        flags: of the command line, such as ("--table", "3", "-d", "digits").
    """

    cells: Mapping[str, Collection[str]]
    flags: tuple[str, ...]


def asked_dir(results: Path) -> Path:
    """Where the plans are kept."""
    return results / FOLDER


def record(
    results: Path,
    plan: Plan,
    selection: Selection | Sequence[Selection],
    root: Path | None,
    tables: Tables | None = None,
    how: Mapping[str, Any] | None = None,
) -> Path:
    """Write down what is asked for; the same again writes nothing, and is the newest again.

    Args:
        results: the results folder.
        plan: the cells of `selection`.
        selection: what was typed; several are those of one plan, alike in preset, protocol and skip_corrupt.
        root: folder of the data sets.
        tables: what they are of, where tables were asked for.
        how: typed flags that are part of no cell.

    Returns:
        The file.

    Raises:
        OSError: the folder cannot be written.
    """
    selections = (selection,) if isinstance(selection, Selection) else tuple(selection)
    row = _pack(plan, selections[0], root)
    if len(selections) > 1:
        row["selections"] = [plain(dataclasses.asdict(one)) for one in selections]
    if tables is not None:
        place = {cell.id: number for number, cell in enumerate(plan.cells)}
        row["tables"] = {name: sorted(place[id] for id in set(ids)) for name, ids in tables.cells.items()}
        row["flags"] = list(tables.flags)
    if how:
        row["how"] = dict(how)
    text = json.dumps(row, separators=(",", ":"), allow_nan=False)
    path = asked_dir(results) / f"{_digest(text.encode())}.json"
    try:
        if _digest(path.read_bytes()) == path.stem:
            with contextlib.suppress(OSError):
                # Of all that was asked for it is now the newest.
                os.utime(path)
            return path
        warn(f"{path} was broken: set aside as {set_aside(path).name} and written again")
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
    clear_left_behind(path.parent, "*")
    write_bytes(path, text.encode())
    return path


def load(results: Path, on_broken: Callable[[str], None] | None = None) -> dict[str, Asked]:
    """Every cell that was asked for, by id, in the order of the files; one that is asked for again is the newest.

    How it is run (its folder of data sets, say) is what was asked for last.

    Args:
        results: the results folder.
        on_broken: called with a line for every file that cannot be read; the others are read all the same.
            None warns of each once.
    """
    on_broken = on_broken or Once()
    found: dict[str, Asked] = {}
    for path in _files(results, on_broken):
        try:
            for id, one in _read(path).items():
                if id in found and (earlier := found[id].tables):
                    one = replace(one, tables=tuple(dict.fromkeys(earlier + one.tables)))
                found[id] = one
        except FileNotFoundError:
            continue
        except RecordError as error:
            on_broken(str(error))
    return found


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()[:16]


def _pack(plan: Plan, selection: Selection, root: Path | None) -> dict[str, Any]:
    shapes: dict[str, int] = {}
    sources: dict[str, int] = {}
    rows: list[list[Any]] = []
    for group in plan.groups:
        first = len(rows)
        for cell in group.cells:
            # None keeps the place, so that a configuration is read with its keys in their order.
            shape = json.dumps({k: None if k in _OWN else v for k, v in cell.config.items()}, allow_nan=False)
            number = shapes.setdefault(shape, len(shapes))
            source = sources.setdefault(absolute_source(cell.source), len(sources))
            row = [cell.id, number, source, cell.config["seed"]]
            rows.append(row if cell is group.pretrain else [*row, first])
    return {
        "schema": SCHEMA,
        "root": None if root is None else str(root.absolute()),
        "selection": plain(dataclasses.asdict(selection)),
        "sources": list(sources),
        "shapes": [json.loads(shape) for shape in shapes],
        "cells": rows,
    }


def _files(results: Path, on_broken: Callable[[str], None]) -> list[Path]:
    """The files, the oldest first, by the one clock that the file system has."""
    try:
        entries = [e for e in os.scandir(asked_dir(results)) if e.name.endswith(".json") and e.name[0] != "."]
        entries.sort(key=lambda entry: (entry.stat().st_mtime_ns, entry.name))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        on_broken(f"{asked_dir(results)} cannot be read: {error.strerror or error}")
        return []
    return [Path(entry.path) for entry in entries]


def _read(path: Path) -> dict[str, Asked]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise RecordError(f"{path} cannot be read: {error.strerror or error}") from None
    if _digest(text) != path.stem:
        raise RecordError(f"{path} is broken: its content is not what its name vouches for")
    try:
        row = json.loads(text)
        if row["schema"] != SCHEMA:
            raise RecordError(f"{path} was written by another version of bench")
        return _unpack(row)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise RecordError(f"{path} cannot be read: {type(error).__name__} {error}") from None


def _unpack(row: dict[str, Any]) -> dict[str, Asked]:
    shapes, sources, selection = row["shapes"], row["sources"], row["selection"]
    flags, how = tuple(row.get("flags", ())), row.get("how", {})
    cells: list[Cell] = []
    found: dict[str, Asked] = {}
    for id, shape, source, seed, *first in row["cells"]:
        config = {**shapes[shape], "seed": seed}
        pretrain = cells[first[0]] if first else None
        if pretrain is not None:
            config |= {"pretrain": pretrain.config, "pretrain_id": pretrain.id}
        cell = Cell(config, sources[source])
        # The file's name vouches for the id: hashing 10,000 configurations again would take a second.
        cell.__dict__["id"] = id
        cells.append(cell)
        needs = None if pretrain is None else pretrain.id
        found[id] = Asked(cell, needs, row["root"], selection["skip_corrupt"], selection, (), flags, how)
    for name, places in row.get("tables", {}).items():
        for place in places:
            id = cells[place].id
            found[id] = replace(found[id], tables=(*found[id].tables, name))
    return found
