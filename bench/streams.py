"""Random streams keyed by what they are for, so that nothing about a generator ever needs saving.

The draw for (seed, purpose, step) is the same in a fresh run, in a resumed one, and beside any sibling seed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def stream_key(seed: int, *purpose: str | int) -> int:
    """A 63-bit key for one purpose of one seed."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def stream(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """A fresh generator for one purpose of one seed."""
    return torch.Generator(device).manual_seed(stream_key(seed, *purpose))


@contextmanager
def seeded_init(seed: int, *purpose: str | int) -> Iterator[None]:
    """Within the block, modules built on the CPU initialise from this key; the caller's state is restored."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_key(seed, *purpose))
        yield
