"""What a table is made of: panels of runs that may stand side by side, their rows, a run's number."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bench.config import variant
from bench.data.dropped import DROP_LEAKS
from bench.data.fractions import percentage, typed_name
from bench.protocols import PRESETS, PROTOCOLS, preset_epochs
from bench.records import Run
from bench.report.model import RowGroup
from bench.stats import Scores, SeedPair
from bench.studies.metrics import Metric
from models.registry import GIVEN, METHODS, MethodSpec

END_TO_END = "none"
_UNKNOWN = MethodSpec("", "", "", object)

CellKey = tuple[str, SeedPair]
"""(freeze point, seeds)."""


EvaluationKey = tuple[str, int]
"""(name of the evaluation, pretraining seed)."""


@dataclass
class RowRuns:
    """The runs of one row: its probes by freeze point and seeds, its pretrainings and evaluations by seed.

    `loops` is what was set in the pretraining loop of a row that was pretrained on another data set.
    """

    method: str
    label: str
    variant: str
    group: RowGroup
    pretrain: dict[str, Any]
    loops: str = ""
    probes: dict[CellKey, Run] = field(default_factory=dict)
    pretrains: dict[int, Run] = field(default_factory=dict)
    evaluations: dict[EvaluationKey, Run] = field(default_factory=dict)

    def all_runs(self) -> list[Run]:
        """Every run in it, probes first."""
        return [*self.probes.values(), *self.evaluations.values(), *self.pretrains.values()]


@dataclass
class Panel:
    """What may stand side by side: one data set under one setting.

    Attributes:
        dataset: identity of the data set that is probed.
        image_size: in pixels.
        pretrain: a pretraining's configuration with which all others agree in what tells panels apart.
        probe: the same of a probe; None where nothing was probed.
        protocol: of the probes; where there are none, the one whose input the evaluations had.
        rows: by what tells them apart.
        left_out: a line for evaluations that have other settings than those that are shown.
    """

    dataset: dict[str, Any]
    image_size: int
    pretrain: dict[str, Any]
    probe: dict[str, Any] | None
    protocol: str
    rows: dict[str, RowRuns] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)

    def all_runs(self) -> list[Run]:
        """Every run in it."""
        return [run for row in self.rows.values() for run in row.all_runs()]

    @property
    def name(self) -> str:
        """The data set as the user types it."""
        return typed_name(self.dataset)

    @property
    def backbone(self) -> str:
        """Name of the network."""
        return self.pretrain["backbone"]

    @property
    def home(self) -> bool:
        """Whether nothing was pretrained on another data set than the one that is probed."""
        return self.pretrain["dataset"] == self.dataset or not self.pretrain["train"]["epochs"]

    @property
    def title(self) -> str:
        """Of the data set, with what was pretrained on where that is another."""
        name = dataset_title(self.dataset)
        return name if self.home else f"{name}, pretrained on {dataset_title(self.pretrain['dataset'])}"

    @property
    def changed(self) -> str:
        """What a user set in the loops, in the keys of `--set`."""
        parts = variant(self.probe or self.pretrain).split(",")
        return ", ".join(part for part in parts if part.startswith(("pretrain.", "probe.")))

    @property
    def epochs(self) -> tuple[int | None, int | None]:
        """Of pretraining and of probing; None where there was none."""
        train = self.pretrain["train"]["epochs"] or None
        return train, None if self.probe is None else self.probe["probe"]["epochs"]

    @property
    def schedule(self) -> str:
        """The preset that has these epochs of this data set, else the epochs themselves, such as "2+3"."""
        train, probe = self.epochs
        for preset in PRESETS:
            wanted = preset_epochs(preset, str(self.dataset["name"]))
            if all(ours in (None, theirs) for ours, theirs in zip((train, probe), wanted, strict=True)):
                return preset
        return "+".join("–" if number is None else str(number) for number in (train, probe))


def spec(method: str) -> MethodSpec:
    """The registry's row, or an empty one for a method that is not installed here."""
    return GIVEN if method == GIVEN.name else METHODS.get(method, _UNKNOWN)


def dataset_title(identity: dict[str, Any]) -> str:
    """A data set's name for readers."""
    from bench.data import registry
    from bench.errors import BenchError

    name = str(identity["name"])
    try:
        title = registry.spec(name).title
    except (BenchError, KeyError):
        title = name
    if part := percentage(identity):
        title += f" ({part})"
    if identity.get(DROP_LEAKS):
        title += " without leaks"
    listing = identity.get("listing")
    return f"{title} ({listing[:8]})" if listing else title


def depth(freeze: str) -> int:
    """How deep a freeze point lies; by it columns are ordered."""
    numbers = re.findall(r"\d+", freeze)
    return int(numbers[-1]) if numbers else 1_000_000


def freeze_title(freeze: str) -> str:
    """A freeze point as the paper writes it."""
    if freeze == END_TO_END:
        return "End to end"
    if match := re.fullmatch(r"conv(\d+)-(\d+)", freeze):
        return f"Conv[{match[1]}-{match[2]}]"
    if match := re.fullmatch(r"(conv|stage)(\d+)", freeze):
        return f"{match[1].capitalize()}{match[2]}"
    return freeze


def default_rule(panel: Panel) -> str:
    """The rule of a panel's protocol; probes with a holdout know only `val`."""
    if panel.probe is not None and panel.probe["probe"]["holdout"]:
        return "val"
    protocol = PROTOCOLS.get(panel.protocol)
    return protocol.rule if protocol is not None and protocol.rule != "val" else "last"


def cell_runs(row: RowRuns, freeze: str | None, metric: Metric) -> dict[SeedPair, Run]:
    """The runs of a row that have a column's number; an end-to-end row has the same at every freeze point."""
    if not metric.probed:
        return {(seed, seed): run for (name, seed), run in row.evaluations.items() if name == metric.source}
    return {pair: run for (point, pair), run in row.probes.items() if point in (freeze, END_TO_END)}


def value_of(run: Run, rule: str, metric: Metric) -> float | None:
    """A run's number, as records hold it; None while it has none, or where what came out is not finite.

    Args:
        run: a probe, or an evaluation.
        rule: of a probe.
        metric: what is asked for.
    """
    result = run.result or {}
    found = (result.get("rules") or {}).get(rule) if metric.probed else result.get("metrics")
    number = (found or {}).get(metric.name)
    return float(number) if isinstance(number, int | float) and math.isfinite(number) else None


def scores_of(runs: Mapping[SeedPair, Run], rule: str, metric: Metric) -> Scores:
    """The numbers of those runs that have one."""
    found = {pair: value_of(run, rule, metric) for pair, run in runs.items()}
    return {pair: value for pair, value in found.items() if value is not None}
