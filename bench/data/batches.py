"""From uint8 arrays kept on the device to batches: no worker process, no copy from the host in the loop.

What does not fit on the device is streamed to it, see `bench.data.streaming`; the batches are the same.
"""

from collections.abc import Iterable
from typing import Literal, TypeVar

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from bench.data.arrays import Split
from bench.data.shuffling import Reach
from bench.streams import stream

Scale = Literal["imagenet", "symmetric", "clip", "unit"]

MEAN_STD: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    # Of weights from elsewhere: those of OpenAI's CLIP, and those that were trained on [0, 1].
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "unit": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}


# Not `Self`: the tests' checker of shapes knows that inside classes alone that it has decorated itself.
PixelsT = TypeVar("PixelsT", bound="Pixels")


class Pixels:
    """Images and labels of a split, resident on a device.

    Args:
        split: uint8 images [n, 3, h, w] and int64 labels [n].
        device: where they are kept.
        scale: what the network sees: ImageNet's mean and standard deviation, [-1, 1], ...
        dtype: of the batches.
    """

    def __init__(
        self, split: Split, device: torch.device | str, scale: Scale, dtype: torch.dtype = torch.float32
    ) -> None:
        # A copy, channels-last: a batch is whole rows of it, in the layout that a network wants.
        images = torch.from_numpy(np.array(split.images)).to(device)
        self.images: UInt8[Tensor, "n 3 h w"] = images.contiguous(memory_format=torch.channels_last)
        self._prepare(split, device, scale, dtype)

    def _prepare(self, split: Split, device: torch.device | str, scale: Scale, dtype: torch.dtype) -> None:
        """All but the images."""
        self.labels: Int[Tensor, " n"] = torch.from_numpy(np.array(split.labels, dtype=np.int64)).to(device)
        mean, std = (torch.tensor(v, dtype=dtype, device=device).view(3, 1, 1) for v in MEAN_STD[scale])
        self._factor = 1 / (255 * std)
        self._offset = mean / std
        self.dtype = dtype
        self.device = torch.device(device)
        # Where an index costs nothing to look up.
        self.index_device = self.device

    def __len__(self) -> int:
        return len(self.labels)

    def __enter__(self: PixelsT) -> PixelsT:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def expect(
        self, parts: Iterable[Int[Tensor, " b"]], of: object = None, reach: Reach | None = None
    ) -> None:
        """Say which indices will be asked for next, in this order; nothing that is resident needs to know.

        Args:
            parts: one index a batch; looked at when its turn comes, in another thread.
            of: who says so; what is said again replaces what the same one said before.
            reach: how the order reads a file; None is row by row, as they come.
        """

    def close(self) -> None:
        """End what reads ahead."""

    def rows(self, index: Int[Tensor, " b"]) -> tuple[UInt8[Tensor, "b 3 h w"], Int[Tensor, " b"]]:
        """Images as they are stored, channels-last in memory, and their labels; on the device."""
        images = self.images.permute(0, 2, 3, 1).index_select(0, index).permute(0, 3, 1, 2)
        return images, self.labels[index]

    def batch(
        self, index: Int[Tensor, " b"], flip: Tensor | None = None
    ) -> tuple[Float[Tensor, "b 3 h w"], Int[Tensor, " b"]]:
        """Images on the network's scale, mirrored left to right where `flip` is true, and their labels.

        The images lie channels-last in memory, in which convolutions and pooling are faster on CPU and GPU.
        """
        images, labels = self.rows(index)
        if flip is not None:
            images = torch.where(flip.view(-1, 1, 1, 1), images.flip(-1), images)
        return self._scaled(images), labels

    def _scaled(self, images: UInt8[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """`images * factor - offset`, over whole rows of pixels: three numbers at a time take thrice as long."""
        last = images.permute(0, 2, 3, 1).to(self.dtype).contiguous()
        width = last.shape[2]
        rows = last.view(-1, 3 * width)
        rows.mul_(self._factor.flatten().repeat(width)).sub_(self._offset.flatten().repeat(width))
        return last.permute(0, 3, 1, 2)

    def to_unit(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
        """Images on the network's scale back to [0, 1], to which what lies beyond is clamped."""
        return ((images + self._offset) / (255 * self._factor)).clamp(0, 1)

    def to_bytes(self, images: Float[Tensor, "b 3 h w"]) -> UInt8[Tensor, "b 3 h w"]:
        """Images on the network's scale back to 0..255."""
        pixels = (images + self._offset) / self._factor
        return pixels.round().clamp(0, 255).to(torch.uint8)


def batch_bounds(num_images: int, batch_size: int, drop_last: bool) -> list[tuple[int, int]]:
    """Start and end of each batch of an epoch; the short last one is dropped on demand."""
    bounds = [(i, min(i + batch_size, num_images)) for i in range(0, num_images, batch_size)]
    return [b for b in bounds if b[1] - b[0] == batch_size] if drop_last else bounds


def flips(count: int, seed: int, purpose: str, step: int, device: torch.device | str) -> Tensor:
    """Which of `count` images are mirrored in this step: a fair coin each, from the CPU's stream."""
    coins = torch.rand(count, generator=stream(seed, purpose, step)) < 0.5
    return coins.to(device)
