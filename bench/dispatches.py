"""What was handed to a scheduler: results/slurm/<dispatch id>/dispatch.json, one folder a `bench run --slurm`.

dispatch.json is written before each sbatch (the pack's job is null) and after it. A submission whose answer was
lost in between is found in squeue by its name, which only that array has. No torch, no submitit.
"""

import os
import secrets
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.errors import RecordError
from bench.files import read_json, write_json

FOLDER, FILE, PACKS, CANCELLED, SUBMITIT = "slurm", "dispatch.json", "packs", "cancelled", "submitit"
SCHEMA = 1


@dataclass
class Pack:
    """What one job has to do.

    Attributes:
        number: of its file packs/NNNN.json.
        resources: class of its resources: "pretrain", "probe", ...
        cells: ids that it computes, in this order.
        needs: ids of pretrainings that another job makes.
        seconds: predicted.
        job: "1200_5" or "1200"; None while its submission is not known to have worked.
        name: of its array in SLURM; the packs of one name are its tasks, in order. "" before it is submitted.
        after: ids of jobs that it waits for.
    """

    number: int
    resources: str
    cells: tuple[str, ...]
    needs: tuple[str, ...] = ()
    seconds: float = 0.0
    job: str | None = None
    name: str = ""
    after: tuple[str, ...] = ()

    @property
    def array(self) -> str | None:
        """Id of its array, which is that of the job where it is alone."""
        return self.job and self.job.partition("_")[0]


@dataclass
class Dispatch:
    """One submission: where it came from, how, and its packs.

    Attributes:
        id: name of its folder; sorts by time.
        dir: its folder.
        created: time in UTC, ISO 8601.
        argv: the command line.
        host: where it was typed.
        user: by whom.
        cluster: SLURM's name of the cluster.
        profile: what the profile came to, as JSON.
        root: folder of the data sets.
        threads: of a cell, as typed; None takes those of each class of resources.
        code: folder of the source that its jobs run.
        packs: by number.
        submitter: the process that is submitting it, a `bench.claims.Owner` as JSON; None when it has ended.
    """

    id: str
    dir: Path
    created: str
    argv: list[str]
    host: str
    user: str
    cluster: str
    profile: dict[str, Any]
    root: str | None
    threads: int | None
    code: str
    packs: list[Pack] = field(default_factory=list)
    submitter: dict[str, Any] | None = None

    @property
    def submitit_dir(self) -> Path:
        """Where submitit keeps its files and the jobs write out and err."""
        return self.dir / SUBMITIT

    def log_paths(self, pack: Pack) -> list[Path]:
        """Where the job of a pack writes its output and its errors; [] while it has no job."""
        if pack.job is None:
            return []
        return [self.submitit_dir / f"{pack.job}_0_log.{kind}" for kind in ("out", "err")]

    def pack_path(self, pack: Pack) -> Path:
        """What the job of a pack has to do, as JSON."""
        return self.dir / PACKS / f"{pack.number:04d}.json"

    def cancelled_path(self, cell_id: str) -> Path:
        """The mark that lets a job leave a cell out."""
        return self.dir / CANCELLED / cell_id

    def array_packs(self, name: str) -> list[Pack]:
        """The packs of an array, in the order of its task indices."""
        return [pack for pack in self.packs if pack.name == name]

    def write(self) -> None:
        """Write dispatch.json whole."""
        row = {"schema": SCHEMA, **{k: v for k, v in vars(self).items() if k not in ("dir", "packs")}}
        write_json(self.dir / FILE, {**row, "packs": [asdict(pack) for pack in self.packs]})


def dispatches_dir(results: Path) -> Path:
    """The folder of all dispatches."""
    return results / FOLDER


def _names(parent: Path) -> list[str]:
    """Ids of dispatches; each begins with its date, and the snapshots of the source lie beside them."""
    return sorted(entry.name for entry in os.scandir(parent) if entry.name[:1].isdigit())


def _after(name: str) -> str:
    """The stamp one microsecond later than that of an id."""
    try:
        stamp = datetime.strptime(name.rpartition("-")[0], "%Y%m%d-%H%M%S-%f") + timedelta(microseconds=1)
    except ValueError:
        return ""
    return f"{stamp:%Y%m%d-%H%M%S-%f}"


def make_dispatch(results: Path, **facts: Any) -> Dispatch:
    """A new dispatch with a folder of its own, not yet written.

    Args:
        results: the results folder.
        facts: the other fields of `Dispatch`.

    Raises:
        OSError: the folder cannot be made.
    """
    parent = dispatches_dir(results)
    parent.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)
    newest = max(_names(parent), default="")
    # Names sort by time, and the newest counts: another machine's clock, which may be ahead, must not win.
    stamp = max(f"{now:%Y%m%d-%H%M%S-%f}", _after(newest))
    # Two people may submit at once, and two results folders on one cluster share squeue's names.
    name = f"{stamp}-{secrets.token_hex(2)}"
    (parent / name).mkdir()
    (parent / name / PACKS).mkdir()
    return Dispatch(name, parent / name, now.isoformat(timespec="seconds"), **facts)


def _pack(row: dict[str, Any]) -> Pack:
    known = {k: row[k] for k in Pack.__dataclass_fields__ if k in row}
    for key in ("cells", "needs", "after"):
        known[key] = tuple(known.get(key, ()))
    return Pack(**known)


def load_dispatch(folder: Path) -> Dispatch:
    """Read one dispatch.

    Raises:
        FileNotFoundError: there is no dispatch.json.
        RecordError: it is broken; the text names the file.
    """
    row = read_json(folder / FILE)
    try:
        fields = {k: row[k] for k in Dispatch.__dataclass_fields__ if k not in ("dir", "packs", "id")}
        packs = [_pack(pack) for pack in row["packs"]]
        return Dispatch(id=folder.name, dir=folder, packs=packs, **fields)
    except (KeyError, TypeError, AttributeError) as error:
        raise RecordError(f"{folder / FILE} cannot be read: {type(error).__name__} {error}") from None


def load_dispatches(results: Path, on_broken: Callable[[str], None] | None = None) -> list[Dispatch]:
    """All dispatches of a results folder, the oldest first.

    Args:
        results: the results folder; one without dispatches is fine.
        on_broken: called with a line for every one that cannot be read; the others are read all the same.
            None warns of each once.
    """
    from bench.records import Once

    on_broken = on_broken or Once()
    found = []
    try:
        names = _names(dispatches_dir(results))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        on_broken(f"{dispatches_dir(results)} cannot be read: {error.strerror or error}")
        return []
    for name in names:
        try:
            found.append(load_dispatch(dispatches_dir(results) / name))
        except FileNotFoundError:
            # Killed before anything was handed over.
            continue
        except RecordError as error:
            on_broken(str(error))
    return found


def jobs_of(dispatches: Iterable[Dispatch]) -> dict[str, tuple[Dispatch, Pack]]:
    """The newest pack of each cell that some pack computes, by cell id.

    Args:
        dispatches: the oldest first.
    """
    return {
        cell: (dispatch, pack) for dispatch in dispatches for pack in dispatch.packs for cell in pack.cells
    }
