"""Processes, named so that none is mistaken for a later one of the same number."""

import os
import re
import socket
import uuid
from pathlib import Path

# What is to be known of a process that this user may not see.
HIDDEN = "hidden"


def boot_id() -> str:
    """This start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        import psutil

        return f"booted {psutil.boot_time():.0f}"


def machine_id() -> str:
    """This machine, as no other of the same name on a shared file system; "" where it has no name of its own."""
    try:
        if found := Path("/etc/machine-id").read_text().strip():
            return found
    except OSError:
        pass
    address = uuid.getnode()
    # Python invents an address where it finds none, and marks it so.
    return "" if address >> 40 & 1 else f"{address:012x}"


def namespace() -> str:
    """The process table that our process numbers are of: containers on one host have their own."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def process_start(pid: int) -> str | None:
    """When a process started, in the kernel's own ticks; None when there is no such process.

    `HIDDEN` where there is one and this user may not see more: a site may mount /proc with hidepid.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except PermissionError:
        return HIDDEN
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return HIDDEN if _exists(pid) else None
        import psutil

        try:
            return f"{psutil.Process(pid).create_time():.2f}"
        except psutil.Error:
            return None
    # A zombie has ended; its parent has only not read its exit code yet.
    return None if fields[0] in "ZX" else fields[19]


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return True


def table_mark() -> str:
    """The process table that this process is in, for a file's name: host, boot and namespace."""
    parts = (socket.gethostname(), boot_id()[:8], namespace())
    return "-".join(re.sub(r"[^A-Za-z0-9.]", "", part) for part in parts)


def process_mark() -> str:
    """This process, for a file's name."""
    return f"{table_mark()}-{os.getpid()}"


def mark_is_dead(mark: str) -> bool:
    """Whether the process that a `process_mark` names is known to have ended."""
    table, _, pid = mark.rpartition("-")
    return table == table_mark() and pid.isdigit() and process_start(int(pid)) is None
