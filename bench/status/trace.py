"""What the folder of one cell says of it, read as cheaply as 10,000 of them want. Nothing is written."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import claims
from bench.broken import object_or_none
from bench.errors import RecordError
from bench.files import read_json
from bench.run_folder import CONFIG, PROGRESS, PROVENANCE, RESULT, STATUS

OnBroken = Callable[[str], None]


@dataclass(frozen=True)
class Progress:
    """How far an attempt had come when it last said so.

    Attributes:
        step: of `total`.
        total: steps of the cell.
        seconds_left: by its own pace; None while that is unknown. No clock of another machine is in it.
        images_per_second: its pace.
        values: losses and such.
        written: when, by the clock of the machine that ran it.
    """

    step: int
    total: int
    seconds_left: float | None
    images_per_second: float | None
    values: dict[str, Any]
    written: str | None

    @property
    def fraction(self) -> float:
        """Between 0 and 1."""
        return min(1.0, self.step / self.total) if self.total > 0 else 0.0


@dataclass(frozen=True)
class Trace:
    """What is in a cell's folder.

    Attributes:
        done: there is a whole result.
        owner: of the last claim, dead or alive.
        claim_broken: there is a claim that cannot be read.
        attempt: folder of the newest attempt.
        status: what that attempt says of itself; {} when it says nothing that can be read.
        progress: how far it came.
        attempts: how many there are.
    """

    done: bool = False
    owner: claims.Owner | None = None
    claim_broken: bool = False
    attempt: Path | None = None
    status: dict[str, Any] | None = None
    progress: Progress | None = None
    attempts: int = 0

    @cached_property
    def scheduler(self) -> dict[str, Any]:
        """The job that ran the newest attempt, read when it is asked for; {} when it was none."""
        if self.attempt is None:
            return {}
        try:
            found = read_json(self.attempt / PROVENANCE).get("scheduler")
        except (FileNotFoundError, RecordError):
            # Whoever shows the cell by itself names the file; here it only says that it says nothing.
            return {}
        return found if isinstance(found, dict) else {}


NOTHING = Trace()


def entries(folder: Path) -> list[str]:
    """Names in a folder.

    Raises:
        OSError: it is not there or cannot be read.
    """
    with os.scandir(folder) as found:
        return [entry.name for entry in found]


def look(folder: Path, cell_id: str, on_broken: OnBroken, whole: bool = False) -> Trace:
    """Read a cell's folder.

    Args:
        folder: of the cell; one that is not there says nothing.
        cell_id: its name.
        on_broken: called with a line for every file that cannot be read.
        whole: also look who holds a cell that is done.
    """
    try:
        names = entries(folder)
    except FileNotFoundError:
        return NOTHING
    except OSError as error:
        on_broken(f"{folder} cannot be read: {error.strerror or error}")
        return NOTHING
    done = RESULT in names and _is_whole_result(f"{folder}/{RESULT}", cell_id, on_broken)
    if done and not whole:
        return Trace(done=True)
    owner, claim_broken = None, False
    if claims.NAME in names:
        try:
            owner = claims.last(folder)
        except RecordError as error:
            on_broken(str(error))
            claim_broken = True
    numbers = _attempts(folder) if "attempts" in names and not done else []
    if not numbers:
        return Trace(done=done, owner=owner, claim_broken=claim_broken)
    attempt = folder / "attempts" / max(numbers, key=int)
    return Trace(
        owner=owner,
        claim_broken=claim_broken,
        attempt=attempt,
        status=object_or_none(attempt / STATUS, on_broken) or {},
        progress=_progress(object_or_none(attempt / PROGRESS, on_broken)),
        attempts=len(numbers),
    )


def read_config(folder: Path, cell_id: str, on_broken: OnBroken) -> dict[str, Any] | None:
    """The configuration of a cell that nobody has on record as asked for; None when it cannot be read."""
    from bench.config import config_id

    config = object_or_none(folder / CONFIG, on_broken)
    if config is not None and config_id(config) != cell_id:
        on_broken(f"{folder / CONFIG} does not belong to its folder")
        return None
    return config


def _attempts(folder: Path) -> list[str]:
    try:
        with os.scandir(folder / "attempts") as found:
            return [entry.name for entry in found if entry.name.isdecimal() and entry.is_dir()]
    except OSError:
        return []


def _is_whole_result(path: str, cell_id: str, on_broken: OnBroken) -> bool:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 (a third of the time of Path's)
            text = file.read()
    except FileNotFoundError:
        return False
    except OSError as error:
        on_broken(f"{path} cannot be read: {error.strerror or error}")
        return False
    # As our writer leaves it: neither cut short nor with a hole; parsing all of 10,000 would take seconds.
    if (
        text.endswith(b"\n}\n")
        and cell_id.encode() in text[:100]
        and b'"attempt"' in text[:200]
        and 0 not in text
    ):
        return True
    row = object_or_none(Path(path), on_broken)
    if row is not None and not (row.get("id") == cell_id and row.get("attempt")):
        on_broken(f"{path} is not a result of this cell")
        return False
    return row is not None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _progress(row: dict[str, Any] | None) -> Progress | None:
    if row is None:
        return None
    step, total, pace = (_number(row.get(key)) for key in ("step", "total", "steps_per_second"))
    if step is None or total is None:
        return None
    values = row.get("values")
    return Progress(
        step=int(step),
        total=int(total),
        seconds_left=max(0.0, total - step) / pace if pace else None,
        images_per_second=_number(row.get("images_per_second")),
        values=values if isinstance(values, dict) else {},
        written=str(row["written"]) if row.get("written") else None,
    )
