"""What training and probing really do with their settings, seen from below: at the optimiser, the first
convolution, the head and the losses, whatever lies between them and the configuration.
"""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from bench import config as cfg
from bench.build import build_method, module_state
from bench.checkpoint import read_tensors, write_tensors
from bench.data.arrays import Dataset, Split
from bench.data.batches import MEAN_STD
from bench.engines import draw
from bench.launch.control import RunOptions, Stop
from bench.probe import holdout_split, probe
from bench.train import pretrain
from models.method import Method, Noise
from tests.learning import MemoryAttempt, noise_data, pretrain_config
from tests.test_probe import probe_config, save_weights
from tests.test_train import quiet

TRAIN, TEST, POOL = range(0, 40), range(100, 120), range(200, 240)
LEFT, RIGHT = 200, 50
FEATURES = 2048


def marked(split: Split, ids: range) -> Split:
    """Images that carry their number, which way round they are, black and white."""
    images = split.images[: len(ids)].copy()
    images[:, :, 0, 0], images[:, :, 0, -1] = 0, 255
    images[:, :, 1, 0] = images[:, :, 1, -1] = np.array(ids)[:, None]
    images[:, :, 2, 0], images[:, :, 2, -1] = LEFT, RIGHT
    return Split(images, split.labels[: len(ids)])


def marked_data() -> Dataset:
    data = noise_data()
    return dataclasses.replace(
        data, train=marked(data.train, TRAIN), test=marked(data.test, TEST), pool=marked(data.pool, POOL)
    )


class Seen(NamedTuple):
    """A batch at the first convolution."""

    training: bool
    images: Tensor

    def bytes(self, row: int, scale: str = "imagenet") -> list[int]:
        """The left pixel of a row, in red, as it was in the file."""
        mean, std = (values[0] for values in MEAN_STD[scale])
        return (255 * (self.images[:, 0, row, 0] * std + mean)).round().int().tolist()

    @property
    def ids(self) -> list[int]:
        return self.bytes(1)

    @property
    def mirrored(self) -> list[bool]:
        return [value == RIGHT for value in self.bytes(2)]


class Watch:
    """Everything of interest that passes while a fixture is in force."""

    def __init__(self) -> None:
        self.batches: list[Seen] = []
        self.head_inputs: list[tuple[bool, Tensor]] = []
        self.noises: list[tuple[str, dict[str, Tensor], dict[str, float]]] = []
        self.groups: list[tuple[type, dict[str, Any]]] = []
        self.first: list[Tensor] = []

    def module(self, module: nn.Module, args: tuple) -> None:
        if isinstance(module, nn.Conv2d) and module.kernel_size == (7, 7) and args[0].shape[-1] == 32:
            self.batches.append(Seen(module.training, args[0].detach().clone()))
        elif isinstance(module, nn.Linear) and module.in_features == FEATURES:
            self.head_inputs.append((module.training, args[0].detach().clone()))
        elif isinstance(module, Method):
            loss, _, noise, schedule = args
            drawn = {k: v.clone() for k, v in noise.items()}
            self.noises.append((loss, drawn, {k: float(v) for k, v in schedule.items()}))

    def optimizer(self, optimizer: torch.optim.Optimizer, args: tuple, kwargs: dict) -> None:
        (group,) = optimizer.param_groups
        if not self.groups:
            self.first = [p.detach().clone() for p in group["params"]]
        self.groups.append((type(optimizer), {k: v for k, v in group.items() if k != "params"}))

    @property
    def trained(self) -> list[Seen]:
        return [seen for seen in self.batches if seen.training]


@pytest.fixture
def watching() -> Iterator[Callable[[], Watch]]:
    """Starts a new watch, which ends the one before."""
    handles: list[Any] = []

    def begin() -> Watch:
        while handles:
            handles.pop().remove()
        watch = Watch()
        handles.append(register_module_forward_pre_hook(watch.module))
        handles.append(register_optimizer_step_pre_hook(watch.optimizer))
        return watch

    yield begin
    while handles:
        handles.pop().remove()


@pytest.fixture
def weights(tmp_path):
    return save_weights(tmp_path / "pretrained.safetensors")


def run(kind: Callable, config: dict, *more: Any, attempt: Any, data: Dataset | None = None, **options):
    return kind(
        config,
        data or marked_data(),
        *more,
        attempt,
        device="cpu",
        stop=Stop(),
        progress=quiet,
        options=RunOptions(threads=1, **options),
    )


def short_pretraining(name: str, **settings) -> dict:
    return pretrain_config(name, **{"epochs": 1, "batch_size": 20, **settings})


def short_probe(*freeze, **settings) -> dict:
    return probe_config(*freeze, **{"epochs": 1, "batch_size": 20, **settings})


ADAM = {"lr": 1e-4, "betas": (0.5, 0.999), "eps": 1e-8, "weight_decay": 0, "amsgrad": False, "maximize": False}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, ADAM), ({"lr": 3e-5, "beta1": 0.8, "beta2": 0.95}, {**ADAM, "lr": 3e-5, "betas": (0.8, 0.95)})],
    ids=["by default", "as set"],
)
def test_every_step_of_pretraining_is_adam_with_the_rate_and_betas_of_its_settings(
    settings, expected, watching, tmp_path
):
    watch = watching()
    run(pretrain, short_pretraining("supervised", **settings), attempt=MemoryAttempt(tmp_path))
    assert len(watch.groups) == 2
    for kind, group in watch.groups:
        assert kind is torch.optim.Adam
        assert {k: group[k] for k in expected} == expected


SGD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "dampening": 0, "nesterov": False, "maximize": False}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [({}, SGD), ({"lr": 0.02, "momentum": 0.7, "weight_decay": 0.003}, None)],
    ids=["by default", "as set"],
)
def test_every_step_of_a_probe_is_sgd_with_the_rate_momentum_and_decay_of_its_settings(
    settings, expected, watching, weights, tmp_path
):
    expected = expected or {**SGD, **settings}
    watch = watching()
    run(
        probe, short_probe(epochs=3, lr_step=2, **settings), weights, attempt=MemoryAttempt(tmp_path)
    )
    assert len(watch.groups) == 6
    for step, (kind, group) in enumerate(watch.groups):
        assert kind is torch.optim.SGD
        rate = expected["lr"] * (0.1 if step >= 4 else 1)
        assert group["lr"] == pytest.approx(rate)
        assert {k: group[k] for k in expected if k != "lr"} == {**expected, **settings} | {"lr": 0} - {"lr": 0}
