"""Training steps to be measured: a method on a few images, computed in one of the ways."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from bench.build import build_method
from bench.config import pretrain_config
from bench.data.arrays import Split
from bench.data.batches import Pixels
from bench.memory import keep_freed_memory, release_freed_memory
from bench.prepared import prepare
from bench.speed import Speed
from bench.train import Steps

# Batches of which an epoch consists: images are few, as a step's time does not depend on how many there are.
BATCHES = 4


def some_images(split: Split, batch: int, size: int) -> Split:
    """Images of a few batches, repeated where there are fewer, as squares of `size` pixels (nearest neighbour)."""
    index = np.arange(BATCHES * batch) % len(split.labels)
    images = np.asarray(split.images[: BATCHES * batch])[index]
    height, width = (np.arange(size) * side // size for side in images.shape[2:])
    return Split(np.ascontiguousarray(images[:, :, height][:, :, :, width]), np.asarray(split.labels)[index])


def random_images(batch: int, size: int, num_classes: int) -> Split:
    """Pixels without meaning."""
    draw = np.random.default_rng(0)
    pixels = draw.integers(0, 256, (BATCHES * batch, 3, size, size), dtype=np.uint8)
    return Split(pixels, draw.integers(0, num_classes, BATCHES * batch))


def step_config(method: str, batch: int, size: int) -> dict[str, Any]:
    """The configuration of a pretraining whose steps are measured: the paper's, on images of no name."""
    identity = {"name": "measured", "version": 1}
    settings = {"pretrain.batch_size": batch}
    return pretrain_config(method, identity, image_size=size, flip=False, seed=0, settings=settings)


def _aloud(text: str) -> None:
    print(text, file=sys.stderr)


def make_steps(
    method: str,
    speed: Speed,
    split: Split,
    *,
    batch: int,
    size: int,
    num_classes: int,
    device: torch.device,
    note: Callable[[str], None] = _aloud,
) -> Steps:
    """A pretraining at its first step.

    Args:
        method: its name.
        speed: the way in which its steps are computed.
        split: images of a few batches.
        batch: images a step.
        size: pixels a side.
        num_classes: of the labels.
        device: where.
        note: told what cannot be computed in that way.

    Raises:
        UsageError: the method cannot be built for such images.
    """
    config = step_config(method, batch, size)
    module = build_method(config, num_classes).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    prepare(module.train(), speed, note)
    return Steps(module, Pixels(split, device, config["train"]["scale"]), config["train"], 0, speed, note)


def set_memory(speed: Speed) -> None:
    """Have the C library treat freed memory as a way wants it: ways that take turns share one process."""
    (keep_freed_memory if speed.keep_memory else release_freed_memory)()
