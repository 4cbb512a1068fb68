"""How long a cell will take, before it runs: from finished cells, from miniatures, else from a rough table. No torch.

A cell's time is that of its images: a pretraining's are seen once an epoch, a probe's once for the features, where
no earlier one has left them, and once an epoch, an evaluation's once. What finished cells spent an image is scaled to
the epochs and images of the one asked for; an evaluation's whole time tells another's on the same data set, whatever
the method. Where nothing like a cell has finished, a miniature of it may have been measured (`bench.micro`); else
there is a table of orders of magnitude, which follows what was measured of other cells of the kind.
"""

import os
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.launch.control import RunOptions
from bench.micro.left import there_still
from bench.micro.measurement import Measurement
from bench.micro.signature import Images, images_of, key_of_signature, signature
from bench.plan import Cell, pretraining
from bench.records import Once, Run, load_run
from bench.rough import DeviceKind, rough_rates

# Of each kind of cell so many finished ones are averaged, and so many runs are looked at to find them.
ENOUGH, LOOK_AT = 3, 2000
# What a cell needs beside its images: building a network, writing a result.
CELL_SECONDS = 1.0
# What a job needs before its first cell: mostly importing torch from a shared file system.
JOB_SECONDS = 20.0

Key = tuple[str, ...]


@dataclass(frozen=True)
class Rate:
    """What one finished cell spent: seconds an image of training, seconds an image of computing features.

    Of an evaluation, all of its seconds. `fixed` is what it spent beside that, `memory` its peak in bytes.
    """

    train: float
    features: float
    fixed: float = CELL_SECONDS
    memory: int | None = None


@dataclass(frozen=True)
class Prediction:
    """What is predicted of a cell.

    Attributes:
        seconds: from its start to its result.
        memory: bytes at its peak; None where nothing tells it.
        source: "finished cells", "measured now", "measured at ..." or "rough".
    """

    seconds: float
    memory: int | None
    source: str


def key_of(config: Mapping[str, Any]) -> Key:
    """What must agree for one cell's time to tell another's, the device apart."""
    pretrain = pretraining(config)
    if config["kind"] == "evaluate":
        return ("evaluate", config["evaluation"], pretrain["backbone"], str(config["dataset"]))
    batch = config["train" if config["kind"] == "pretrain" else "probe"].get("batch_size")
    words = (config["kind"], pretrain["method"], pretrain["backbone"], str(config["image_size"]))
    return (*words, config.get("freeze", ""), str(batch))


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

    Attributes:
        measured: what miniatures told, by the key of a signature.
        fresh: the keys of those that were measured just now.
        before: by a probe's id, the probes before it whose features its own can be made of; see `bench.micro.left`.
    """

    def __init__(self, kind: DeviceKind, located: Mapping[str, Any] | None = None) -> None:
        self.kind: DeviceKind = kind
        self.located = located or {}
        self.rates: dict[Key, list[Rate]] = {}
        self.num_train: dict[str, int] = {}
        self.measured: dict[str, Measurement] = {}
        self.fresh: set[str] = set()
        self.before: Mapping[str, Sequence[Cell]] = {}
        self._factors: dict[str, float] = {}
        self._keys: dict[str, str] = {}
        self._told: dict[str, str] = {}
        self._used: set[Key] = set()

    def learn(self, run: Run) -> None:
        """Take a finished run into account; one of another device or several, or with other seeds, tells nothing."""
        result, config = run.result, run.config
        epochs = _epochs(config)
        if result is None or not epochs:
            return
        key = key_of(config)
        if len(self.rates.get(key, ())) >= ENOUGH:
            return
        if where_run(run) != self.kind or len((run.provenance.get("together") or {}).get("seeds", ())) > 1:
            # What a cell took of a group's time and memory is not what it takes alone.
            return
        if (run.provenance.get("devices") or {}).get("world_size", 1) > 1:
            return
        try:
            seconds = float(result["seconds"])
            memory = int(result.get("peak_memory_bytes") or 0) or None
            # The last attempt's; of a resumed cell less than all.
            beside = float(run.provenance.get("seconds") or 0.0) - seconds
            if config["kind"] == "evaluate":
                fixed = beside if beside > 0 else CELL_SECONDS
                self.rates.setdefault(key, []).append(Rate(seconds, 0.0, fixed, memory))
                return
            rate = float(result["images_per_second"])
            images = rate * seconds
            settings = config["train" if config["kind"] == "pretrain" else "probe"]
            if not settings.get("epoch_images") and not settings.get("holdout"):
                self.num_train.setdefault(str(config["dataset"]), round(images / epochs))
            features = float(result.get("feature_seconds") or 0.0)
            fixed = beside - features if beside > features else CELL_SECONDS
            rate_ = Rate(1 / rate, features / (images / epochs), fixed, memory)
            self.rates.setdefault(key, []).append(rate_)
        except (KeyError, TypeError, ValueError, ZeroDivisionError):
            # A result of an older version: it tells nothing.
            return

    def images(self, cell: Cell) -> Images:
        """Images that a cell sees."""
        return images_of(cell, self.located, self.num_train)

    def signature_key(self, cell: Cell) -> str:
        """By which a cell's measurement is found."""
        if cell.id not in self._keys:
            self._keys[cell.id] = key_of_signature(signature(cell, self.images(cell)))
        return self._keys[cell.id]

    def finished(self, cell: Cell) -> bool:
        """Whether finished cells tell what a cell will take."""
        return bool(_epochs(cell.config)) and key_of(cell.config) in self.rates

    def calibrate(self, cells: Iterable[Cell]) -> None:
        """Have the rough table follow what was measured: the median ratio to it, by the kind of cell."""
        ratios: dict[str, dict[str, float]] = {}
        for cell in cells if self.measured else ():
            key = self.signature_key(cell)
            if key in self.measured and _epochs(cell.config):
                seconds = self.measured[key].seconds(cell.config, self.images(cell))
                ratios.setdefault(cell.kind, {})[key] = seconds / self._rough_seconds(cell)
        self._factors = {kind: statistics.median(found.values()) for kind, found in ratios.items()}

    def seconds(self, cell: Cell) -> float:
        """Predicted seconds of a cell, from its start to its result."""
        return self.predict(cell).seconds

    def predict(self, cell: Cell) -> Prediction:
        """Seconds, memory, and where they come from."""
        epochs, key = _epochs(cell.config), key_of(cell.config)
        if epochs and (known := self.rates.get(key)):
            self._used.add(key)
            self._told[cell.id] = "finished"
            rate = Rate(
                *(statistics.mean(getattr(r, name) for r in known) for name in ("train", "features", "fixed"))
            )
            images = 1 if cell.kind == "evaluate" else self.images(cell).train
            # On a processor it is the whole process's, whatever it ran before.
            memory = min((r.memory for r in known if r.memory), default=None)
            return Prediction(
                rate.fixed + images * (epochs * rate.train + rate.features), memory, "finished cells"
            )
        name = self.signature_key(cell) if self.measured else ""
        if (found := self.measured.get(name)) is not None:
            images = self.images(cell)
            now = name in self.fresh
            self._told[cell.id] = "now" if now else "earlier"
            source = "measured now" if now else f"measured at {found.at[:16].replace('T', ' ')}"
            before, told = self.before.get(cell.id, ()), self._measurement
            left = there_still(cell, before, told, images, RunOptions.cache_bytes)
            memory = found.bytes(cell.config, images, RunOptions.cache_bytes, self.kind == "gpu", left)
            return Prediction(found.seconds(cell.config, images, left=left), memory, source)
        if not epochs:
            return Prediction(CELL_SECONDS, None, "rough")
        self._told[cell.id] = "rough"
        factor = self._factors.get(cell.kind, 1.0)
        return Prediction(max(CELL_SECONDS, self._rough_seconds(cell) * factor), None, "rough")

    def _measurement(self, cell: Cell) -> Measurement | None:
        return self.measured.get(self.signature_key(cell))

    def _rough_seconds(self, cell: Cell) -> float:
        train, features = rough_rates(cell, self.kind)
        return CELL_SECONDS + self.images(cell).train * (_epochs(cell.config) * train + features)

    @property
    def basis(self) -> str:
        """Where the predictions so far come from."""
        number = sum(len(self.rates[key]) for key in self._used)
        cells = f"{number} finished cells" if number != 1 else "a finished cell"
        texts = {
            "now": "measured now",
            "earlier": "measured earlier",
            "finished": f"from {cells} like them",
            "rough": "a rough guess, as nothing like them has finished here",
        }
        counts = Counter(self._told.values())
        told = {name: count for name in texts if (count := counts[name])}
        if not told:
            return "nothing to predict"
        if len(told) == 1:
            return texts[next(iter(told))]
        if told.keys() == {"finished", "rough"}:
            return f"{told['finished']} cells {texts['finished']}, {told['rough']} by a rough guess"
        texts["rough"] = "by a rough guess"
        return ", ".join(f"{count} {texts[name]}" for name, count in told.items())


def make_estimator(
    results: Path,
    cells: Iterable[Cell],
    kind: DeviceKind,
    *,
    located: Mapping[str, Any] | None = None,
    known: Iterable[Run] = (),
    on_broken: Callable[[str], None] | None = None,
    alike: Callable[[Run], bool] = lambda _: True,
) -> Estimator:
    """An estimator that has looked for finished cells like some.

    Args:
        results: where finished cells are.
        cells: to predict.
        kind: the device on which they will run.
        located: see `Estimator`.
        known: runs that were read already.
        on_broken: see `bench.records.load_runs`.
        alike: whether a run was computed as the cells will be.
    """
    estimator = Estimator(kind, located)
    wanted = {key_of(cell.config) for cell in cells if _epochs(cell.config)}
    seen: set[str] = set()

    def missing() -> bool:
        return any(len(estimator.rates.get(key, ())) < ENOUGH for key in wanted)

    for run in known:
        seen.add(run.id)
        if key_of(run.config) in wanted and alike(run):
            estimator.learn(run)
    try:
        names = [entry.name for entry in os.scandir(results / "runs") if not entry.name.startswith(".")]
    except OSError:
        names = []
    for name in names[:LOOK_AT]:
        if not missing():
            break
        run = None if name in seen else load_run(results, name, on_broken or Once())
        if run is not None and key_of(run.config) in wanted and alike(run):
            estimator.learn(run)
    return estimator
