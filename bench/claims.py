"""Who works on a cell: an exclusive create that names host, boot, process and its start.

A claim is alive or dead by the process table's word, never by a file's age; what cannot be known is held.
A dead owner's claim is never deleted by a stranger, which would race: the next owner's claim is an exclusive
create under a name made of the dead one's token, so that exactly one succeeds it; the chain's last counts.
"""

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.errors import RecordError
from bench.files import publish_text

NAME = "claim.json"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"booted {psutil.boot_time():.0f}"


def _namespace() -> str:
    """The process table that our process numbers are of: containers on one host have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process started, in the kernel's own ticks; None when there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        import psutil

        try:
            return f"{psutil.Process(pid).create_time():.2f}"
        except psutil.Error:
            return None
    # A zombie has ended; its parent has only not read its exit code yet.
    return None if fields[0] in "ZX" else fields[19]


@dataclass(frozen=True)
class Owner:
    """A process, named so that it cannot be mistaken for a later one of the same number."""

    host: str
    boot_id: str
    namespace: str
    pid: int
    started: str
    token: str

    @classmethod
    def me(cls) -> "Owner":
        """This process, with a new token."""
        pid = os.getpid()
        return cls(
            socket.gethostname(), _boot_id(), _namespace(), pid, process_start(pid) or "", uuid.uuid4().hex
        )

    def alive(self) -> bool | None:
        """Whether the process runs; None when this machine cannot know."""
        if self.host != socket.gethostname():
            return None
        if self.boot_id != _boot_id():
            return False
        if self.namespace != _namespace():
            return None
        return process_start(self.pid) == self.started

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _read(path: Path) -> Owner | None:
    try:
        row: dict[str, Any] = json.loads(path.read_bytes())
        return Owner(**{k: row[k] for k in Owner.__dataclass_fields__})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise RecordError(f"{path} cannot be read; remove it if nothing runs there") from None


def _last(folder: Path) -> tuple[Path, Owner] | None:
    """The claim that counts, and its file."""
    found, path = None, folder / NAME
    while (owner := _read(path)) is not None:
        found = path, owner
        path = folder / f"{NAME}.after-{owner.token}"
    return found


def holder(folder: Path) -> Owner | None:
    """Who holds a cell now: an owner that lives or may live, else None."""
    last = _last(folder)
    return last[1] if last is not None and last[1].alive() is not False else None


class Claim:
    """A claim of this process on a cell's folder; `release` gives it back."""

    def __init__(self, folder: Path, owner: Owner, freed: Owner | None) -> None:
        self.folder = folder
        self.owner = owner
        self.freed = freed

    def held(self) -> bool:
        """Whether the claim is still ours."""
        last = _last(self.folder)
        return last is not None and last[1].token == self.owner.token

    def release(self) -> None:
        """Give the cell back."""
        last = _last(self.folder)
        if last is not None and last[1].token == self.owner.token:
            last[0].unlink(missing_ok=True)


def claim(folder: Path) -> Claim | Owner:
    """Take a cell: a `Claim`, or the `Owner` who holds it.

    Raises:
        RecordError: a claim file is broken.
        OSError: the folder cannot be written.
    """
    me = Owner.me()
    text = json.dumps(asdict(me))
    while True:
        last = _last(folder)
        if last is None:
            if publish_text(text, folder / NAME):
                return Claim(folder, me, None)
            continue
        owner = last[1]
        if owner.alive() is not False:
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
        for left in folder.glob(f"{NAME}.after-*"):
            left.unlink(missing_ok=True)
        return Claim(folder, me, owner)
