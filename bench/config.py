"""The whole configuration of a cell, as plain JSON, and the id that is its hash.

Device, threads, workers and paths are not in it: they do not change what a cell means.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from bench.errors import BenchError, UsageError, choice_error
from bench.protocols import PROTOCOLS, ProbeSettings, TrainSettings, preset_epochs
from models import registry as methods

SCHEMA = 1

# A field that a later version adds stays out of the hash while it has the value that earlier runs implied:
# dotted path in a config -> that value.
IMPLIED: dict[str, Any] = {}

GROUPS: dict[str, type] = {"pretrain": TrainSettings, "probe": ProbeSettings}


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
    return hashlib.sha256(canonical(config).encode()).hexdigest()[:16]


@functools.cache
def fields_of(cls: type) -> dict[str, Any]:
    """Field names and types of a settings class."""
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def parse_value(name: str, text: str, hint: Any) -> Any:
    """A setting's value from the command line, by the field's type.

    Raises:
        UsageError: the text is no such value.
    """
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if text.lower() == "none":
            return None
        hint = next(arg for arg in typing.get_args(hint) if arg is not type(None))
    if typing.get_origin(hint) is Literal:
        if text not in typing.get_args(hint):
            raise choice_error(f"value of {name}", text, typing.get_args(hint))
        return text
    if hint is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if text.lower() not in words:
            raise UsageError(f"{name}={text}: allowed: true, false")
        return words[text.lower()]
    try:
        value = hint(text)
    except (TypeError, ValueError):
        kind = {int: "a whole number", float: "a number"}.get(hint, "such a value")
        raise UsageError(f"{name}={text}: {text!r} is not {kind}") from None
    if hint is float and not abs(value) < float("inf"):
        raise UsageError(f"{name}={text}: it must be a finite number")
    return value


def parse_settings(pairs: tuple[str, ...] | list[str], names: list[str]) -> dict[str, Any]:
    """The `--set key=value` of a command line, typed and checked against the selected methods.

    Keys are a method's settings as they are; those of pretraining and probing after "pretrain.", "probe.".

    Raises:
        UsageError: no selected method has the setting, or it refuses the value.
    """
    hints: dict[str, Any] = {
        f"{group}.{key}": t for group, cls in GROUPS.items() for key, t in fields_of(cls).items()
    }
    for name in names:
        known = fields_of(methods.spec(name).config_cls)
        hints.update({key: known[key] for key in methods.setting_names(name)})
    settings = {}
    for pair in pairs:
        key, equals, text = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise UsageError(f"--set {pair!r}: write key=value, such as --set pretrain.epochs=2")
        if key not in hints:
            near = difflib.get_close_matches(key, hints, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UsageError(
                f"no selected method has a setting {key!r}: {hint}`bench list settings` names all"
            )
        settings[key] = parse_value(key, text, hints[key])
    return settings


def _typed(settings: object) -> dict[str, Any]:
    """A settings object as JSON; a whole number in a field of real numbers hashes as the real number."""
    hints = fields_of(type(settings))
    row = dataclasses.asdict(settings)  # type: ignore[call-overload]
    real = {k for k, t in hints.items() if t is float or float in typing.get_args(t)}
    return {k: float(v) if k in real and v is not None else v for k, v in row.items()}


def _build(cls: type, group: str, layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    try:
        return _typed(cls(**merged))
    except ValueError as error:
        raise UsageError(f"{group}: {error}") from None


def _group(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    return {k.removeprefix(group + "."): v for k, v in settings.items() if k.startswith(group + ".")}


def method_config(method: str, dataset: str, protocol: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings in force, as JSON; a setting that the method does not have is left out.

    Raises:
        UsageError: the method refuses a value.
    """
    own = {k: v for k, v in settings.items() if k in methods.setting_names(method)}
    try:
        return _typed(methods.resolve_config(method, dataset, protocol, **own))
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

    Raises:
        UsageError: a value is refused.
    """
    row = methods.spec(method)
    name, settings = str(identity["name"]), settings or {}
    epochs = preset_epochs(preset, name)[0]
    layers = [{"epochs": epochs, "flip": flip}, PROTOCOLS[protocol].train, _group(settings, "pretrain")]
    if not row.trained:
        layers.append({"epochs": 0})
    train = _build(TrainSettings, "pretrain", layers)
    if train["epochs"] == 0:
        # Without a step the rest means nothing, and all protocols share the run.
        train = _typed(TrainSettings(epochs=0))
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
        "train": train,
    }


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
        "probe": _build(ProbeSettings, "probe", [*layers, _group(settings or {}, "probe")]),
    }


def _flip(dataset: str, otherwise: bool) -> bool:
    from bench.data import registry as datasets

    try:
        return datasets.spec(dataset).flip
    except BenchError:
        return otherwise


def _differences(config: Mapping[str, Any], default: Mapping[str, Any], prefix: str) -> list[str]:
    changed = [k for k, v in config.items() if k != "epochs" and v != default.get(k, v)]
    return [
        f"{prefix}{k}={config[k]:g}" if isinstance(config[k], float) else f"{prefix}{k}={config[k]}"
        for k in changed
    ]


def _pretrain_variant(config: Mapping[str, Any], protocol: str) -> list[str]:
    method, dataset = config["method"], str(config["dataset"]["name"])
    if method not in methods.METHODS:
        return []
    default = method_config(method, dataset, protocol, {})
    parts = _differences(config["method_config"], default, "")
    train = config["train"]
    if train["epochs"]:
        wanted = {"flip": _flip(dataset, train["flip"]), **PROTOCOLS[protocol].train}
        parts += _differences(train, _typed(TrainSettings(**wanted)), "pretrain.")
    return parts


def variant(config: Mapping[str, Any]) -> str:
    """How a cell's settings differ from the defaults of its method, data set and protocol.

    Returns:
        "" or a text such as "num_parts=8,pretrain.lr=0.001", in the keys of `--set`. Epochs are not part of
        it: they belong to the preset, see `schedule`. A pretraining is compared with the nearest protocol.
    """
    if config["kind"] == "pretrain":
        return ",".join(min((_pretrain_variant(config, protocol) for protocol in PROTOCOLS), key=len))
    pretrain, protocol = config["pretrain"], config["protocol"]
    wanted = {
        "flip": _flip(str(config["dataset"]["name"]), config["probe"]["flip"]),
        **PROTOCOLS[protocol].probe,
    }
    if config["freeze"] == "none":
        wanted |= {"bn_affine": True, "frozen_bn": "stored"}
    parts = _pretrain_variant(pretrain, protocol)
    return ",".join(parts + _differences(config["probe"], _typed(ProbeSettings(**wanted)), "probe."))


def schedule(config: Mapping[str, Any]) -> str:
    """Pretraining and probe epochs of a cell, such as "90+90"; of a pretraining, "90"."""
    if config["kind"] == "pretrain":
        return str(config["train"]["epochs"])
    return f"{config['pretrain']['train']['epochs']}+{config['probe']['epochs']}"
