"""Work done ahead of its use: a thread gathers batches in the order in which they will be asked for."""

import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

T = TypeVar("T")


class _Slot(Generic[T]):
    """A batch that was announced: gathered, failed, or in work."""

    def __init__(self, index: Tensor) -> None:
        self.index = index
        self.result: T | None = None
        self.error: BaseException | None = None
        self.ready = False


class Prefetch(Generic[T]):
    """A thread that gathers at most `depth` batches ahead.

    Args:
        gather: makes a batch of an index; called in the thread.
        parts: the indices to come, int64 on the CPU; also looked at in the thread.
        depth: batches that wait to be taken, the one in work counted.
    """

    def __init__(
        self, gather: Callable[[Tensor], T], parts: Iterable[Int[Tensor, " b"]], depth: int = 3
    ) -> None:
        self._gather, self._parts, self._depth = gather, parts, depth
        self._slots: deque[_Slot[T]] = deque()
        self._changed = threading.Condition()
        self._closed = self._ended = False
        self._error: BaseException | None = None
        # A daemon: a process that is ended by an error elsewhere does not wait for a disk.
        self._thread = threading.Thread(target=self._run, name="prefetch", daemon=True)
        self._thread.start()

    def take(self, index: Int[Tensor, " b"]) -> T | None:
        """The next batch, if it is the one of this index; None where another is next, or none.

        Raises:
            BaseException: what gathering it has raised, as it was raised.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slots or self._ended)
            if not self._slots:
                if self._error is not None:
                    raise self._error
                return None
            slot = self._slots[0]
            if not torch.equal(slot.index, index):
                return None
            self._changed.wait_for(lambda: slot.ready or self._ended)
            self._slots.popleft()
            self._changed.notify_all()
            if slot.error is not None:
                raise slot.error
            return slot.result

    def close(self) -> None:
        """End the thread; what it is gathering it gathers to its end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._slots.clear()

    def _run(self) -> None:
        try:
            for index in self._parts:
                slot: _Slot[T] = _Slot(index)
                with self._changed:
                    self._changed.wait_for(lambda: self._closed or len(self._slots) < self._depth)
                    if self._closed:
                        return
                    self._slots.append(slot)
                    self._changed.notify_all()
                try:
                    slot.result = self._gather(index)
                except BaseException as error:  # raised where the batch is asked for
                    slot.error = error
                with self._changed:
                    slot.ready = True
                    self._changed.notify_all()
                if slot.error is not None:
                    return
        except BaseException as error:
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
