"""Every method by name: where its class is, what its settings are. No torch here.

A method of another package is added by the entry point `bench.methods`: a `MethodSpec`, or several (docs/plugins.md).
"""

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any

from models import configs, plugins


@dataclass(frozen=True)
class MethodSpec:
    """One row of the registry.

    Attributes:
        name: what the user types.
        title: what a table prints.
        target: "module:Class" of the `models.method.Method`.
        config_cls: frozen dataclass of its settings.
        options: settings that make this row (its switches).
        version: raised whenever what the method computes changes; part of a run's identity.
        control: not a method of the paper's comparison but a row to hold it against.
        trained: whether pretraining takes steps at all.
        end_to_end: the probe trains the backbone too (nothing frozen).
        decoder: it makes images as large as its input, so that size must be a multiple of the stride.
        labels: pretraining reads labels, hence the labelled training split only.
        parts: it says where parts occur in an image (`Method.parts`).
        couples_examples: its loss compares the examples of a batch with one another, as contrastive ones do, so
            that it is no mean over them: it is trained on one device.
        takes_weights: its backbone may have weights that exist already, instead of being pretrained here.
        dataset_settings: data set -> settings that its authors, or the method's, use there instead of the defaults.
    """

    name: str
    title: str
    target: str
    config_cls: type
    options: dict[str, Any] = field(default_factory=dict)
    version: int = 1
    control: bool = False
    trained: bool = True
    end_to_end: bool = False
    decoder: bool = False
    labels: bool = False
    parts: bool = False
    couples_examples: bool = False
    takes_weights: bool = False
    dataset_settings: dict[str, dict[str, Any]] = field(default_factory=dict)


def _family(name: str, title: str, target: str, config_cls: type, parts: bool = False) -> list[MethodSpec]:
    """One autoencoder with each setting of the two switches."""
    rows = []
    for gan in (False, True):
        for weighted in (False, True):
            rows.append(
                MethodSpec(
                    name + "-gan" * gan + "-lw" * weighted,
                    title + "-GAN" * gan + " + L_w" * weighted,
                    target,
                    config_cls,
                    {"adversarial": gan, "weighted": weighted},
                    decoder=True,
                    parts=parts,
                )
            )
    return rows


METHODS: dict[str, MethodSpec] = {
    row.name: row
    for row in [
        *_family("beta-vae", "β-VAE", "models.beta_vae:BetaVAE", configs.BetaVAEConfig),
        *_family("patchvae", "PatchVAE", "models.patchvae:PatchVAE", configs.PatchVAEConfig, parts=True),
        MethodSpec("bigan", "BiGAN", "models.bigan:BiGAN", configs.BiGANConfig, decoder=True),
        MethodSpec(
            "supervised",
            "Supervised",
            "models.supervised:Supervised",
            configs.SupervisedConfig,
            labels=True,
            takes_weights=True,
        ),
        MethodSpec(
            "random",
            "Random (untrained)",
            "models.untrained:Untrained",
            configs.UntrainedConfig,
            control=True,
            trained=False,
        ),
        MethodSpec(
            "scratch",
            "Scratch (end to end)",
            "models.untrained:Untrained",
            configs.UntrainedConfig,
            control=True,
            trained=False,
            end_to_end=True,
        ),
    ]
}

# A backbone from elsewhere, whatever it has learned from: no method of a comparison, so `all` does not mean it.
GIVEN = MethodSpec(
    "given",
    "Given",
    "models.untrained:Untrained",
    configs.UntrainedConfig,
    trained=False,
    takes_weights=True,
)

# What a protocol changes in a method's settings (the protocol's other half is the harness's).
PROTOCOL_SETTINGS: dict[str, dict[str, Any]] = {
    "paper": {},
    "clean": {},
    "reference": {"annealing": "compounded", "elbo_twice": True},
}

# What a data set changes: ImageNet's PatchVAE has 64 parts of 16 dimensions. A part of it, `imagenet:PATH`, too.
DATASET_SETTINGS: dict[str, dict[str, Any]] = {"imagenet": {"num_parts": 64, "part_dim": 16}}


def load_plugins() -> None:
    """Add the methods that installed packages offer; one that cannot be used is noted in `models.plugins.BROKEN`."""
    plugins.load("bench.methods", MethodSpec, METHODS, _check)


def _check(row: MethodSpec) -> None:
    """Refuse a stranger's row that would fail later, where nobody expects it."""
    plugins.check_target(row.target)
    if not dataclasses.is_dataclass(row.config_cls) or not isinstance(row.config_cls, type):
        raise ValueError(f"config_cls is {row.config_cls!r}, not a dataclass")
    if not row.config_cls.__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
        raise ValueError(f"config_cls {row.config_cls.__name__} is not frozen")
    if not isinstance(row.version, int) or row.version < 1:
        raise ValueError(f"version is {row.version!r}, not a whole number from 1")
    # Listing shows the defaults, so every setting has one.
    row.config_cls(**row.options)


def spec(name: str) -> MethodSpec:
    """The row of a method.

    Raises:
        KeyError: no such method; the text names the nearest one, or why a package's cannot be used.
    """
    if name == GIVEN.name:
        return GIVEN
    if name not in METHODS:
        load_plugins()
    if name not in METHODS:
        if broken := plugins.broken("bench.methods", name):
            raise KeyError(str(broken))
        near = difflib.get_close_matches(name, METHODS, n=1)
        raise KeyError(f"unknown method {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
    return METHODS[name]


def setting_names(name: str) -> tuple[str, ...]:
    """The settings of a method that a user may change."""
    row = spec(name)
    return tuple(f.name for f in dataclasses.fields(row.config_cls) if f.name not in row.options)


def resolve_config(name: str, dataset: str = "", protocol: str = "paper", **overrides: Any) -> Any:
    """The settings in force: defaults, the row's switches, the data set's, the protocol's, then the user's.

    Raises:
        KeyError: no such method or protocol.
        ValueError: a value that the settings refuse.
        TypeError: an override that the method does not have.
    """
    row = spec(name)
    known = {f.name for f in dataclasses.fields(row.config_cls)}
    layout = dataset.partition(":")[0]
    # What a data set changes in this project's settings says nothing of a field by the same name elsewhere.
    # A protocol is one for all methods: a field of these names means the same in each.
    ours = any(cls.__module__ == configs.__name__ for cls in row.config_cls.__mro__)
    own = DATASET_SETTINGS.get(layout, {}) if ours else {}
    layers = (row.options, own, PROTOCOL_SETTINGS[protocol], row.dataset_settings.get(layout, {}))
    settings = {k: v for layer in layers for k, v in layer.items() if k in known}
    unknown = set(overrides) - set(setting_names(name))
    if unknown:
        raise TypeError(f"method {name!r} has no setting {sorted(unknown)[0]!r}")
    return row.config_cls(**{**settings, **overrides})
