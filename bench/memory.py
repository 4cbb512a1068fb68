"""Memory that a step gives back stays with the process, so that the next step does not fault it in anew."""

import ctypes

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
