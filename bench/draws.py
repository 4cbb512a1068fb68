"""Which inputs of a probe's head dropout keeps: the stream's own bits, without making floats of them.

`torch.rand` on the CPU makes a float of the low 24 bits of each word of a Mersenne twister, seeded by the low half of
the stream's key. NumPy has the same twister and hands out its words, in half the time; C of our own makes eight of
them at once, and of each at once the bits. Tests and a look at a draw in each process hold them together, and where
they part, `torch.rand` is asked.
"""

import functools

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.products import library
from bench.streams import stream, stream_key

BITS = 24


def uniform(shape: tuple[int, ...], seed: int, *purpose: str | int, device: torch.device | str) -> Tensor:
    """Numbers in [0, 1) from a stream."""
    return torch.rand(shape, generator=stream(seed, *purpose, device=device), device=device)


def keep_mask(
    shape: tuple[int, int], dropout: float, seed: int, *purpose: str | int, device: torch.device | str
) -> Float[Tensor, "b d"]:
    """The plain way: 1 / (1 - dropout) where an input is kept, else 0."""
    kept = uniform(shape, seed, *purpose, device=device) >= dropout
    return kept.to(torch.float32) / (1 - dropout)


class KeepBits:
    """Masks of one shape or smaller: all bits set where an input is kept, none where it is dropped.

    Args:
        dropout: the share that is dropped.
        in_c: by C of our own.

    Raises:
        NoCompiler: C is asked for and cannot be compiled.
    """

    def __init__(self, dropout: float, in_c: bool = False) -> None:
        self.library = library() if in_c else None
        # uniform >= dropout, of a number with 24 bits; torch compares floats.
        self.least = int(np.ceil(float(np.float32(dropout)) * (1 << BITS)))
        self.twister = np.random.MT19937(0)
        self.state = np.random.RandomState(self.twister)

    def words(self, count: int, key: int) -> Int[Tensor, " n"]:
        """The twister's words for a stream's key, as int64 below 2**32."""
        self.state.seed(key & 0xFFFFFFFF)
        return torch.from_numpy(self.twister.random_raw(count).view(np.int64))

    def mask(self, shape: tuple[int, int], seed: int, *purpose: str | int) -> Int[Tensor, "b d"]:
        """Int32 [b, d]: -1 or 0."""
        count, key = shape[0] * shape[1], stream_key(seed, *purpose)
        if self.library is not None:
            keep = torch.empty(shape, dtype=torch.int32)
            self.library.keep_bits(keep.data_ptr(), count, key & 0xFFFFFFFF, self.least)
            return keep
        words = self.words(count, key)
        if self.least == 1 << (BITS - 1):
            # A half: the highest of the 24 bits says it, moved into the sign and spread.
            low = words.to(torch.int32)
            return low.bitwise_left_shift_(32 - BITS).bitwise_right_shift_(31).view(shape)
        kept = words.bitwise_and_((1 << BITS) - 1) >= self.least
        return kept.to(torch.int32).neg_().view(shape)


@functools.cache
def same_twister(in_c: bool = False) -> bool:
    """Whether NumPy's words, or the bits of C, are those of which this torch makes its floats."""
    key = stream_key(0, "twister")
    if in_c:
        plain = keep_mask((7, 100), 0.3, 0, "twister", device="cpu") > 0
        return torch.equal(KeepBits(0.3, True).mask((7, 100), 0, "twister") < 0, plain)
    floats = torch.rand(700, generator=torch.Generator().manual_seed(key))
    words = KeepBits(0.5).words(700, key) & ((1 << BITS) - 1)
    return torch.equal(floats, words.to(torch.float32) * 2.0**-BITS)
