"""Batches of images that stay on the host, mapped from their file or compressed: read ahead and sent to the device.

A run computes the same bits from a split that is streamed as from one that is resident: only where the bytes of a
batch come from differs.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from bench.data.arrays import Split
from bench.data.batches import Pixels, Scale
from bench.data.prefetch import Prefetch
from bench.data.readahead import ReadAhead
from bench.data.shuffling import Reach
from bench.memory import available_memory

# Of the memory that is free, what a split may take without being asked for. On a processor it is there twice for a
# moment: as it was read, and channels-last.
SHARE = 0.4
# So little is never streamed.
SMALL = 64 << 20
# Bytes that are copied at once on their way into a batch.
PIECE = 128 << 10
# Batches read ahead, the one in work counted.
DEPTH = 3


class _Gathered(NamedTuple):
    images: Tensor
    labels: Tensor
    event: "torch.cuda.Event | None"


class StreamedPixels(Pixels):
    """Images and labels of a split of which only the batches in use are on the device; otherwise as `Pixels`.

    A thread reads the batches that are expected ahead of time, on a GPU into pinned memory from where they are copied
    beside the computation. What nobody expected is read when it is asked for.

    Args:
        split: uint8 images [n, 3, h, w], anything that gives rows of them by an integer array, and int64 labels [n].
        device: to which batches go.
        scale: see `Pixels`.
        dtype: of the batches.
        depth: batches that are held ahead of their use, for each of those that expect some.
    """

    def __init__(
        self,
        split: Split,
        device: torch.device | str,
        scale: Scale,
        dtype: torch.dtype = torch.float32,
        depth: int = DEPTH,
    ) -> None:
        self._prepare(split, device, scale, dtype)
        self.split, self._depth = split, depth
        self._host_labels = torch.from_numpy(np.array(split.labels, dtype=np.int64))
        self.index_device = torch.device("cpu")
        self._on_gpu = self.device.type == "cuda"
        self._copying = torch.cuda.Stream(self.device) if self._on_gpu else None
        self._lanes: dict[object, Prefetch[_Gathered]] = {}

    def expect(
        self, parts: Iterable[Int[Tensor, " b"]], of: object = None, reach: Reach | None = None
    ) -> None:
        """See `Pixels.expect`."""
        if (lane := self._lanes.pop(of, None)) is not None:
            lane.close()
        ahead = ReadAhead(self.split.images, reach)
        self._lanes[of] = Prefetch(self._gather_beside, ahead.over(parts), self._depth)

    def close(self) -> None:
        """End the threads that read ahead; batches can be asked for still."""
        while self._lanes:
            self._lanes.popitem()[1].close()

    def rows(self, index: Int[Tensor, " b"]) -> tuple[UInt8[Tensor, "b 3 h w"], Int[Tensor, " b"]]:
        """See `Pixels.rows`.

        Raises:
            DataError: an image cannot be read; as it was raised where it was read.
        """
        index = index.cpu()
        for lane in self._lanes.values():
            if (found := lane.take(index)) is not None:
                break
        else:
            found = self._gather(index)
        if found.event is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(found.event)
            for tensor in (found.images, found.labels):
                tensor.record_stream(current)
        return found.images, found.labels

    def _gather_beside(self, index: Tensor) -> _Gathered:
        """In a thread: the copy to a GPU is made on a stream of its own."""
        if self._copying is None:
            return self._gather(index)
        with torch.cuda.device(self.device), torch.cuda.stream(self._copying):
            found = self._gather(index)
            return found._replace(event=self._copying.record_event())

    def _gather(self, index: Tensor) -> _Gathered:
        number = index.numpy()
        if len(number) and not (number.min() >= 0 and number.max() < len(self)):
            raise IndexError(f"{number.min()} to {number.max()} are not all of the {len(self)} images")
        labels = self._host_labels[index]
        if not self._on_gpu:
            return _Gathered(torch.from_numpy(self._read(number)).permute(0, 3, 1, 2), labels, None)
        # Torch gives pinned memory out again only when the copies from it are done.
        pinned = torch.empty((len(number), *self.split.images.shape[1:]), dtype=torch.uint8, pin_memory=True)
        self._take(number, pinned.numpy())
        images = pinned.to(self.device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return _Gathered(images, labels.pin_memory().to(self.device, non_blocking=True), None)

    def _read(self, number: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Rows of the images, channels last, [b, h, w, 3]; NumPy keeps to one thread."""
        images = self.split.images
        last = np.empty((len(number), *images.shape[2:], 3), np.uint8)
        # An array's rows go through a piece of memory that stays in the processor's cache.
        few = max(1, PIECE // (3 * images.shape[2] * images.shape[3]))
        step = few if isinstance(images, np.ndarray) else max(1, len(number))
        piece = np.empty((min(step, len(number)), *images.shape[1:]), np.uint8)
        for begin in range(0, len(number), step):
            part = self._take(number[begin : begin + step], piece[: len(number) - begin])
            for channel in range(3):
                last[begin : begin + step, ..., channel] = part[:, channel]
        return last

    def _take(self, number: NDArray[np.int64], into: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rows as they are stored, [b, 3, h, w]."""
        images = self.split.images
        if not isinstance(images, np.ndarray):
            into[:] = images[number]
            return into
        # "clip" spares NumPy a copy that its check of the bounds would make; they were checked.
        return np.take(images, number, axis=0, out=into, mode="clip")


def open_pixels(
    split: Split,
    device: torch.device | str,
    scale: Scale,
    dtype: torch.dtype = torch.float32,
    *,
    budget: int | None = None,
    note: Callable[[str], None] = print,
) -> Pixels:
    """A split's images: resident where they fit, else streamed; compressed ones always are.

    Args:
        split: images and labels.
        device: where batches are wanted.
        scale: see `Pixels`.
        dtype: of the batches.
        budget: bytes that the images may take on the device; None is a share of what is free there.
        note: told that they are streamed.
    """
    images = split.images
    if not isinstance(images, np.ndarray):
        return StreamedPixels(split, device, scale, dtype)
    if budget is None and images.nbytes <= SMALL:
        return Pixels(split, device, scale, dtype)
    room = int(SHARE * free_memory(device)) if budget is None else budget
    if images.nbytes <= room:
        return Pixels(split, device, scale, dtype)
    note(
        f"{len(split)} images take {images.nbytes >> 20} MiB, more than the {room >> 20} MiB that they may:"
        " they are streamed"
    )
    return StreamedPixels(split, device, scale, dtype)


def free_memory(device: torch.device | str) -> int:
    """Bytes that are free on a device; on the processor, what can be had without swapping."""
    if torch.device(device).type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_memory()
