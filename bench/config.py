"""The whole configuration of a cell, as plain JSON, and the id that is its hash.

Device, threads, workers and paths are not in it: they do not change what a cell means.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench.errors import BenchError, UsageError
from bench.evaluations import registry as evaluations
from bench.protocols import PROTOCOLS, ProbeSettings, TrainSettings, preset_epochs
from bench.settings import build, differences, fields_of, of_group, typed
from models import registry as methods

SCHEMA = 1

# A field that a later version adds stays out of the hash while it has the value that earlier runs implied:
# dotted path in a config -> that value.
IMPLIED: dict[str, Any] = {}
# A setting of pretraining or probing that a later version adds is better left out of the configuration while it has
# that value: then a configuration is what it was, and none has to be taken apart to be hashed.
ABSENT: dict[str, Any] = {"shuffle": "full", "batch_norm_devices": 1}


def stripped(config: Mapping[str, Any], implied: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A configuration without the fields that are at their implied value; not to be changed."""
    fields = IMPLIED if implied is None else implied
    if not fields:
        return dict(config)
    bare = json.loads(json.dumps(config, allow_nan=False))
    # What stands on a pretraining holds its whole configuration.
    for config_ in (bare, bare.get("pretrain")):
        for path, value in fields.items():
            *parents, leaf = path.split(".")
            node: Any = config_
            for key in parents:
                node = node.get(key) if isinstance(node, dict) else None
            if isinstance(node, dict) and leaf in node and node[leaf] == value:
                del node[leaf]
    return bare


def canonical(config: Mapping[str, Any], implied: Mapping[str, Any] | None = None) -> str:
    """The text that is hashed: sorted keys, no spaces, fields at their implied value left out."""
    return json.dumps(stripped(config, implied), sort_keys=True, separators=(",", ":"), allow_nan=False)


def config_id(config: Mapping[str, Any]) -> str:
    """The id of a cell: 16 hexadecimal digits of the SHA-256 of its canonical JSON."""
    return text_id(canonical(config))


def text_id(text: str) -> str:
    """The id of a cell by its canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def method_config(method: str, dataset: str, protocol: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings in force, as JSON; a setting that the method does not have is left out.

    Raises:
        UsageError: the method refuses a value.
    """
    own = {k: v for k, v in settings.items() if k in methods.setting_names(method)}
    try:
        return typed(methods.resolve_config(method, dataset, protocol, **own))
    except ValueError as error:
        raise UsageError(f"{method}: {error}") from None


def pretrain_config(
    method: str,
    identity: Mapping[str, Any],
    *,
    image_size: int | None,
    flip: bool,
    seed: int,
    backbone: str = "resnet9",
    protocol: str = "paper",
    preset: str = "full",
    settings: Mapping[str, Any] | None = None,
    weights: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The configuration of a pretraining.

    Args:
        method: its name.
        identity: of the data set, as `bench.data.registry.identity` gives it.
        image_size: pixels a side.
        flip: whether the data set's images are mirrored.
        seed: of initial weights, data order and noise.
        backbone: name of the network that is probed later.
        protocol: paper, clean or reference.
        preset: smoke, quick or full.
        settings: what the user set, see `parse_settings`.
        weights: `bench.given.Given.identity` of weights that its backbone takes instead of being trained; a method
            that takes none leaves them aside.

    Raises:
        UsageError: a value is refused.
    """
    row = methods.spec(method)
    weights = weights if row.takes_weights else None
    name, settings = str(identity["name"]), settings or {}
    epochs = preset_epochs(preset, name)[0]
    layers = [{"epochs": epochs, "flip": flip}, PROTOCOLS[protocol].train, of_group(settings, "pretrain")]
    if not row.trained or weights:
        layers.append({"epochs": 0})
    train = build(TrainSettings, "pretrain", layers)
    if train["epochs"] == 0:
        # Without a step the rest means nothing, and all protocols share the run.
        train = typed(TrainSettings(epochs=0))
    return {
        "schema": SCHEMA,
        "kind": "pretrain",
        "method": method,
        "method_version": row.version,
        "method_config": method_config(method, name, protocol, settings),
        "backbone": backbone,
        "dataset": dict(identity),
        "image_size": image_size,
        "seed": seed,
        "train": _without_absent(train),
        **({"weights": dict(weights)} if weights else {}),
    }


def _without_absent(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in ABSENT or value != ABSENT[key]}


def probe_config(
    pretrain: Mapping[str, Any],
    identity: Mapping[str, Any],
    *,
    image_size: int | None,
    flip: bool,
    seed: int,
    freeze: str,
    protocol: str = "paper",
    preset: str = "full",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The configuration of a probe of one pretraining; see `pretrain_config` for the arguments.

    Raises:
        UsageError: a value is refused.
    """
    end_to_end = methods.spec(pretrain["method"]).end_to_end
    epochs = preset_epochs(preset, str(identity["name"]))[1]
    layers = [{"epochs": epochs, "flip": flip}, PROTOCOLS[protocol].probe]
    if end_to_end:
        layers.append({"bn_affine": True, "frozen_bn": "stored"})
    layers.append(own_scale(pretrain))
    return {
        "schema": SCHEMA,
        "kind": "probe",
        "pretrain": dict(pretrain),
        "pretrain_id": config_id(pretrain),
        "dataset": dict(identity),
        "image_size": image_size,
        "freeze": "none" if end_to_end else freeze,
        "seed": seed,
        "protocol": protocol,
        "probe": _without_absent(build(ProbeSettings, "probe", [*layers, of_group(settings or {}, "probe")])),
    }


def evaluate_config(
    pretrain: Mapping[str, Any],
    identity: Mapping[str, Any],
    *,
    image_size: int | None,
    evaluation: str,
    protocol: str = "paper",
    settings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The configuration of an evaluation of one pretraining; see `pretrain_config` for the arguments.

    No protocol is in it: all that a protocol changes of an evaluation is the input's scale, a setting like others.

    Raises:
        UsageError: a value is refused, or there is no such evaluation.
    """
    row = evaluations.spec(evaluation)
    layers: list[Mapping[str, Any]] = [_evaluation_scale(row, pretrain, protocol, settings or {})]
    return {
        "schema": SCHEMA,
        "kind": "evaluate",
        "evaluation": evaluation,
        "evaluation_version": row.version,
        "pretrain": dict(pretrain),
        "pretrain_id": config_id(pretrain),
        "dataset": dict(identity),
        "image_size": image_size,
        "seed": pretrain["seed"],
        "evaluate": build(row.settings_cls, evaluation, [*layers, of_group(settings or {}, evaluation)]),
    }


def own_scale(pretrain: Mapping[str, Any]) -> dict[str, Any]:
    """The scale of the input that weights from elsewhere were trained on, where that is known."""
    scale = (pretrain.get("weights") or {}).get("scale")
    return {"scale": scale} if scale else {}


def _evaluation_scale(
    row: evaluations.EvaluationSpec, pretrain: Mapping[str, Any], protocol: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The scale on which a probe of the same protocol sees its images, for an evaluation that has a choice."""
    if "scale" not in fields_of(row.settings_cls):
        return {}
    probe = {**PROTOCOLS[protocol].probe, **own_scale(pretrain), **of_group(settings, "probe")}
    return {"scale": probe["scale"]} if "scale" in probe else {}


def _flip(dataset: str, otherwise: bool) -> bool:
    from bench.data import registry as datasets

    try:
        return datasets.spec(dataset).flip
    except BenchError:
        return otherwise


@functools.cache
def _default_config(method: str, dataset: str, protocol: str) -> dict[str, Any]:
    return method_config(method, dataset, protocol, {})


def changed_settings(pretrain: Mapping[str, Any]) -> list[str]:
    """The settings of a pretraining's method that are not the defaults of the nearest protocol: ["num_parts=8"]."""
    method, dataset = pretrain["method"], str(pretrain["dataset"]["name"])
    if method not in methods.METHODS:
        return []
    config = pretrain["method_config"]
    defaults = [_default_config(method, dataset, protocol) for protocol in PROTOCOLS]
    # Most cells have their defaults, and there may be ten thousand of them.
    return [] if config in defaults else min((differences(config, one, "") for one in defaults), key=len)


def _pretrain_variant(config: Mapping[str, Any], protocol: str) -> list[str]:
    method, dataset = config["method"], str(config["dataset"]["name"])
    if method not in methods.METHODS:
        return []
    default = _default_config(method, dataset, protocol)
    parts = differences(config["method_config"], default, "")
    train = config["train"]
    if train["epochs"]:
        wanted = {"flip": _flip(dataset, train["flip"]), **PROTOCOLS[protocol].train}
        parts += differences(train, typed(TrainSettings(**wanted)), "pretrain.")
    return parts


def _evaluate_variant(config: Mapping[str, Any], protocol: str) -> list[str]:
    parts, name = _pretrain_variant(config["pretrain"], protocol), config["evaluation"]
    if name not in evaluations.EVALUATIONS:
        return parts
    row = evaluations.spec(name)
    wanted = typed(row.settings_cls(**_evaluation_scale(row, config["pretrain"], protocol, {})))
    return parts + differences(config["evaluate"], wanted, f"{name}.")


def variant(config: Mapping[str, Any]) -> str:
    """How a cell's settings differ from the defaults of its method, data set and protocol.

    Returns:
        "" or a text such as "num_parts=8,pretrain.lr=0.001", in the keys of `--set`. Epochs are not part of
        it: they belong to the preset, see `schedule`. A cell without a protocol is compared with the nearest one.
    """
    if config["kind"] == "pretrain":
        return ",".join(min((_pretrain_variant(config, protocol) for protocol in PROTOCOLS), key=len))
    if config["kind"] == "evaluate":
        return ",".join(min((_evaluate_variant(config, protocol) for protocol in PROTOCOLS), key=len))
    pretrain, protocol = config["pretrain"], config["protocol"]
    wanted = {
        "flip": _flip(str(config["dataset"]["name"]), config["probe"]["flip"]),
        **PROTOCOLS[protocol].probe,
        **own_scale(pretrain),
    }
    if config["freeze"] == "none":
        wanted |= {"bn_affine": True, "frozen_bn": "stored"}
    parts = _pretrain_variant(pretrain, protocol)
    return ",".join(parts + differences(config["probe"], typed(ProbeSettings(**wanted)), "probe."))


def schedule(config: Mapping[str, Any]) -> str:
    """Pretraining and probe epochs of a cell, such as "90+90"; of a pretraining or an evaluation, "90"."""
    pretrain = config if config["kind"] == "pretrain" else config["pretrain"]
    epochs = str(pretrain["train"]["epochs"])
    return f"{epochs}+{config['probe']['epochs']}" if config["kind"] == "probe" else epochs
