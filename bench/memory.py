"""The process's memory: how much more there is, and whether what a step gives back stays for the next."""

import contextlib
import ctypes
import os
from pathlib import Path

# glibc's malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_MOST = 2**31 - 1


def keep_freed_memory() -> bool:
    """Have glibc keep what is freed; for the whole process, from now on.

    By default it maps large tensors afresh each time and gives the heap's end back: thousands of page faults a step.
    What a process holds at most stays the same.

    Returns:
        Whether this C library can be told so.
    """
    return _set(1 << 30, _MOST)


def release_freed_memory() -> bool:
    """Have glibc give freed memory back as it comes to do by itself; for comparisons."""
    return _set(32 << 20, 64 << 20)


def _set(map_from: int, trim_from: int) -> bool:
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, map_from)) and bool(mallopt(_M_TRIM_THRESHOLD, trim_from))


def available_memory() -> int:
    """Bytes that this process can still have without swapping, by the kernel and by its control group."""
    found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))))
    with contextlib.suppress(OSError, StopIteration, ValueError):
        group = Path("/sys/fs/cgroup")
        most, held = (int((group / name).read_text()) for name in ("memory.max", "memory.current"))
        # What is held counts the page cache, which gives way.
        cached = next(
            int(line.split()[1])
            for line in (group / "memory.stat").read_text().splitlines()
            if line.startswith("file ")
        )
        found.append(max(0, most - held + cached))
    return min(found)
