"""The order of the images in an epoch: a permutation of all of them, or one that reads a disk in pieces.

Random rows of a file that does not fit in memory are random reads of a disk, of 12 KB each at 64 pixels. By blocks,
the file is cut into blocks of `BLOCK` rows in a row, the blocks are put in random order, and `WINDOW` of them at a
time are shuffled row by row: what is read in one go is 384 KB at 64 pixels, and a batch is drawn from the rows of
1,024 places of the file, or of more than half as many where the blocks do not fill whole windows: all windows are as
large. Two images of a batch are from one block with a probability of at most 2 / `WINDOW`: of a source that is sorted
by class they share their class at most that much more often than in a full permutation.

Both numbers are constants: the order of a cell must not depend on the memory of the machine that computes it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from bench.protocols import Shuffle
from bench.streams import stream

BLOCK, WINDOW = 32, 1024


class Reach(NamedTuple):
    """How an order reads a file, for what reads ahead.

    Attributes:
        block: so many rows in a row are read at once.
        rows: so many rows before their use reading may begin; more would be in memory at once.
    """

    block: int
    rows: int


def reach(shuffle: Shuffle) -> Reach:
    """Of an order."""
    return Reach(BLOCK, BLOCK * WINDOW) if shuffle == "blocks" else Reach(1, 1024)


def epoch_order(
    num_images: int,
    seed: int,
    purpose: str,
    epoch: int,
    epoch_images: int | None = None,
    shuffle: Shuffle = "full",
) -> Int[Tensor, " m"]:
    """Order of the images in an epoch: a permutation, or as many passes as `epoch_images` needs.

    Drawn on the CPU from (seed, purpose, epoch, pass), so that it is the same on every device.
    """
    wanted = num_images if epoch_images is None else epoch_images
    draw = block_order if shuffle == "blocks" else torch.randperm
    passes = [
        draw(num_images, generator=stream(seed, purpose, epoch, k)) for k in range(-(-wanted // num_images))
    ]
    return torch.cat(passes)[:wanted]


def block_order(
    num_images: int, *, generator: torch.Generator, block: int = BLOCK, window: int = WINDOW
) -> Int[Tensor, " n"]:
    """A permutation that is random within windows of blocks of rows, which are in random order.

    Where one window holds all images it is `torch.randperm` of the same generator.

    Args:
        num_images: to be put in order.
        generator: of the draws.
        block: rows of a block.
        window: blocks that are shuffled at once, at most.
    """
    anywhere = torch.randperm(num_images, generator=generator)
    if num_images <= block * window:
        return anywhere
    blocks = -(-num_images // block)
    place = torch.randperm(blocks, generator=generator)
    # As large as one another: a last one of a few blocks would have the last batches be of a few places.
    windows = place[anywhere // block] * -(-blocks // window) // blocks
    # Stable: within a window rows keep the order in which they lie in the permutation of all.
    return anywhere[windows.argsort(stable=True)]
