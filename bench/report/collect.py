"""Runs sorted into panels: what may stand in one column, in one row, in one cell.

Everything in a configuration but the method, its settings, the freeze point and the seeds tells panels apart:
a mean never mixes protocols, schedules, backbones or pretraining data. Three kinds of rows join every panel
that probes as they do: controls, which pretraining does not touch; a labelled pretraining on another data
set (the paper's "Imagenet Pretrained") and weights from elsewhere, which say so in their labels. An evaluation stands
in every panel that has its pretraining in it, and opens one where nobody has probed that pretraining.
"""

import json
from collections.abc import Iterable
from typing import Any

from bench.config import own_scale, stripped, variant
from bench.given import title
from bench.protocols import PROTOCOLS, ProbeSettings
from bench.records import Run
from bench.report.evaluated import Evaluations
from bench.report.model import RowGroup
from bench.report.panel import Panel, RowRuns, dataset_title, spec
from models.registry import METHODS, MethodSpec


def own_pretraining(pretrain: dict[str, Any], dataset: dict[str, Any]) -> bool:
    """Whether a pretraining belongs to one panel only (see the module's text)."""
    row = spec(pretrain["method"])
    return row.trained and "weights" not in pretrain and not (row.labels and pretrain["dataset"] != dataset)


def _key(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _without(config: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in config.items() if k not in names}


def _train_key(pretrain: dict[str, Any]) -> str:
    return _key(_without(pretrain, "method", "method_version", "method_config", "seed"))


def _probe_key(probe: dict[str, Any]) -> str:
    settings = _as_protocol(probe)
    if spec(probe["pretrain"]["method"]).end_to_end:
        settings = _without(settings, "bn_affine", "frozen_bn")
    rest = _without(probe, "pretrain", "pretrain_id", "freeze", "seed", "probe")
    return _key([rest, settings, probe["pretrain"]["backbone"]])


def _loose_probe_key(probe: dict[str, Any]) -> str:
    """The probe's key without what only frozen layers care about: what an end-to-end row is matched on."""
    rest = _without(probe, "pretrain", "pretrain_id", "freeze", "seed", "probe")
    return _key(
        [rest, _without(_as_protocol(probe), "bn_affine", "frozen_bn"), probe["pretrain"]["backbone"]]
    )


def _as_protocol(probe: dict[str, Any]) -> dict[str, Any]:
    """A probe's settings; weights from elsewhere stand beside others, though their input has a scale of its own."""
    settings = probe["probe"]
    if own_scale(probe["pretrain"]) != {"scale": settings["scale"]}:
        return settings
    return {**settings, "scale": _protocol_scale(probe["protocol"])}


def _row_key(pretrain: dict[str, Any], dataset: dict[str, Any]) -> str:
    key: list[Any] = [pretrain["method"], pretrain["method_version"], pretrain["method_config"]]
    if spec(pretrain["method"]).trained and not own_pretraining(pretrain, dataset):
        key.append(_train_key(pretrain))
    if "weights" in pretrain:
        key.append(pretrain["weights"])
    return _key(key)


def _group(row: MethodSpec) -> RowGroup:
    if row.control:
        return "controls"
    return "labelled" if row.labels or row.takes_weights else "methods"


def _label(pretrain: dict[str, Any], dataset: dict[str, Any], own_variant: str, scale: str) -> str:
    row = spec(pretrain["method"])
    label = row.title or pretrain["method"]
    if "weights" in pretrain:
        label += f": {title(pretrain['weights'], scale)}"
    elif row.trained and row.labels and pretrain["dataset"] != dataset:
        epochs = pretrain["train"]["epochs"]
        label += f" on {dataset_title(pretrain['dataset'])}, {epochs} epoch{'s' * (epochs != 1)}"
    return f"{label} [{own_variant}]" if own_variant else label


def _new_row(pretrain: dict[str, Any], panel: Panel, full_variant: str) -> RowRuns:
    dataset = panel.dataset
    parts = [part for part in full_variant.split(",") if part]
    own = ",".join(part for part in parts if not part.startswith(("pretrain.", "probe.")))
    foreign = spec(pretrain["method"]).trained and not own_pretraining(pretrain, dataset)
    loops = ",".join(part for part in parts if foreign and part.startswith("pretrain."))
    named = ",".join(part for part in (own, loops) if part)
    group = _group(spec(pretrain["method"]))
    return RowRuns(
        pretrain["method"], _label(pretrain, dataset, named, _scale(panel)), own, group, pretrain, loops
    )


def _order(run: Run, panel: Panel) -> tuple[bool, bool, str]:
    pretrain = run.config.get("pretrain", run.config)
    return run.result is None, pretrain["dataset"] != panel.pretrain["dataset"], run.id


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


class _Desk:
    """Panels under way."""

    def __init__(self, pretrains: dict[str, Run]) -> None:
        self.pretrains = pretrains
        self.found: dict[tuple[str, str], Panel] = {}
        self.by_probe: dict[str, list[Panel]] = {}
        self.by_pretrain: dict[str, list[tuple[Panel, RowRuns]]] = {}
        self.evaluations = Evaluations()

    def open(self, config: dict[str, Any], keys: tuple[str, str]) -> Panel:
        """The panel of a probe."""
        if keys not in self.found:
            self.found[keys] = Panel(
                config["dataset"], config["image_size"], config["pretrain"], config, config["protocol"]
            )
            for key in {keys[0], _loose_probe_key(config)}:
                self.by_probe.setdefault(key, []).append(self.found[keys])
        return self.found[keys]

    def place_probe(self, run: Run, config: dict[str, Any]) -> None:
        """Put a probe where it belongs."""
        pretrain = config["pretrain"]
        if own_pretraining(pretrain, config["dataset"]):
            targets = [self.open(config, (_probe_key(config), _train_key(pretrain)))]
        else:
            key = _probe_key(config)
            targets = self.by_probe.get(key) or [self.open(config, (key, ""))]
        for panel in targets:
            row = self.row(panel, config, config)
            cell = (config["freeze"], (pretrain["seed"], config["seed"]))
            if cell not in row.probes or _order(run, panel) < _order(row.probes[cell], panel):
                row.probes[cell] = run

    def row(self, panel: Panel, config: dict[str, Any], described: dict[str, Any]) -> RowRuns:
        """The row of what stands on a pretraining; a new one is told apart by the variant of `described`."""
        pretrain = config["pretrain"]
        key = _row_key(pretrain, panel.dataset)
        if key not in panel.rows:
            panel.rows[key] = _new_row(pretrain, panel, variant(described))
        row = panel.rows[key]
        places = self.by_pretrain.setdefault(config["pretrain_id"], [])
        if not any(one is panel for one, _ in places):
            places.append((panel, row))
        if (parent := self.pretrains.get(config["pretrain_id"])) is not None:
            row.pretrains.setdefault(pretrain["seed"], parent)
        return row

    def place_evaluation(self, run: Run, config: dict[str, Any]) -> None:
        """Put an evaluation beside the probes of its pretraining, or into a panel of its own."""
        dataset, pretrain = config["dataset"], config["pretrain"]
        # An evaluation of the whole method sees its images as pretraining did, whatever a probe does.
        scale = config["evaluate"].get("scale")
        places = [
            (panel, row)
            for panel, row in self.by_pretrain.get(config["pretrain_id"], [])
            if panel.dataset == dataset and (own_scale(pretrain) or scale in (None, _scale(panel)))
        ]
        for panel, row in places or self._unprobed(config, scale or pretrain["train"]["scale"]):
            self.evaluations.add(panel, row, run, config)

    def _unprobed(self, config: dict[str, Any], scale: str) -> list[tuple[Panel, RowRuns]]:
        """Where an evaluation stands whose pretraining nobody has probed on its data set."""
        pretrain, dataset = config["pretrain"], config["dataset"]
        keys = (
            _key([dataset, config["image_size"], scale, pretrain["backbone"]]),
            _train_key(pretrain),
        )
        fitting = [keys] if keys in self.found else []
        if not own_pretraining(pretrain, dataset):
            fitting = [known for known in self.found if known[0] == keys[0]]
        if not fitting:
            protocol = next((name for name in PROTOCOLS if _protocol_scale(name) == scale), "paper")
            self.found[keys] = Panel(dataset, config["image_size"], pretrain, None, protocol)
            fitting = [keys]
        return [(self.found[known], self.row(self.found[known], config, pretrain)) for known in fitting]


def _protocol_scale(protocol: str) -> str:
    return PROTOCOLS[protocol].probe.get("scale", ProbeSettings.scale)


def _scale(panel: Panel) -> str:
    return _protocol_scale(panel.protocol) if panel.probe is None else _as_protocol(panel.probe)["scale"]


def panels(runs: Iterable[Run]) -> tuple[list[Panel], list[Run]]:
    """Sort runs into panels.

    Returns:
        the panels, by data set, protocol and setting; and the pretrainings that no panel shows.
    """
    known = [(run, stripped(run.config)) for run in runs]
    kinds: dict[str, list[tuple[Run, dict[str, Any]]]] = {"pretrain": [], "probe": [], "evaluate": []}
    for run, config in known:
        kinds.setdefault(config["kind"], []).append((run, config))
    desk = _Desk({run.id: run for run, _ in kinds["pretrain"]})

    # Those with a panel of their own first, then rows with frozen layers: an end-to-end row finds their panels.
    def late(pair: tuple[Run, dict[str, Any]]) -> tuple[bool, bool]:
        pretrain = pair[1]["pretrain"]
        return not own_pretraining(pretrain, pair[1]["dataset"]), spec(pretrain["method"]).end_to_end

    for run, config in sorted(kinds["probe"], key=late):
        desk.place_probe(run, config)
    for run, config in sorted(kinds["evaluate"], key=late):
        desk.place_evaluation(run, config)
    desk.evaluations.settle()
    found = desk.found
    shown = {id(run) for panel in found.values() for run in panel.all_runs()}
    idle = [
        run for run, config in kinds["pretrain"] if id(run) not in shown and not _attach(run, config, found)
    ]
    ordered = sorted(found.items(), key=lambda item: _panel_order(item[1], item[0]))
    for _, panel in ordered:
        panel.rows = dict(sorted(panel.rows.items(), key=lambda item: (_position(item[1]), item[0])))
        _tell_apart(panel.rows.values())
    return [panel for _, panel in ordered], idle


def _attach(run: Run, config: dict[str, Any], found: dict[tuple[str, str], Panel]) -> bool:
    """Show a pretraining without probes in the panels where its probes would be."""
    if not spec(config["method"]).trained:
        return False
    hit = False
    for (_, train_key), panel in found.items():
        if train_key == _train_key(config):
            key = _row_key(config, panel.dataset)
            row = panel.rows.get(key) or _new_row(config, panel, variant(config))
            panel.rows[key] = row
            row.pretrains.setdefault(config["seed"], run)
            hit = True
    return hit


def _panel_order(panel: Panel, keys: tuple[str, str]) -> tuple[Any, ...]:
    from bench.data.registry import DATASETS

    names, protocols = list(DATASETS), list(PROTOCOLS)
    name = str(panel.dataset["name"])
    train, probe = panel.epochs
    return (
        names.index(name) if name in names else len(names),
        name,
        -float(panel.dataset.get("fraction", 1)),
        protocols.index(panel.protocol) if panel.protocol in protocols else len(protocols),
        panel.backbone,
        -(train or 0),
        -(probe or 0),
        *keys,
    )
