"""Who works on a cell: an exclusive create that names host, boot, process and its start, and the job it runs in.

A claim is alive or dead by the word of the process table or of the scheduler, never by a file's age; what cannot
be known is held. A job that was requeued knows that its own earlier incarnation has no claim on anything.
A dead owner's claim is never deleted by a stranger, which would race: the next owner's claim is an exclusive
create under a name made of the dead one's token, so that exactly one succeeds it; the chain's last counts.
"""

import functools
import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import RecordError, Unreadable
from bench.files import cannot_read, publish_text, read_whole, set_aside
from bench.processes import HIDDEN, boot_id, machine_id, namespace, process_start

if TYPE_CHECKING:
    from bench.scheduler import Word

NAME = "claim.json"


@dataclass(frozen=True)
class Owner:
    """A process, named so that it cannot be mistaken for a later one of the same number.

    Attributes:
        host: name of its machine.
        boot_id: that machine's start.
        namespace: the process table its number is of.
        pid: its number.
        started: when, in the kernel's ticks.
        token: of this claim alone.
        cluster: of the job it runs in; "" outside.
        job: SLURM's own number of that job, an array's tasks each having theirs.
        restart: how often that job had been requeued.
        machine: which of several of the same name it is.
    """

    host: str
    boot_id: str
    namespace: str
    pid: int
    started: str
    token: str
    cluster: str = ""
    job: str = ""
    restart: int = 0
    machine: str = ""

    @classmethod
    def me(cls) -> "Owner":
        """This process, with a new token."""
        pid, job = os.getpid(), os.environ.get("SLURM_JOB_ID", "")
        return cls(
            socket.gethostname(),
            boot_id(),
            namespace(),
            pid,
            process_start(pid) or "",
            uuid.uuid4().hex,
            os.environ.get("SLURM_CLUSTER_NAME", "") if job else "",
            job,
            int(os.environ.get("SLURM_RESTART_COUNT") or 0) if job else 0,
            machine_id(),
        )

    def alive(self, word: "Word | None" = None) -> bool | None:
        """Whether the process runs; None when nobody here can know.

        Args:
            word: the scheduler's; None asks it when it must be asked.
        """
        if self.superseded():
            return False
        if self.host == socket.gethostname():
            if self.boot_id != boot_id():
                # Another start of this machine, unless it is another machine of the same name.
                if self.machine and self.machine == machine_id():
                    return False
            elif self.namespace == namespace():
                begun = process_start(self.pid)
                if begun != HIDDEN:
                    return begun == self.started
        if not self.job:
            return None
        return (word or _scheduler()).runs(self.job, self.restart, self.cluster)

    def superseded(self) -> bool:
        """Whether this process is the same job, requeued since: its node may be dead or only thought so."""
        if not self.job or self.job != os.environ.get("SLURM_JOB_ID"):
            return False
        same = self.cluster == os.environ.get("SLURM_CLUSTER_NAME", "")
        return same and self.restart < int(os.environ.get("SLURM_RESTART_COUNT") or 0)

    def former_life_of(self, other: "Owner") -> bool:
        """Whether `other` is the same job, requeued since."""
        mine, theirs = (self.cluster, self.job), (other.cluster, other.job)
        return bool(self.job) and mine == theirs and self.restart < other.restart

    def __str__(self) -> str:
        job = f"job {self.job}, " if self.job else ""
        return f"{job}process {self.pid} on {self.host}"


@functools.cache
def _scheduler() -> "Word":
    from bench.scheduler import Word

    return Word()


def _fresh_word() -> "Word":
    from bench.scheduler import Word

    return Word(max_age=0.0)


def _read(path: Path) -> Owner | None:
    try:
        row: dict[str, Any] = json.loads(read_whole(path))
        # Claims outside a scheduler may have been written before jobs were known.
        return Owner(**{f.name: row[f.name] for f in fields(Owner) if f.name in row})
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(cannot_read(path, error)) from None
    except (ValueError, KeyError, TypeError):
        raise RecordError(
            f"{path} cannot be read; `bench retry --steal` takes the cell if nothing runs there"
        ) from None


def _last(folder: Path) -> tuple[Path, Owner] | None:
    """The claim that counts, and its file."""
    found, path = None, folder / NAME
    while (owner := _read(path)) is not None:
        found = path, owner
        path = folder / f"{NAME}.after-{owner.token}"
    return found


def holder(folder: Path, word: "Word | None" = None) -> Owner | None:
    """Who holds a cell now: an owner that lives or may live, else None.

    Raises:
        RecordError: a claim file is broken.
    """
    last = _last(folder)
    return last[1] if last is not None and last[1].alive(word) is not False else None


def last(folder: Path) -> Owner | None:
    """Whose the last claim on a cell is, alive or dead; None when there is none.

    Raises:
        RecordError: a claim file is broken.
    """
    found = _last(folder)
    return None if found is None else found[1]


def left(folder: Path) -> bool:
    """Whether there is a claim at all, of anybody, alive or dead."""
    return (folder / NAME).exists()


class Claim:
    """A claim of this process on a cell's folder; `release` gives it back.

    Attributes:
        folder: of the cell.
        owner: this process.
        freed: whose claim it takes over, if it does.
        why: that one's end, for a person.
    """

    def __init__(self, folder: Path, owner: Owner, freed: Owner | None = None, why: str = "") -> None:
        self.folder = folder
        self.owner = owner
        self.freed = freed
        self.why = why

    def held(self) -> bool:
        """Whether the claim is still ours."""
        last = _last(self.folder)
        return last is not None and last[1].token == self.owner.token

    def release(self) -> None:
        """Give the cell back."""
        last = _last(self.folder)
        if last is not None and last[1].token == self.owner.token:
            last[0].unlink(missing_ok=True)


def claim(folder: Path, word: "Word | None" = None, steal: bool = False) -> Claim | Owner:
    """Take a cell: a `Claim`, or the `Owner` who holds it.

    Args:
        folder: of the cell.
        word: the scheduler's; None asks it when it must be asked.
        steal: take what nobody here can know of, and what cannot be read; never what is known to run.

    Raises:
        RecordError: a claim file is broken.
        OSError: the folder cannot be written.
    """
    me = Owner.me()
    text = json.dumps(asdict(me))
    while True:
        try:
            last = _last(folder)
        except Unreadable:
            raise
        except RecordError:
            if not steal:
                raise
            _set_broken_aside(folder)
            continue
        if last is None:
            if publish_text(text, folder / NAME):
                return Claim(folder, me)
            continue
        owner = last[1]
        alive = owner.alive(word)
        if alive is False and word is None:
            # What the scheduler said may be older than the claim: its job may have begun since.
            alive = owner.alive(_fresh_word())
        if alive or (alive is None and not steal):
            return owner
        successor = folder / f"{NAME}.after-{owner.token}"
        if not publish_text(text, successor):
            continue
        now = _last(folder)
        if now is None or now[1].token != me.token:
            # The dead claim was cleared away while we followed it.
            successor.unlink(missing_ok=True)
            continue
        # Ours is the only living claim, so nobody else may rename: the chain becomes one file again.
        successor.replace(folder / NAME)
        for left_over in folder.glob(f"{NAME}.after-*"):
            left_over.unlink(missing_ok=True)
        return Claim(folder, me, owner, "which has ended" if alive is False else "of which nothing is known")


def _set_broken_aside(folder: Path) -> None:
    for path in folder.glob(f"{NAME}*"):
        if ".broken-" in path.name:
            continue
        try:
            _read(path)
        except Unreadable:
            raise
        except RecordError:
            set_aside(path)
