"""From a cell's configuration to modules, each child initialised from its own keyed stream.

The backbone comes first and from a key of its own, so that for one seed every method starts from the same
backbone, and every probe of a seed from the same head.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from bench.errors import UsageError
from bench.flat import FlatAdam
from bench.streams import seeded_init
from models import registry
from models.backbones import Backbone
from models.method import Method


def build_backbone(name: str, seed: int) -> Backbone:
    """A backbone with the initial weights of a seed.

    Raises:
        UsageError: timm does not know it, or it cannot be cut into stages.
    """
    try:
        with seeded_init(seed, "init", "backbone"):
            return Backbone(name)
    except ValueError as error:
        raise UsageError(str(error)) from error


def build_method(config: Mapping[str, Any], num_classes: int | None) -> Method:
    """The method of a pretraining cell, on the CPU, with the initial weights of the cell's seed.

    Args:
        config: the cell's configuration.
        num_classes: of the data set it is pretrained on; None without labels.

    Raises:
        UsageError: settings, backbone and image size do not fit one another.
    """
    row = registry.spec(config["method"])
    settings = row.config_cls(**config["method_config"])
    size, seed = int(config["image_size"]), int(config["seed"])
    return make_method(row, settings, config["backbone"], size, seed, num_classes)


def make_method(
    row: registry.MethodSpec, settings: Any, backbone: str, size: int, seed: int, num_classes: int | None
) -> Method:
    """A method by its row; see `build_method`."""
    module, _, name = row.target.partition(":")
    method_class: type[Method] = getattr(import_module(module), name)
    network = build_backbone(backbone, seed)
    if size < network.stride:
        raise UsageError(f"images of {size} pixels are smaller than {backbone}'s stride {network.stride}")
    try:
        with seeded_init(seed, "init", "heads"):
            return method_class(settings, network, size, num_classes)
    except ValueError as error:
        raise UsageError(f"{row.name}: {error}") from error


def module_state(module: torch.nn.Module, prefix: str = "") -> dict[str, Tensor]:
    """Parameters and buffers under a prefix."""
    return {prefix + name: tensor for name, tensor in module.state_dict().items()}


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def optimizer_state(optimizer: torch.optim.Optimizer | FlatAdam) -> dict[str, Tensor]:
    """An optimiser's tensors, by parameter number and name; both kinds of Adam give the same."""
    if isinstance(optimizer, FlatAdam):
        return optimizer.state()
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer.{i}.{k}": v
        for i, entries in state.items()
        for k, v in entries.items()
        if isinstance(v, Tensor)
    }


def load_optimizer_state(optimizer: torch.optim.Optimizer | FlatAdam, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `optimizer_state` took, of either kind of Adam."""
    if isinstance(optimizer, FlatAdam):
        optimizer.load(tensors)
        return
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in under(tensors, "optimizer.").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    # A fused or vectorised update walks memory in order: the state must lie as its parameter does.
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for number, entries in state.items():
        like = parameters[number]
        for key, tensor in entries.items():
            if tensor.shape == like.shape:
                entries[key] = torch.empty_like(like, dtype=tensor.dtype).copy_(tensor)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
