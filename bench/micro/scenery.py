"""What stands around a miniature: random images, nobody who watches, the memory that it takes. No torch."""

from pathlib import Path
from typing import Any

import numpy as np

from bench.data.arrays import Dataset, Split
from bench.provenance import peak_memory_bytes


class Nobody:
    """Nobody watches; see `bench.launch.outcome.Display`."""

    def cell_started(self, *_: Any, **__: Any) -> None:
        """A cell begins."""

    def cell_ended(self, *_: Any, **__: Any) -> None:
        """A cell is over."""

    def step(self, *_: Any, **__: Any) -> None:
        """A cell has come so far."""

    def row(self, *_: Any, **__: Any) -> None:
        """A cell has a new row of metrics."""

    def note(self, *_: Any, **__: Any) -> None:
        """A line to show."""


def random_images(size: int, train: int, test: int, classes: int) -> Dataset:
    """Images of which each class has a pattern of its own, so that what fits them has something to fit.

    Args:
        size: pixels a side.
        train: images to train on.
        test: images to test on.
        classes: of both.
    """
    draw = np.random.default_rng(0)
    patterns = draw.integers(0, 256, (classes, 3, 4, 4))

    def split(count: int) -> Split:
        labels = np.arange(count) % classes
        scale = -(-size // 4)
        wide = patterns[labels].repeat(scale, 2).repeat(scale, 3)[..., :size, :size]
        noise = draw.integers(0, 128, wide.shape, dtype=np.uint8)
        return Split((wide // 2 + noise).astype(np.uint8), labels.astype(np.int64))

    names = tuple(map(str, range(classes)))
    whole = split(train)
    return Dataset("miniature", whole, split(test), whole, names, "random", False)


def forget_peak() -> None:
    """Have the kernel count this process's peak from now on; where it cannot, the peak is that of all it has run."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def peak_since() -> int:
    """Bytes of the processor's memory that this process has had at most since then."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return peak_memory_bytes() or 0
