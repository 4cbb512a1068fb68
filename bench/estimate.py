"""How long a cell will take, before it runs: from finished cells like it, else from a rough table. No torch.

A cell's time is that of its images: a pretraining's are seen once an epoch, a probe's once for the features and once
an epoch, an evaluation's once. What finished cells spent an image is scaled to the epochs and images of the one asked
for; an evaluation's whole time tells another's on the same data set, whatever the method.
"""

import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench.data import registry as datasets
from bench.errors import BenchError
from bench.evaluations.registry import EVALUATIONS
from bench.plan import Cell, pretraining
from bench.records import Once, Run, load_run

DeviceKind = Literal["cpu", "gpu"]
# Of each kind of cell so many finished ones are averaged, and so many runs are looked at to find them.
ENOUGH, LOOK_AT = 3, 2000
# Where no reader knows how many images there are.
NUM_TRAIN = 10_000
# What a cell needs beside its images: building a network, writing a result.
CELL_SECONDS = 1.0
# What a job needs before its first cell: mostly importing torch from a shared file system.
JOB_SECONDS = 20.0

# Images a second at 32 pixels with the resnet9 that the paper's methods share: one thread of a server's processor,
# and a guess of a GPU. They fall with the square of the size. Order of magnitude, no more.
ROUGH: Mapping[str, Mapping[DeviceKind, float]] = {
    "pretrain": {"cpu": 350.0, "gpu": 8_000.0},
    "features": {"cpu": 3_000.0, "gpu": 50_000.0},
    "none": {"cpu": 600.0, "gpu": 10_000.0},
    "conv1": {"cpu": 800.0, "gpu": 12_000.0},
    "conv1-3": {"cpu": 1_600.0, "gpu": 20_000.0},
    "other": {"cpu": 10_000.0, "gpu": 50_000.0},
    "evaluate": {"cpu": 250.0, "gpu": 5_000.0},
}
# A method that takes two phases a step, or another method's, in units of a plain autoencoder's.
ROUGH_COST: Mapping[str, float] = {"gan": 3.0, "supervised": 0.5}

Key = tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """What one finished cell spent: seconds an image of training, seconds an image of computing features.

    Of an evaluation, all of its seconds.
    """

    train: float
    features: float


def key_of(config: Mapping[str, Any]) -> Key:
    """What must agree for one cell's time to tell another's, the device apart."""
    pretrain = pretraining(config)
    if config["kind"] == "evaluate":
        return ("evaluate", config["evaluation"], pretrain["backbone"], str(config["dataset"]))
    words = (config["kind"], pretrain["method"], pretrain["backbone"], str(config["image_size"]))
    return (*words, config.get("freeze", ""))


def device_kind(name: str) -> DeviceKind:
    """A GPU or a processor, by what a device calls itself in a run's provenance."""
    marks = ("cuda", "nvidia", "tesla", "geforce", "quadro", "instinct", "radeon")
    return "gpu" if name.lower().startswith(marks) or "instinct" in name.lower() else "cpu"


def where_run(run: Run) -> DeviceKind:
    """The kind of place in which a run was computed: a job that was given a GPU is one, whatever torch saw of it."""
    given = (run.provenance.get("scheduler") or {}).get("gpus")
    return "gpu" if given else device_kind(str(run.provenance.get("device", "")))


def _epochs(config: Mapping[str, Any]) -> int:
    group = {"pretrain": "train", "probe": "probe"}.get(config["kind"])
    return 1 if group is None else int(config[group]["epochs"])


class Estimator:
    """Predicts the seconds of cells.

    Args:
        kind: the device on which they will run.
        located: data set as named -> what `bench.data.registry.locate` found.
    """

    def __init__(self, kind: DeviceKind, located: Mapping[str, Any] | None = None) -> None:
        self.kind: DeviceKind = kind
        self.located = located or {}
        self.rates: dict[Key, list[Rate]] = {}
        self.num_train: dict[str, int] = {}
        self._told: Counter[bool] = Counter()
        self._used: set[Key] = set()

    def learn(self, run: Run) -> None:
        """Take a finished run into account; one that is not, or ran on another device, tells nothing."""
        result, config = run.result, run.config
        epochs = _epochs(config)
        if result is None or not epochs:
            return
        key = key_of(config)
        if len(self.rates.get(key, ())) >= ENOUGH:
            return
        if where_run(run) != self.kind:
            return
        try:
            if config["kind"] == "evaluate":
                self.rates.setdefault(key, []).append(Rate(float(result["seconds"]), 0.0))
                return
            rate, seconds = float(result["images_per_second"]), float(result["seconds"])
            images = rate * seconds
            settings = config["train" if config["kind"] == "pretrain" else "probe"]
            if not settings.get("epoch_images") and not settings.get("holdout"):
                self.num_train.setdefault(str(config["dataset"]), round(images / epochs))
            features = float(result.get("feature_seconds") or 0.0) / (images / epochs)
            self.rates.setdefault(key, []).append(Rate(1 / rate, features))
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            # A result of an older version: it tells nothing.
            return

    def images(self, cell: Cell) -> int:
        """Images that an epoch of a cell sees."""
        config = cell.config
        if config["kind"] == "pretrain" and config["train"].get("epoch_images"):
            return int(config["train"]["epoch_images"])
        known = self.num_train.get(str(config["dataset"]))
        if known:
            return known
        try:
            number = datasets.spec(cell.source).num_train
        except BenchError:
            number = None
        files = (self.located.get(cell.source) or {}).get("files")
        return number or (int(0.8 * files) if files else NUM_TRAIN)

    def seconds(self, cell: Cell) -> float:
        """Predicted seconds of a cell, from its start to its result."""
        epochs, key = _epochs(cell.config), key_of(cell.config)
        if not epochs:
            return CELL_SECONDS
        known = self.rates.get(key)
        if known:
            self._used.add(key)
            rate = Rate(statistics.mean(r.train for r in known), statistics.mean(r.features for r in known))
        else:
            rate = self._rough(cell)
        self._told[bool(known)] += 1
        if known and cell.kind == "evaluate":
            return CELL_SECONDS + rate.train
        return CELL_SECONDS + self.images(cell) * (epochs * rate.train + rate.features)

    def _rough(self, cell: Cell) -> Rate:
        config = cell.config
        scale = ((config["image_size"] or 64) / 32) ** 2
        features = 0.0
        if config["kind"] == "pretrain":
            row = "pretrain"
            scale *= next((cost for part, cost in ROUGH_COST.items() if part in cell.method), 1.0)
        elif config["kind"] == "evaluate":
            row, known = "evaluate", EVALUATIONS.get(config["evaluation"])
            scale *= known.cost if known is not None else 1.0
        else:
            row = config["freeze"] if config["freeze"] in ROUGH else "other"
            features = 0.0 if row == "none" else scale / ROUGH["features"][self.kind]
        return Rate(scale / ROUGH[row][self.kind], features)

    @property
    def basis(self) -> str:
        """Where the predictions so far come from."""
        number = sum(len(self.rates[key]) for key in self._used)
        learnt = (
            f"from {number} finished cells like them" if number != 1 else "from a finished cell like them"
        )
        rough = "a rough guess, as nothing like them has finished here"
        if not self._told[False]:
            return learnt if self._told[True] else "nothing to predict"
        if not self._told[True]:
            return rough
        return f"{self._told[True]} cells {learnt}, {self._told[False]} by a rough guess"


def make_estimator(
    results: Path,
    cells: Iterable[Cell],
    kind: DeviceKind,
    *,
    located: Mapping[str, Any] | None = None,
    known: Iterable[Run] = (),
    on_broken: Callable[[str], None] | None = None,
) -> Estimator:
    """An estimator that has looked for finished cells like some.

    Args:
        results: where finished cells are.
        cells: to predict.
        kind: the device on which they will run.
        located: see `Estimator`.
        known: runs that were read already.
        on_broken: see `bench.records.load_runs`.
    """
    estimator = Estimator(kind, located)
    wanted = {key_of(cell.config) for cell in cells if _epochs(cell.config)}
    seen: set[str] = set()

    def missing() -> bool:
        return any(len(estimator.rates.get(key, ())) < ENOUGH for key in wanted)

    for run in known:
        seen.add(run.id)
        if key_of(run.config) in wanted:
            estimator.learn(run)
    try:
        names = [entry.name for entry in os.scandir(results / "runs") if not entry.name.startswith(".")]
    except OSError:
        names = []
    for name in names[:LOOK_AT]:
        if not missing():
            break
        run = None if name in seen else load_run(results, name, on_broken or Once())
        if run is not None and key_of(run.config) in wanted:
            estimator.learn(run)
    return estimator
