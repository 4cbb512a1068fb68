"""A selection becomes cells: pretrainings, each with what judges it, by content id. No torch; writes nothing."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from bench.config import changed_settings, config_id, evaluate_config, pretrain_config, probe_config
from bench.data.fractions import typed_name
from bench.errors import UsageError
from bench.evaluations import registry as evaluations
from bench.evaluations.weights import Weights
from bench.given import Given, title
from bench.protocols import DEFAULT_PRESET
from bench.records import Once, Run, State, load_run
from bench.selection import WHOLE, backbone_stride, freeze_points, select
from bench.sources import Source, Sources
from models import registry as methods


@dataclass(frozen=True)
class Selection:
    """What the user asked for, names resolved.

    Attributes:
        methods: names of the registry.
        datasets: where the probes are trained and tested.
        seeds: of pretraining.
        probes: freeze points, as typed; () is none at all.
        pretrain_on: data set of pretraining; None is each probe's own.
        probe_seeds: so many probe seeds for each pretraining; None is one, equal to the pretraining's.
        backbone: name of the network.
        preset: smoke, quick or full.
        protocol: paper, clean or reference.
        settings: of `--set`, typed.
        skip_corrupt: leave out images that cannot be decoded.
        drop_leaks: leave out training images that are in the test split too.
        evaluations: names of the registry; each pretraining gets those that apply to its method.
        weights: evaluation -> the file of weights that it needs; "backbone" -> that of `given`.
        given: weights that the backbones of methods take that can; None has them pretrained here.
    """

    methods: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...] = (0,)
    probes: tuple[str, ...] = ("all",)
    pretrain_on: str | None = None
    probe_seeds: int | None = None
    backbone: str = "resnet9"
    preset: str = DEFAULT_PRESET
    protocol: str = "paper"
    settings: Mapping[str, Any] = field(default_factory=dict)
    skip_corrupt: bool = False
    drop_leaks: bool = False
    evaluations: tuple[str, ...] = ()
    weights: Mapping[str, Weights] = field(default_factory=dict)
    given: Given | None = None


@dataclass(frozen=True)
class Cell:
    """One pretraining, probe or evaluation.

    Attributes:
        config: its whole configuration.
        source: the data set as the user named it, by which it is loaded.
    """

    config: dict[str, Any]
    source: str

    @cached_property
    def id(self) -> str:
        """Hash of the configuration."""
        return config_id(self.config)

    @property
    def kind(self) -> str:
        """One of "pretrain", "probe" and "evaluate"."""
        return self.config["kind"]

    @property
    def method(self) -> str:
        """Name of the method."""
        return pretraining(self.config)["method"]

    @property
    def label(self) -> str:
        """What a person calls it."""
        return label(self.config)


def label(config: Mapping[str, Any]) -> str:
    """What a person calls a cell, such as "patchvae cifar100 seed 0 conv1-5".

    Settings of the method that are not its defaults follow its name, "patchvae (num_parts=8) cifar100 ...", and so
    does where its weights are from.
    """
    name, pretrain = typed_name(config["dataset"]), pretraining(config)
    taken = [title(pretrain["weights"])] if pretrain.get("weights") else []
    changed = ",".join([*changed_settings(pretrain), *taken])
    words = [pretrain["method"], *([f"({changed})"] if changed else []), name, "seed", str(pretrain["seed"])]
    if config["kind"] == "pretrain":
        return " ".join([*words, "pretrain"])
    if pretrain["dataset"] != config["dataset"]:
        words.append(f"from {typed_name(pretrain['dataset'])}")
    if config["kind"] == "evaluate":
        return " ".join([*words, config["evaluation"]])
    words.append(config["freeze"] if config["freeze"] != "none" else "end to end")
    if config["seed"] != pretrain["seed"]:
        words.append(f"probe seed {config['seed']}")
    return " ".join(words)


@dataclass(frozen=True)
class Group:
    """A pretraining and the probes and evaluations that need it: they run together, in this order."""

    pretrain: Cell
    dependents: tuple[Cell, ...]

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All of them."""
        return (self.pretrain, *self.dependents)


@dataclass(frozen=True)
class Plan:
    """All cells of a selection, each once, in the order in which they are run.

    Attributes:
        groups: seed by seed, so that what is there early already compares all methods.
        located: data set as named -> what `bench.data.registry.locate` found.
    """

    groups: tuple[Group, ...]
    located: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> Iterator[Cell]:
        """Every cell."""
        for group in self.groups:
            yield from group.cells

    def __len__(self) -> int:
        return sum(len(group.cells) for group in self.groups)


def shared_splits(groups: Iterable[Group], ids: Collection[str]) -> dict[tuple[str, str], None]:
    """Data sets as (pretrained on, probed on), of cells that are to be computed, each pair once.

    Args:
        groups: of a plan.
        ids: of the cells to compute.
    """
    return dict.fromkeys(
        (group.pretrain.source, cell.source)
        for group in groups
        for cell in group.dependents
        if (cell.id in ids or group.pretrain.id in ids) and group.pretrain.config["train"]["epochs"]
    )


def make_plan(selection: Selection, root: Path | None = None, shelf: Sources | None = None) -> Plan:
    """The cells of a selection.

    Args:
        selection: what was asked for.
        root: folder of the data sets.
        shelf: what is known of them already, where several plans are made.

    Raises:
        UsageError: a data set is missing, a freeze point unknown, a value refused. Nothing was written.
    """
    points = freeze_points(selection.backbone)
    freezes = select("freeze point", selection.probes, points) if selection.probes else []
    origins = (selection.pretrain_on,) if selection.pretrain_on else ()
    names: list[str] = list(dict.fromkeys(origins + selection.datasets))
    shelf = shelf or Sources(root, selection.skip_corrupt, selection.drop_leaks)
    located = {name: shelf.locate(name) for name in names}
    sources = {name: shelf.source(name) for name in names}
    stride = backbone_stride(selection.backbone)
    for source in sources.values():
        if source.image_size and source.image_size < stride:
            raise UsageError(
                f"{source.name}: images of {source.image_size} pixels are smaller than the stride of"
                f" {selection.backbone}, {stride} pixels"
            )
    for name in origins or selection.datasets:
        size = sources[name].image_size
        decoding = [m for m in selection.methods if methods.spec(m).decoder]
        if decoding and points == (WHOLE,):
            raise UsageError(
                f"{decoding[0]} rebuilds images from maps, and {selection.backbone} is no sequence of stages that"
                " gives any: choose a CNN, or random and supervised"
            )
        if decoding and size and size % stride:
            raise UsageError(
                f"{name}: {decoding[0]} rebuilds its images, so their {size} pixels must be a multiple of the stride"
                f" of {selection.backbone}, {stride} pixels"
            )
    for name in selection.evaluations:
        if evaluations.spec(name).weights and name not in selection.weights:
            raise UsageError(f"evaluation {name!r} needs a file of weights")
    dependents: dict[str, dict[str, Cell]] = {}
    pretrains: dict[str, Cell] = {}
    for seed in selection.seeds:
        for name in selection.datasets:
            for method in selection.methods:
                origin = shelf.origin(selection.pretrain_on or name, name)
                pretrain = _pretrain(selection, method, origin, seed)
                pretrains.setdefault(pretrain.id, pretrain)
                mine = dependents.setdefault(pretrain.id, {})
                for cell in _probes(selection, pretrain, sources[name], freezes, seed):
                    mine.setdefault(cell.id, cell)
                for cell in _evaluations(selection, pretrain, sources[name]):
                    mine.setdefault(cell.id, cell)
    groups = tuple(Group(cell, tuple(dependents[key].values())) for key, cell in pretrains.items())
    return Plan(groups, located)


def _pretrain(selection: Selection, method: str, source: Source, seed: int) -> Cell:
    config = pretrain_config(
        method,
        source.identity,
        image_size=source.image_size,
        flip=source.flip,
        seed=seed,
        backbone=selection.backbone,
        protocol=selection.protocol,
        preset=selection.preset,
        settings=selection.settings,
        weights=None if selection.given is None else selection.given.identity,
    )
    return Cell(config, source.name)


def _probes(
    selection: Selection, pretrain: Cell, source: Source, freezes: list[str], seed: int
) -> Iterator[Cell]:
    end_to_end = methods.spec(pretrain.method).end_to_end
    seeds = [seed] if selection.probe_seeds is None else range(selection.probe_seeds)
    for probe_seed in seeds:
        for freeze in ["none"] if end_to_end and freezes else freezes:
            config = probe_config(
                pretrain.config,
                source.identity,
                image_size=source.image_size,
                flip=source.flip,
                seed=probe_seed,
                freeze=freeze,
                protocol=selection.protocol,
                preset=selection.preset,
                settings=selection.settings,
            )
            yield Cell(config, source.name)


def _evaluations(selection: Selection, pretrain: Cell, source: Source) -> Iterator[Cell]:
    method, size = methods.spec(pretrain.method), pretrain.config["image_size"]
    for name in selection.evaluations:
        row = evaluations.spec(name)
        if row.applies(method) and (not row.whole or size == source.image_size):
            settings = dict(selection.settings)
            if row.weights:
                settings[f"{name}.weights_sha256"] = selection.weights[name].sha256
            config = evaluate_config(
                pretrain.config,
                source.identity,
                image_size=source.image_size,
                evaluation=name,
                protocol=selection.protocol,
                settings=settings,
            )
            yield Cell(config, source.name)


def pretraining(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration of a cell's pretraining, which may be the cell itself."""
    return config if config["kind"] == "pretrain" else config["pretrain"]


def states(
    plan: Plan, results: Path, on_broken: Callable[[str], None] | None = None
) -> dict[str, tuple[State, Run | None]]:
    """Which cells are new, running, interrupted, failed or done, by id.

    Args:
        plan: the cells.
        results: the results folder.
        on_broken: called with a line for every file that cannot be read; None warns of each once.
    """
    on_broken = on_broken or Once()
    found: dict[str, tuple[State, Run | None]] = {}
    for cell in plan.cells:
        run = load_run(results, cell.id, on_broken)
        found[cell.id] = ("new", None) if run is None else (run.state, run)
    return found
