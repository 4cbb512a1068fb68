"""The steps of several seeds of a method at once: their inputs stacked, one vmapped loss, one update."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.accelerated import Bf16StackedEngine
from bench.build import load_optimizer_state, optimizer_state
from bench.data.batches import Pixels
from bench.engines import StackedEngine, train_step
from bench.inputs import Inputs
from bench.speed import PLAIN, Speed
from bench.train import make_optimizer
from models.method import Batch, Losses, Method


class StackedSteps:
    """The steps of several seeds, as `bench.train.Steps` are those of one.

    Args:
        methods: the seeds' own, whose parameters and buffers become slices of the stacked ones.
        pixels: the images of all of them.
        settings: `train` of their configurations.
        seeds: one a method.
        speed: `flat_update`, `fused_adam`, `keep_memory` and `precision` are looked at.
    """

    def __init__(
        self,
        methods: Sequence[Method],
        pixels: Pixels,
        settings: dict[str, Any],
        seeds: Sequence[int],
        speed: Speed = PLAIN,
    ) -> None:
        self.inputs = [Inputs(m, pixels, settings, seed) for m, seed in zip(methods, seeds, strict=True)]
        kind = Bf16StackedEngine if speed.precision == "bf16" else StackedEngine
        self.engine = kind(methods)
        self.optimizer = make_optimizer(methods[0], self.engine.parameters, settings, speed)
        # After the optimiser, which may have moved them into one piece of memory.
        self.engine.slice_into(methods)
        self.per_epoch, self.total = self.inputs[0].per_epoch, self.inputs[0].total
        self.done = 0

    def next(self) -> tuple[list[Losses], int]:
        """Take a step; each seed's losses, and its number of images."""
        batches, noises, schedules = zip(*(one.at(self.done) for one in self.inputs), strict=True)
        batch = Batch(*(torch.stack(field) for field in zip(*batches, strict=True)))
        stacked = [
            {name: torch.stack([noise[name] for noise in phase]) for name in phase[0]}
            for phase in zip(*noises, strict=True)
        ]
        values = train_step(self.engine, self.optimizer, batch, stacked, schedules[0])
        self.done += 1
        apart = [{name: value[i] for name, value in values.items()} for i in range(len(self.inputs))]
        return apart, batch.image.shape[1]

    def optimizer_states(self) -> list[dict[str, Tensor]]:
        """Each seed's, as `bench.build.optimizer_state` gives it of the seed alone."""
        state = optimizer_state(self.optimizer)
        return [{name: _slice(name, t, i) for name, t in state.items()} for i in range(len(self.inputs))]

    def load_optimizer_states(self, states: Sequence[Mapping[str, Tensor]]) -> None:
        """Put back what `optimizer_states`, or each seed's optimiser alone, gave after equally many steps."""
        names = [name for name in states[0] if name.startswith("optimizer.")]
        load_optimizer_state(
            self.optimizer,
            {n: states[0][n] if _of_all(n) else torch.stack([state[n] for state in states]) for n in names},
        )


def _of_all(name: str) -> bool:
    return name.endswith(".step")


def _slice(name: str, tensor: Tensor, i: int) -> Tensor:
    return tensor if _of_all(name) else tensor[i]
