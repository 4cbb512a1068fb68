"""A miniature of a cell: the cell itself, on few random images and in a folder of its own, with a stopwatch."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from bench import accelerated
from bench.attempts import Attempt
from bench.build import build_backbone, build_method, module_state
from bench.config import config_id
from bench.data.arrays import Dataset
from bench.feature_store import SHELF
from bench.features import CHUNK
from bench.heads import freeze_index
from bench.launch.cell import CellRunner, Work
from bench.launch.control import RunOptions
from bench.launch.outcome import Outcome
from bench.launch.trainer import TorchTrainer
from bench.loop import peak_memory
from bench.micro.measurement import Measurement, Parts, feature_images
from bench.micro.scenery import Nobody, forget_peak, peak_since, random_images
from bench.micro.signature import Images
from bench.micro.stopwatch import Clock, Mark, Stopwatch, Timed, Timings, evaluation_parts
from bench.plan import Cell
from bench.provenance import now
from bench.records import open_results

# Batches and epochs of a pretraining and of a probe; batches on what is much faster; images of an evaluation.
PRETRAIN, PROBE, GPU_BATCHES, EVALUATED = (4, 1), (3, 2), 24, 900
# So few images are all evaluated.
WHOLE = 2_000
# Steps of a miniature that is run for its steps alone. On a GPU it ends before it would be compiled.
MOST_STEPS, MOST_GPU_STEPS = 200, 24
TESTED = 500
EVERY = 8
IDENTITY = {"name": "miniature", "version": 1}
# Attempts up to this number count for nothing: a miniature is always run from its start.
FORGET = 10_000


@dataclass(frozen=True)
class Wanted:
    """A cell whose like is to be measured.

    Attributes:
        key: of its signature.
        config: its whole configuration.
        train: images for training.
        test: images for testing.
        classes: of the labels.
        share: of the predicted total that cells like it make up.
    """

    key: str
    config: dict[str, Any]
    train: int
    test: int
    classes: int
    share: float = 0.0


@dataclass
class _Seen:
    wall: Timings = field(default_factory=Timings)
    processor: Timings = field(default_factory=Timings)
    memory: int = 0
    images: int = 0
    features: int = 0


@dataclass(frozen=True)
class _Ran:
    outcome: Outcome
    begun: tuple[float, float]
    ended: tuple[float, float]
    marks: list[Mark]


class Miniatures:
    """Runs them in a folder that is gone afterwards.

    Args:
        folder: for their records.
        options: how cells are to be run.
        device: where.
        device_name: what it calls itself.
        clock: wall and processor's seconds.
    """

    def __init__(
        self, folder: Path, options: RunOptions, device: str, device_name: str, clock: Clock | None = None
    ) -> None:
        self.folder, self.options, self.device, self.device_name = folder, options, device, device_name
        self.on_gpu = torch.device(device).type == "cuda"
        self.clock = clock or self._now
        self._seen: dict[str, _Seen] = {}
        self._made: set[str] = set()
        open_results(folder)

    def _now(self) -> tuple[float, float]:
        if self.on_gpu:
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def measure(self, wanted: Wanted, until: float | None = None) -> Measurement:
        """Run a miniature, from its start to its result, or for its steps alone until some time.

        Raises:
            RuntimeError: it fails; says why.
        """
        seen = self._seen.setdefault(wanted.key, _Seen())
        if wanted.config["kind"] == "evaluate":
            parts = self._evaluated(wanted, seen)
        else:
            cell, data = self._miniature(wanted, until is not None)
            ran = self._run(cell, data, until)
            for hand, timings in enumerate((seen.wall, seen.processor)):
                timings.runs.append(self._timed(cell, data, ran, hand))
            parts = seen.wall.parts(), seen.processor.parts()
            if until is None:
                seen.memory, seen.images = self._peak(ran), len(data.train) + len(data.test)
                count = len(data.train)
                seen.features = feature_images(cell.config, Images(count, len(data.test), 0, count))
        return Measurement(
            *parts,
            memory=seen.memory,
            images=seen.images,
            feature_bytes=self._feature_bytes(wanted.config),
            point=wanted.config.get("freeze") or "",
            features=seen.features,
            phases=self._phases(wanted.config),
            compile=(accelerated.COMPILE_SECONDS, accelerated.COMPILED_SHARE) if self._compiles() else None,
            at=now(),
            device=self.device_name,
        )

    def _run(self, cell: Cell, data: Dataset, until: float | None = None) -> _Ran:
        self._pretrained(cell, data)
        watch = Stopwatch(self.clock, until, EVERY if self.on_gpu else 1)
        runner = CellRunner(
            self.folder,
            Nobody(),
            watch,
            TorchTrainer(),
            self.device,
            self.device_name,
            self.options,
            lambda _: None,
        )
        forget_peak()
        there = set(SHELF.items)
        begun = self.clock()
        try:
            outcome = runner.run(Work(cell, lambda _: data, FORGET, lambda: True), None)
            ended = self.clock()
        finally:
            # Features of images that nobody has again.
            for key in SHELF.items.keys() - there:
                del SHELF.items[key]
        if outcome.state not in ("done", "stopped"):
            raise RuntimeError(outcome.reason)
        return _Ran(outcome, begun, ended, watch.marks)

    def _evaluated(self, wanted: Wanted, seen: _Seen) -> tuple[Parts, Parts]:
        """Once on all images where they are few; else on some of them and on fewer, after one run that warms up."""
        config = json.loads(json.dumps(wanted.config))
        config["dataset"] = config["pretrain"]["dataset"] = IDENTITY
        cell, count = Cell(config, "miniature"), wanted.train + wanted.test
        large = 1.0 if count <= WHOLE else EVALUATED / count
        shares = [1.0] if large == 1.0 else [large / 3, large, large / 3]
        seconds: list[tuple[float, tuple[float, float]]] = []
        for share in shares:
            train, test = (max(2, round(share * n)) for n in (wanted.train, wanted.test))
            ran = self._run(cell, self._images(cell, train, test, wanted))
            if share == large:
                seen.memory, seen.images = self._peak(ran), train + test
            wall, processor = (b - a for a, b in zip(ran.begun, ran.ended, strict=True))
            seconds.append((share, (wall, processor)))
        told = seconds[1:] or seconds
        wall, processor = (evaluation_parts([(share, both[hand]) for share, both in told]) for hand in (0, 1))
        return wall, processor

    def _images(self, cell: Cell, train: int, test: int, wanted: Wanted) -> Dataset:
        return random_images(int(cell.config["image_size"] or 64), train, test, wanted.classes)

    def _miniature(self, wanted: Wanted, only_steps: bool) -> tuple[Cell, Dataset]:
        config = json.loads(json.dumps(wanted.config))
        batches, epochs = PRETRAIN if config["kind"] == "pretrain" else PROBE
        batches = GPU_BATCHES if self.on_gpu else batches
        most = MOST_GPU_STEPS if self.on_gpu else MOST_STEPS
        config["dataset"] = IDENTITY
        settings = config["train" if config["kind"] == "pretrain" else "probe"]
        batch = min(int(settings["batch_size"]), wanted.train)
        # Of held-out images a probe's last step would be a short one.
        train = batch * batches + (-(-batch * batches // 9) if settings.get("holdout") else 0)
        epochs = max(1, most // batches) if only_steps else epochs
        settings["epochs"] = epochs if settings["epochs"] else 0
        if config["kind"] == "pretrain":
            settings["epoch_images"] = None
        cell = Cell(config, "miniature")
        return cell, self._images(cell, train, min(wanted.test, TESTED), wanted)

    def _pretrained(self, cell: Cell, data: Dataset) -> None:
        """What a probe or an evaluation stands on: weights as they were initialised."""
        if cell.kind == "pretrain":
            return
        config = cell.config["pretrain"]
        cell.config["pretrain_id"] = id = config_id(config)
        if id in self._made:
            return
        self._made.add(id)
        attempt = Attempt(self.folder, config, forget=FORGET)
        attempt.save_model(module_state(build_method(config, len(data.classes))))
        attempt.finish({"steps": 0, "seconds": 0.0, "images_per_second": None, "metrics": {}})

    def _timed(self, cell: Cell, data: Dataset, ran: _Ran, hand: int) -> Timed:
        marks = [(mark.kind, mark.steps, mark.at[hand]) for mark in ran.marks]
        ended = ran.ended[hand] if ran.outcome.state == "done" else None
        settings = cell.config["train" if cell.kind == "pretrain" else "probe"]
        count = len(data.train)
        held = max(1, count // 10) if settings.get("holdout") else 0
        per_epoch = max(1, -(-(count - held) // min(settings["batch_size"], count)))
        tested = 0 if cell.kind == "pretrain" else len(data.test) + held
        # A method without phases takes no steps.
        total = per_epoch * settings["epochs"] if marks else 0
        return Timed(ran.begun[hand], ended, marks, per_epoch, total, CHUNK, tested)

    def _peak(self, ran: _Ran) -> int:
        if self.on_gpu:
            return int((ran.outcome.result or {}).get("peak_memory_bytes") or peak_memory(self.device))
        return peak_since()

    def _feature_bytes(self, config: Mapping[str, Any]) -> int:
        if config["kind"] != "probe" or config["freeze"] == "none" or config["probe"]["frozen_bn"] == "batch":
            return 0
        backbone = build_backbone(config["pretrain"]["backbone"], 0).eval()
        with torch.no_grad():
            image = torch.zeros(1, 3, *[int(config["image_size"] or 64)] * 2)
            return backbone(image, 0, freeze_index(backbone, config["freeze"])).nbytes

    def _phases(self, config: Mapping[str, Any]) -> int:
        if config["kind"] != "pretrain":
            return 1
        from models import registry

        module, _, name = registry.spec(config["method"]).target.partition(":")
        return max(1, len(getattr(import_module(module), name).phases))

    def _compiles(self) -> bool:
        from bench.speed import choose

        return choose(self.device, self.options.speed, self.options.precision).compile == "if-it-pays"
