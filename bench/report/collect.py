"""Runs sorted into panels: what may stand in one table, in one row, in one cell.

Everything in a configuration but the method, its settings, the freeze point and the seeds tells panels apart:
a mean never mixes protocols, schedules, backbones or pretraining data. Two kinds of rows join every panel
that probes as they do: controls, which pretraining does not touch, and a labelled pretraining on another data
set (the paper's "Imagenet Pretrained"), which says so in its label.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.config import canonical, variant
from bench.records import Run
from bench.report.model import RowGroup
from bench.stats import Scores, SeedPair
from models.registry import METHODS, MethodSpec

END_TO_END = "none"
_UNKNOWN = MethodSpec("", "", "", object)

CellKey = tuple[str, SeedPair]
"""(freeze point, seeds)."""


@dataclass
class RowRuns:
    """The runs of one row: probes by freeze point and seeds, pretrainings by seed, evaluations by name and seed."""

    method: str
    label: str
    variant: str
    group: RowGroup
    pretrain: dict[str, Any]
    probes: dict[CellKey, Run] = field(default_factory=dict)
    pretrains: dict[int, Run] = field(default_factory=dict)
    evaluations: dict[tuple[str, int], Run] = field(default_factory=dict)


@dataclass
class Panel:
    """What one table shows. `probe` and `pretrain` are configurations that all its runs agree with."""

    probe: dict[str, Any]
    pretrain: dict[str, Any]
    rows: dict[str, RowRuns] = field(default_factory=dict)

    def all_runs(self) -> list[Run]:
        """Every run in it, probes first."""
        probes = [run for row in self.rows.values() for run in row.probes.values()]
        return probes + [run for row in self.rows.values() for run in row.pretrains.values()]


def spec(method: str) -> MethodSpec:
    """The registry's row, or an empty one for a method that is not installed here."""
    return METHODS.get(method, _UNKNOWN)


def own_pretraining(pretrain: dict[str, Any], dataset: dict[str, Any]) -> bool:
    """Whether a pretraining belongs to one panel only (see the module's text)."""
    row = spec(pretrain["method"])
    return row.trained and not (row.labels and pretrain["dataset"] != dataset)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in names}


def _train_key(pretrain: dict[str, Any]) -> str:
    return _key(_without(pretrain, "method", "method_version", "method_config", "seed"))


def _probe_key(probe: dict[str, Any]) -> str:
    settings = probe["probe"]
    if spec(probe["pretrain"]["method"]).end_to_end:
        settings = _without(settings, "bn_affine", "frozen_bn")
    rest = _without(probe, "pretrain", "pretrain_id", "freeze", "seed", "probe")
    return _key([rest, settings, probe["pretrain"]["backbone"]])


def _loose_probe_key(probe: dict[str, Any]) -> str:
    """The probe's key without what only frozen layers care about: what an end-to-end row is matched on."""
    rest = _without(probe, "pretrain", "pretrain_id", "freeze", "seed", "probe")
    return _key([rest, _without(probe["probe"], "bn_affine", "frozen_bn"), probe["pretrain"]["backbone"]])


def _row_key(pretrain: dict[str, Any], dataset: dict[str, Any]) -> str:
    key: list[Any] = [pretrain["method"], pretrain["method_version"], pretrain["method_config"]]
    if spec(pretrain["method"]).trained and not own_pretraining(pretrain, dataset):
        key.append(_train_key(pretrain))
    return _key(key)


def dataset_title(identity: dict[str, Any]) -> str:
    """A data set's name for readers."""
    from bench.data import registry
    from bench.errors import BenchError

    name = str(identity["name"])
    try:
        title = registry.spec(name).title
    except (BenchError, KeyError):
        title = name
    listing = identity.get("listing")
    return f"{title} ({listing[:8]})" if listing else title


def _group(row: MethodSpec) -> RowGroup:
    if row.control:
        return "controls"
    return "labelled" if row.labels else "methods"


def _label(pretrain: dict[str, Any], dataset: dict[str, Any], own_variant: str) -> str:
    row = spec(pretrain["method"])
    label = row.title or pretrain["method"]
    if row.trained and row.labels and pretrain["dataset"] != dataset:
        epochs = pretrain["train"]["epochs"]
        label += f" on {dataset_title(pretrain['dataset'])}, {epochs} epoch{'s' * (epochs != 1)}"
    return f"{label} [{own_variant}]" if own_variant else label


def _new_row(pretrain: dict[str, Any], dataset: dict[str, Any], full_variant: str) -> RowRuns:
    own = ",".join(
        part for part in full_variant.split(",") if part and not part.startswith(("pretrain.", "probe."))
    )
    group = _group(spec(pretrain["method"]))
    return RowRuns(pretrain["method"], _label(pretrain, dataset, own), own, group, pretrain)


def _order(run: Run, panel: Panel) -> tuple[bool, bool, str]:
    pretrain = run.config["pretrain"] if run.config["kind"] == "probe" else run.config
    return run.result is None, pretrain["dataset"] != panel.pretrain["dataset"], run.id


def _add(panel: Panel, run: Run, config: dict[str, Any], pretrains: dict[str, Run]) -> None:
    pretrain, dataset = config["pretrain"], config["dataset"]
    key = _row_key(pretrain, dataset)
    if key not in panel.rows:
        panel.rows[key] = _new_row(pretrain, dataset, variant(config))
    row = panel.rows[key]
    cell = (config["freeze"], (pretrain["seed"], config["seed"]))
    if cell not in row.probes or _order(run, panel) < _order(row.probes[cell], panel):
        row.probes[cell] = run
    if (parent := pretrains.get(config["pretrain_id"])) is not None:
        row.pretrains.setdefault(pretrain["seed"], parent)


def _position(row: RowRuns) -> tuple[int, int, str, str]:
    groups = ("methods", "labelled", "controls")
    names = list(METHODS)
    place = names.index(row.method) if row.method in names else len(names)
    return groups.index(row.group), place, row.variant, row.label


def _tell_apart(rows: Iterable[RowRuns]) -> None:
    """Give rows that would read the same the version of their method, else a number."""
    seen: dict[str, list[RowRuns]] = {}
    for row in rows:
        seen.setdefault(row.label, []).append(row)
    for twins in seen.values():
        versions = {row.pretrain["method_version"] for row in twins}
        for number, row in enumerate(twins if len(twins) > 1 else (), start=1):
            mark = (
                f"version {row.pretrain['method_version']}" if len(versions) == len(twins) else f"#{number}"
            )
            row.label += f" ({mark})"


def panels(runs: Iterable[Run]) -> tuple[list[Panel], list[Run]]:
    """Sort runs into panels.

    Returns:
        the panels, by data set, protocol and setting; and the pretrainings that no panel shows.
    """
    runs = list(runs)
    pretrains = {run.id: run for run in runs if run.config["kind"] == "pretrain"}
    probes = [(run, json.loads(canonical(run.config))) for run in runs if run.config["kind"] == "probe"]
    own = [(run, c) for run, c in probes if own_pretraining(c["pretrain"], c["dataset"])]
    joining = [(run, c) for run, c in probes if not own_pretraining(c["pretrain"], c["dataset"])]
    found: dict[tuple[str, str], Panel] = {}
    by_probe: dict[str, list[Panel]] = {}

    def open_panel(config: dict[str, Any], keys: tuple[str, str]) -> Panel:
        if keys not in found:
            found[keys] = Panel(config, config["pretrain"])
            for key in {keys[0], _loose_probe_key(config)}:
                by_probe.setdefault(key, []).append(found[keys])
        return found[keys]

    for run, config in own:
        panel = open_panel(config, (_probe_key(config), _train_key(config["pretrain"])))
        _add(panel, run, config, pretrains)
    # Rows with frozen layers first: an end-to-end row then finds the panels that they opened.
    joining.sort(key=lambda pair: spec(pair[1]["pretrain"]["method"]).end_to_end)
    for run, config in joining:
        key = _probe_key(config)
        for panel in by_probe.get(key) or [open_panel(config, (key, ""))]:
            _add(panel, run, config, pretrains)

    shown = {id(run) for panel in found.values() for run in panel.all_runs()}
    idle = []
    for run in pretrains.values():
        if id(run) not in shown and not _attach(run, found):
            idle.append(run)
    ordered = sorted(found.items(), key=lambda item: _panel_order(item[1], item[0]))
    for _, panel in ordered:
        panel.rows = dict(sorted(panel.rows.items(), key=lambda item: (_position(item[1]), item[0])))
        _tell_apart(panel.rows.values())
    return [panel for _, panel in ordered], idle


def _attach(run: Run, found: dict[tuple[str, str], Panel]) -> bool:
    """Show a pretraining without probes in the panels where its probes would be."""
    config = json.loads(canonical(run.config))
    if not spec(config["method"]).trained:
        return False
    hit = False
    for (_, train_key), panel in found.items():
        if train_key == _train_key(config):
            dataset = panel.probe["dataset"]
            row = panel.rows.setdefault(_row_key(config, dataset), _new_row(config, dataset, variant(config)))
            row.pretrains.setdefault(config["seed"], run)
            hit = True
    return hit


def _panel_order(panel: Panel, keys: tuple[str, str]) -> tuple[Any, ...]:
    from bench.data.registry import DATASETS

    names = list(DATASETS)
    name = panel.probe["dataset"]["name"]
    protocols = ("paper", "clean", "reference")
    protocol = panel.probe["protocol"]
    return (
        names.index(name) if name in names else len(names),
        name,
        protocols.index(protocol) if protocol in protocols else len(protocols),
        panel.pretrain["backbone"],
        -panel.pretrain["train"]["epochs"],
        -panel.probe["probe"]["epochs"],
        *keys,
    )


def cell_runs(row: RowRuns, freeze: str) -> dict[SeedPair, Run]:
    """The probes of a row at a freeze point; an end-to-end row has the same at every one."""
    return {pair: run for (point, pair), run in row.probes.items() if point in (freeze, END_TO_END)}


def top1(run: Run, rule: str) -> float | None:
    """A probe's accuracy under a rule; None while it has none."""
    value = ((run.result or {}).get("rules") or {}).get(rule) or {}
    number = value.get("top1")
    return float(number) if isinstance(number, int | float) else None


def scores_of(runs: Mapping[SeedPair, Run], rule: str) -> Scores:
    """The accuracies of those probes that have one under a rule."""
    found = {pair: top1(run, rule) for pair, run in runs.items()}
    return {pair: value for pair, value in found.items() if value is not None}
