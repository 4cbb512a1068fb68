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
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_M_TRIM_THRESHOLD, _MOST))
