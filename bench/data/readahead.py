"""Tells the kernel which rows of a mapped file will be read, so that a disk reads many at once."""

import contextlib
import mmap
import os
import weakref
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.memory import available_memory


class ReadAhead:
    """Advice on the rows of an array, where it is mapped from a file that the page cache may not hold.

    Without it every row that is not in the cache is a read of its own, and the next begins when it has ended.

    Args:
        images: [n, ...], any array; only those mapped from a file are advised on.
        always: also where the cache would hold all of it.
    """

    def __init__(self, images: Any, always: bool = False) -> None:
        self._file: int | None = None
        if not isinstance(images, np.memmap) or not hasattr(os, "posix_fadvise") or not len(images):
            return
        if not always and images.nbytes < available_memory() // 2:
            return
        root: Any = images
        while isinstance(root.base, np.memmap):
            root = root.base
        # A copy of a mapped array is called a memmap too, and has no file beneath it.
        if not isinstance(root.base, mmap.mmap) or root.filename is None or not images.flags.c_contiguous:
            return
        with contextlib.suppress(OSError):
            self._file = os.open(root.filename, os.O_RDONLY)
            weakref.finalize(self, os.close, self._file)
        start = images.__array_interface__["data"][0] - root.__array_interface__["data"][0]
        self._row, self._offset = images.nbytes // len(images), root.offset + start

    @property
    def active(self) -> bool:
        """Whether anything is advised on."""
        return self._file is not None

    def advise(self, index: NDArray[np.integer]) -> None:
        """These rows will be read soon."""
        if self._file is None:
            return
        # Neighbours are one read.
        rows = np.unique(index)
        starts = np.flatnonzero(np.diff(rows, prepend=rows[:1] - 2) > 1)
        ends = np.append(starts[1:], len(rows))
        for first, last in zip(rows[starts], rows[ends - 1], strict=True):
            begin, size = self._offset + int(first) * self._row, int(last - first + 1) * self._row
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._file, begin, size, os.POSIX_FADV_WILLNEED)
