"""Memory that C works in, a thread's own. No torch."""

import contextlib
import ctypes
import mmap
import threading

# Bytes of working memory that a thread keeps for its next call.
KEPT = 256 << 20
_PAGE = 2 << 20


class WorkingMemory(threading.local):
    """A thread's working memory, which grows as it is asked for and stays: fresh pages cost as much as a product."""

    def __init__(self) -> None:
        self.held, self.size = ctypes.c_char(), 0

    def of(self, size: int) -> tuple[int, object]:
        """The address of so many bytes, at a large page's beginning, and what must be held until they were used."""
        held = self.held
        if size > self.size:
            fresh = mmap.mmap(-1, size + _PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                # Panels are written in many places at once. Not every kernel has such pages.
                with contextlib.suppress(OSError):
                    fresh.madvise(mmap.MADV_HUGEPAGE)
            held = ctypes.c_char.from_buffer(fresh)
            if size <= KEPT:
                self.held, self.size = held, size
        return -(-ctypes.addressof(held) // _PAGE) * _PAGE, held


MEMORY = WorkingMemory()
