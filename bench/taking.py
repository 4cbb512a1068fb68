"""Weights that exist, put into a backbone: read as tensors alone, and checked name by name."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor

from bench.build import build_backbone
from bench.errors import BenchError, UsageError
from bench.evaluations.weights import sha256_of
from bench.given import KEY, TIMM, Given
from bench.launch.control import RunOptions
from models.backbones import Backbone, timm_model

# What whole methods and wrappers put before timm's names.
_PREFIX = re.compile(r"^(?:backbone\.net\.|module\.|_orig_mod\.|model\.|net\.)")
_OWN = "backbone.net."
_COUNT = ".num_batches_tracked"


def check(given: Given) -> None:
    """Read the weights and put them into a backbone that is thrown away.

    Raises:
        UsageError: they do not fit; names the first tensor that is missing or of another shape.
    """
    fill(build_backbone(given.backbone, 0), given.origin, Path(given.path))


def take(backbone: Backbone, config: Mapping[str, Any], options: RunOptions) -> None:
    """Give a pretraining's backbone the weights that its configuration names.

    Raises:
        UsageError: nobody said where they are, they are gone or others, or they do not fit.
    """
    weights, given = config["weights"], options.weights.get(KEY)
    if given is None:
        raise UsageError(
            f"the weights {weights['origin']} (SHA-256 {weights['sha256']}) are not here: name them again"
        )
    path = Path(given)
    if not path.is_file() or sha256_of(path) != weights["sha256"]:
        raise UsageError(
            f"{path} is not, or no longer, the file of weights whose SHA-256 is {weights['sha256']}"
        )
    fill(backbone, weights["origin"], path)


def fill(backbone: Backbone, origin: str, path: Path) -> None:
    """Copy the tensors of a file into a backbone, every one of it.

    But for batch norm's counts of batches, which older files lack and nothing here reads: they stay at 0.

    Raises:
        UsageError: they cannot be read, or do not fit.
    """
    try:
        found = _by_timm(origin, path) if origin.startswith(TIMM + " ") else _plain(backbone.name, path)
    except BenchError:
        raise
    except Exception as error:
        # A broken file fails anywhere in the readers of zip archives, of pickles and of safetensors.
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"{path} cannot be read as weights of {backbone.name}: {lines[0]}") from None
    own = backbone.net.state_dict()
    found = {**{name: tensor for name, tensor in own.items() if name.endswith(_COUNT)}, **found}
    for name, tensor in own.items():
        if name not in found:
            raise UsageError(f"{path} has no {name!r}, which a {backbone.name} needs")
        if found[name].shape != tensor.shape:
            raise UsageError(
                f"{path}: {name!r} is {_shape(found[name])}, and that of a {backbone.name} is {_shape(tensor)}"
            )
    backbone.net.load_state_dict({name: found[name].to(tensor.dtype) for name, tensor in own.items()})


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "one number"


def _by_timm(origin: str, path: Path) -> dict[str, Tensor]:
    """Timm's own weights as timm reads them: names of older checkpoints are its to know."""
    name = origin.partition(" ")[2]
    net = timm.create_model(name, pretrained=True, num_classes=0, pretrained_cfg_overlay={"file": str(path)})
    return net.state_dict()


def _plain(name: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a file under timm's names, without what belongs to no part of timm's network.

    Raises:
        UsageError: a tensor is of no network of this name, or two have the same name without their prefixes.
    """
    tensors = timm.models.load_state_dict(str(path), weights_only=True)
    # A run's own file has its whole method; a head beside the backbone is no part of it.
    own = {key: tensor for key, tensor in tensors.items() if key.startswith(_OWN)}
    found = {}
    for typed, tensor in (own or tensors).items():
        key = typed
        while (bare := _PREFIX.sub("", key)) != key:
            key = bare
        if key in found:
            raise UsageError(f"{path} has {key!r} twice, once as {typed!r}: which one is meant is not known")
        if isinstance(tensor, Tensor):
            found[key] = tensor
    architecture, args = timm_model(name)
    with torch.device("meta"):
        known: Any = timm.create_model(architecture, **args)
    classifier = known.pretrained_cfg.get("classifier") or "fc"
    classifiers = (classifier,) if isinstance(classifier, str) else tuple(classifier)
    whole = known.state_dict()
    for key in found:
        if key not in whole and not key.startswith(tuple(f"{one}." for one in classifiers)):
            raise UsageError(
                f"{path} has {key!r}, which timm's {architecture} has not: it is of another network"
            )
    return found
