"""A method under test: built small, with batches, noise and a schedule such as the trainer would give."""

import copy
from typing import Any

import torch
from torch import Tensor

from bench.build import make_method
from bench.contract.verdicts import NotKept
from bench.engines import PlainEngine, draw, train_step
from bench.errors import choice_error
from bench.streams import stream
from models import registry
from models.method import Batch, Losses, Method, Noises, Schedule
from models.registry import MethodSpec

NUM_CLASSES = 10
# A batch, the draws of each phase, the schedule.
Inputs = tuple[Batch, list[dict[str, Tensor]], dict[str, Tensor]]


class MethodCase:
    """A row of the registry and how it is built for the contract.

    Args:
        method: a row, or the name of one.
        backbone: on which it is built.
        size: side of the images.
        settings: of the method.

    Raises:
        UsageError: no such method.
    """

    def __init__(self, method: str | MethodSpec, backbone: str, size: int, settings: dict[str, Any]) -> None:
        if isinstance(method, str):
            registry.load_plugins()
            if method not in registry.METHODS:
                raise choice_error("method", method, registry.METHODS)
            method = registry.METHODS[method]
        self.row, self.backbone, self.size, self.settings = method, backbone, size, settings
        self._built: dict[int, Method] = {}

    def config(self) -> Any:
        """The settings."""
        return self.row.config_cls(**{**self.row.options, **self.settings})

    def fresh(self, seed: int = 0, size: int | None = None, num_classes: int | None = NUM_CLASSES) -> Method:
        """The method as a cell of this seed starts, built anew."""
        return make_method(
            self.row, self.config(), self.backbone, size or self.size, seed, num_classes
        ).train()

    def method(self, seed: int = 0, dtype: torch.dtype = torch.float32) -> Method:
        """A copy of the method as a cell of this seed starts."""
        if seed not in self._built:
            self._built[seed] = self.fresh(seed)
        return copy.deepcopy(self._built[seed]).to(dtype)

    def inputs(
        self, method: Method, seed: int = 0, step: int = 0, count: int = 4, dtype: torch.dtype = torch.float32
    ) -> Inputs:
        """Smooth random images and what goes with them."""
        return make_inputs(method, seed, step, count, dtype)

    def losses(self, method: Method, phase: int, inputs: Inputs) -> Losses:
        """The losses of a phase by its number."""
        batch, noises, schedule = inputs
        return call(method, method.phases[phase].loss, batch, noises[phase], schedule)

    def train(self, method: Method, steps: range, lr: float = 1e-4, count: int = 4) -> list[Losses]:
        """Steps of SGD, whose rounding Adam's first steps would enlarge."""
        dtype = next(method.parameters()).dtype
        engine = PlainEngine(method)
        optimizer = torch.optim.SGD(engine.parameters.values(), lr=lr)
        return [train_step(engine, optimizer, *self.inputs(method, 0, step, count, dtype)) for step in steps]


def make_inputs(
    method: Method, seed: int, step: int, count: int = 4, dtype: torch.dtype = torch.float32
) -> Inputs:
    """A batch of smooth random images, each phase's noise, and the schedule."""
    size = method.image_size
    g = stream(seed, "test-images", step)
    coarse = torch.randn(count, 3, 4, 4, generator=g, dtype=torch.float64)
    image = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bilinear").to(dtype)
    batch = Batch(image, torch.randint(0, NUM_CLASSES, (count,), generator=g))
    noises = [draw(method.noise(), count, seed, p.loss, step, image) for p in method.phases]
    schedule = {k: torch.tensor(v, dtype=dtype) for k, v in method.schedule(step).items()}
    return batch, noises, schedule


def call(method: Method, loss: str, batch: Batch, noise: Noises, schedule: Schedule) -> Losses:
    """A phase's losses, checked to be a mapping with "loss".

    Raises:
        NotKept: they are not.
    """
    losses = method(loss, batch, noise, schedule)
    if not isinstance(losses, dict) or "loss" not in losses:
        raise NotKept(f'{loss} gives {type(losses).__name__}, not a dict with "loss"')
    return losses


def part(inputs: Inputs, index: slice | Tensor) -> Inputs:
    """Some of the examples of a batch."""
    batch, noises, schedule = inputs
    return (
        Batch(batch.image[index], batch.label[index]),
        [{k: v[index] for k, v in noise.items()} for noise in noises],
        schedule,
    )


def cast(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    """The same numbers in another floating-point type."""
    batch, noises, schedule = inputs
    return (
        Batch(batch.image.to(dtype), batch.label),
        [{k: v.to(dtype) for k, v in noise.items()} for noise in noises],
        {k: v.to(dtype) for k, v in schedule.items()},
    )
