"""Tells the kernel which rows of a mapped file will be read, so that a disk reads many at once.

Without it every row that is not in the page cache is a read of its own, and the next begins when it has ended.
"""

import contextlib
import mmap
import os
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from torch import Tensor

from bench.data.shuffling import Reach
from bench.memory import available_memory

ROW_BY_ROW = Reach(1, 1024)


class ReadAhead:
    """Advice on the rows of an array, where it is mapped from a file that the page cache may not hold.

    Args:
        images: [n, ...], any array; only those mapped from a file are advised on.
        reach: how the order reads it; None is row by row.
        always: also where the cache would hold all of it.
    """

    def __init__(self, images: Any, reach: Reach | None = None, always: bool = False) -> None:
        self.reach = reach or ROW_BY_ROW
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
        self._count, self._row = len(images), images.nbytes // len(images)
        self._offset = root.offset + start

    @property
    def active(self) -> bool:
        """Whether anything is advised on."""
        return self._file is not None

    def over(self, parts: Iterable[Tensor]) -> Iterator[Tensor]:
        """The same indices, each after those to come within reach were advised on.

        A window of blocks is not asked for all at once: what is asked for with a batch is at most four times what a
        batch reads on average, which has all of a window asked for in the time of the one before it.
        """
        if self._file is None:
            yield from parts
            return
        waiting: deque[Tensor] = deque()
        blocks: deque[int] = deque()
        # In the order in which they were wanted; one of the last two windows is in memory still.
        recent: dict[int, None] = {}
        held = 0
        for part in parts:
            waiting.append(part)
            held += len(part)
            for block in np.unique(part.numpy() // self.reach.block).tolist():
                if block not in recent:
                    blocks.append(block)
                recent.pop(block, None)
                recent[block] = None
            while len(recent) * self.reach.block > 2 * self.reach.rows:
                del recent[next(iter(recent))]
            self._advise(blocks, max(1, 4 * len(part) // self.reach.block))
            if held > self.reach.rows:
                held -= len(waiting[0])
                yield waiting.popleft()
        while waiting:
            self._advise(blocks, max(1, 4 * len(waiting[0]) // self.reach.block))
            yield waiting.popleft()

    def _advise(self, blocks: deque[int], most: int) -> None:
        assert self._file is not None
        for _ in range(min(most, len(blocks))):
            first = blocks.popleft() * self.reach.block
            size = min(self.reach.block, self._count - first) * self._row
            with contextlib.suppress(OSError):
                begin = self._offset + first * self._row
                os.posix_fadvise(self._file, begin, size, os.POSIX_FADV_WILLNEED)
