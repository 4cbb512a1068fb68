"""What `--set` may change: every settings class, how a value is read from a command line, what is built of it.

No torch.
"""

import dataclasses
import difflib
import functools
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from bench.errors import UsageError, choice_error
from bench.evaluations.registry import EVALUATIONS
from bench.protocols import ProbeSettings, TrainSettings
from models import registry as methods

# Before the dot of a key, what the settings belong to.
GROUPS: dict[str, type] = {
    "pretrain": TrainSettings,
    "probe": ProbeSettings,
    **{row.name: row.settings_cls for row in EVALUATIONS.values()},
}


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

    Keys are a method's settings as they are; those of pretraining, probing and an evaluation after "pretrain.",
    "probe." and its name.

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


def typed(settings: object) -> dict[str, Any]:
    """A settings object as JSON; a whole number in a field of real numbers hashes as the real number."""
    hints = fields_of(type(settings))
    row = dataclasses.asdict(settings)  # type: ignore[call-overload]
    real = {k for k, t in hints.items() if t is float or float in typing.get_args(t)}
    return {k: float(v) if k in real and v is not None else v for k, v in row.items()}


def build(cls: type, group: str, layers: list[Mapping[str, Any]]) -> dict[str, Any]:
    """The settings in force as JSON, a later layer over an earlier one.

    Raises:
        UsageError: the class refuses a value; `group` names it.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged.update(layer)
    try:
        return typed(cls(**merged))
    except ValueError as error:
        raise UsageError(f"{group}: {error}") from None


def of_group(settings: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Those of one group, without its name."""
    return {k.removeprefix(group + "."): v for k, v in settings.items() if k.startswith(group + ".")}


def differences(config: Mapping[str, Any], default: Mapping[str, Any], prefix: str) -> list[str]:
    """What differs from the defaults, as `--set` would have it; epochs are the preset's and left out."""
    changed = [k for k, v in config.items() if k != "epochs" and v != default.get(k, v)]
    return [
        f"{prefix}{k}={config[k]:g}" if isinstance(config[k], float) else f"{prefix}{k}={config[k]}"
        for k in changed
    ]
