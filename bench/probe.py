"""Probing: freeze a prefix of a backbone, train the rest with a classifier on top, record every epoch.

The classifier is the paper's (Table 12): flatten, dropout, Linear(hidden), ReLU, Linear(classes), by SGD.
"""

import contextlib
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Int
from torch import Tensor

from bench.build import build_backbone, load_optimizer_state, module_state, optimizer_state, under
from bench.checkpoint import read_with_digest
from bench.data.arrays import Dataset
from bench.data.batches import batch_bounds, flips
from bench.data.shuffling import epoch_order, reach
from bench.errors import Diverged, RecordError, UsageError, WeightsError
from bench.feature_store import FeatureStore
from bench.features import ComputedFeatures
from bench.frozen import FrozenPrefix, earlier_points
from bench.heads import Head, Probe, freeze_index
from bench.launch.control import Progress, RunOptions, Stop
from bench.loop import EpochMeans, Pace, peak_memory, prepare_device
from bench.probe_speed import PLAIN_PROBE
from bench.probe_steps import make_steps
from bench.streams import seeded_init, stream

if TYPE_CHECKING:
    from bench.records import Attempt

EVAL_BATCH = 500
# Where a test is but two matrix products.
WIDE_BATCH = 2000
TOP = 5


def holdout_split(count: int, seed: int) -> tuple[Int[Tensor, " t"], Int[Tensor, " v"]]:
    """Nine tenths to train on and the other tenth to choose the epoch on, drawn from (seed, "holdout")."""
    order = torch.randperm(count, generator=stream(seed, "holdout"))
    held = max(1, count // 10)
    return order[held:].sort().values, order[:held].sort().values


def probe(
    config: dict[str, Any],
    data: Dataset,
    backbone_weights: Path,
    attempt: "Attempt",
    *,
    device: str,
    stop: Stop,
    progress: Progress,
    options: RunOptions,
) -> dict[str, Any]:
    """Train a classifier on a partly frozen backbone and test it after every epoch.

    Args:
        config: a probe cell's configuration.
        data: the data set it names.
        backbone_weights: `model.safetensors` of the pretraining.
        attempt: where checkpoints, metrics and predictions go.
        device: "cpu", "cuda", ...
        stop: asked after every step.
        progress: told now and then.
        options: how often to save, threads, memory for features.

    Returns:
        The body of `result.json`.

    Raises:
        Diverged: a loss is not finite.
        Interrupted: asked to stop; resumable.
        OutOfTime: the time budget is spent; resumable.
        Preempted: the scheduler wants the machine back; resumable.
        WeightsError: the pretraining's weights are gone or broken.
        UsageError: the configuration cannot be built.
    """
    where = prepare_device(device, options)
    with contextlib.ExitStack() as stack:
        return _Run(config, data, backbone_weights, attempt, where, options, stop, stack).run(progress)


class _Run:
    """One probe in progress."""

    def __init__(
        self,
        config: dict[str, Any],
        data: Dataset,
        weights: Path,
        attempt: "Attempt",
        device: torch.device,
        options: RunOptions,
        stop: Stop,
        stack: contextlib.ExitStack,
    ) -> None:
        self.settings, self.seed = (s := config["probe"]), int(config["seed"])
        self.attempt, self.device, self.options, self.stop = attempt, device, options, stop
        self.num_classes, self.classes = len(data.classes), data.classes
        backbone = build_backbone(config["pretrain"]["backbone"], 0)
        try:
            tensors, self.weights = read_with_digest(weights)
        except (RecordError, FileNotFoundError) as error:
            raise WeightsError(str(error)) from None
        backbone.load_state_dict(under(tensors, "backbone."))
        backbone.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
        start = freeze_index(backbone, config["freeze"])
        # Batch statistics are the reference's: computed as it computes them.
        batch_bn = s["frozen_bn"] == "batch"
        speed = PLAIN_PROBE if batch_bn else options.probing
        speed.prepare()
        self.eval_batch = EVAL_BATCH if start < len(backbone.stages) or not speed.closed_head else WIDE_BATCH
        prefix = FrozenPrefix(backbone, start, speed) if speed.folded and start else None
        facts = (s["scale"], str(device), torch.get_num_threads(), speed)
        store = FeatureStore(
            device,
            s["scale"],
            lambda pixels: ComputedFeatures(pixels, backbone, start, batch_bn, prefix),
            budget=options.cache_bytes if options.feature_bytes is None else options.feature_bytes,
            disk=options.cache_disk_bytes if speed.folded and options.feature_bytes != 0 else 0,
            folder=attempt.dir,
            data_bytes=options.data_bytes,
            key=(self.weights, config["freeze"], *facts) if speed.shared else None,
            earlier=[((self.weights, p, *facts), way) for p, way in earlier_points(backbone, start, speed)],
            by_pixel=speed.folded and start < len(backbone.stages),
            note=attempt.note,
            between=stop.raise_if_asked,
        )
        stack.callback(store.close)
        began = time.perf_counter()
        once = start > 0 and not batch_bn
        kept = held = None
        if s["holdout"]:
            kept, held = (i.to(device) for i in holdout_split(len(data.train.labels), self.seed))
        self.train = store.source("train", data.train, s["flip"], once, kept)
        self.tests = {"test": store.source("test", data.test, False, once)}
        self.sizes = {"test": len(data.test.labels), "val": 0}
        if held is not None:
            # The mirrored ones are not looked at, but the others are those of the training images' split.
            self.tests["val"] = store.source("train", data.train, s["flip"], once, held)
            self.sizes["val"] = len(held)
        self.feature_seconds = time.perf_counter() - began

        index = torch.zeros(1, dtype=torch.int64, device=self.train.index_device)
        with torch.no_grad():
            inputs = backbone(self.train.batch(index)[0], start).flatten(1).shape[1]
        with seeded_init(self.seed, "init", "head"):
            head = Head(inputs, self.num_classes, s["hidden"], s["init_std"])
        self.model = Probe(backbone, start, head.to(device), s["bn_affine"], batch_bn)
        self.steps = make_steps(self.model, s, self.seed, inputs, speed)
        self.num_images = len(data.train.labels) - self.sizes["val"]
        self.bounds = batch_bounds(self.num_images, s["batch_size"], s["drop_last"])
        if not self.bounds:
            raise UsageError(f"{self.num_images} images do not fill one batch of {s['batch_size']}")
        self.total = len(self.bounds) * s["epochs"]
        self.done = self.images = 0
        self.rows: list[dict[str, Any]] = []
        self.best: dict[str, dict[str, Any]] = {}
        self.predictions: dict[str, Tensor] = {}
        self.labels = torch.from_numpy(np.array(data.test.labels, dtype=np.int64))

    def run(self, progress: Progress) -> dict[str, Any]:
        means = EpochMeans(self.device)

        def save() -> None:
            tensors = {f"predictions.{k}": v for k, v in self.predictions.items()}
            meta = {"rows": self.rows, "best": self.best, "step": self.done, "images": self.images}
            self.attempt.save_checkpoint(
                {
                    **module_state(self.model, "model."),
                    **optimizer_state(self.steps.optimizer),
                    **means.state(),
                    **tensors,
                },
                {**meta, "epoch_count": means.count, "seconds": pace.seconds, "weights": self.weights},
            )

        pace = Pace(self.total, self.stop, progress, self.options, save, means)
        # A probe of other weights, which `--force` has replaced since, is no beginning of this one.
        resumed = self.attempt.load_checkpoint(lambda meta: meta.get("weights") == self.weights)
        if resumed is not None:
            tensors, meta = resumed
            self.model.load_state_dict(under(tensors, "model."))
            load_optimizer_state(self.steps.optimizer, tensors)
            means.load(under(tensors, "epoch."), meta["epoch_count"])
            self.predictions = under(tensors, "predictions.")
            self.rows, self.best = meta["rows"], meta["best"]
            self.done, self.images, pace.before = meta["step"], meta["images"], meta["seconds"]

        while self.done < self.total:
            epoch, k = divmod(self.done, len(self.bounds))
            values, count = self._step(epoch, k)
            means.add(values, count, self.done)
            if k == len(self.bounds) - 1:
                means.check()
                self._end_epoch(epoch + 1, means.means())
                self.attempt.log({**self.rows[-1], "seconds": pace.seconds, "images_per_second": pace.rate})
                means.reset()
            pace.after_step(self.done, count, last=self.done == self.total)
        return self._result(pace.seconds)

    def _step(self, epoch: int, k: int) -> tuple[dict[str, Tensor], int]:
        s = self.settings
        if k == 0 or not hasattr(self, "order"):
            shuffle = s.get("shuffle", "full")
            order = epoch_order(self.num_images, self.seed, "probe-order", epoch, shuffle=shuffle)
            self.order = order.to(self.train.index_device)
            parts = (self.order[begin:end] for begin, end in self.bounds[k:])
            self.train.expect(parts, reach=reach(shuffle))
            self.model.train()
        begin, end = self.bounds[k]
        count = end - begin
        flip = flips(count, self.seed, "probe-flip", self.done, self.device) if s["flip"] else None
        features, labels = self.train.batch(self.order[begin:end], flip)
        values = self.steps.step(features, labels, self.done, self._lr(epoch))
        self.done += 1
        self.images += count
        return values, count

    def _lr(self, epoch: int) -> float:
        s = self.settings
        return s["lr"] * s["lr_gamma"] ** (epoch // s["lr_step"])

    @torch.no_grad()
    def _evaluate(self, name: str) -> tuple[dict[str, float | None], Tensor]:
        """Loss, top-1 and top-5 on a split, and the five best classes of each image (int16 [n, 5])."""
        self.model.eval()
        losses, tops = [], []
        hits1 = hits5 = 0
        source, size = self.tests[name], self.sizes[name]
        best = min(TOP, self.num_classes)
        parts = [
            torch.arange(begin, min(begin + self.eval_batch, size), device=source.index_device)
            for begin in range(0, size, self.eval_batch)
        ]
        source.expect(parts, of=name)
        for index in parts:
            features, labels = source.look(index)
            logits = self.steps.logits(features)
            losses.append(F.cross_entropy(logits, labels, reduction="sum").double())
            top = logits.topk(best, 1).indices
            hit = top == labels[:, None]
            hits1 += int(hit[:, 0].sum())
            hits5 += int(hit.sum())
            tops.append(top.to(torch.int16))
        values: dict[str, float | None] = {
            f"{name}_loss": float(torch.stack(losses).sum()) / size,
            f"{name}_top1": hits1 / size,
        }
        if name == "test":
            values["test_top5"] = hits5 / size if self.num_classes > TOP else None
        return values, torch.cat(tops).cpu()

    def _end_epoch(self, epoch: int, trained: dict[str, float]) -> None:
        row: dict[str, Any] = {"epoch": epoch, "lr": self._lr(epoch - 1), **trained}
        tested, tops = self._evaluate("test")
        row.update(tested)
        if "val" in self.tests:
            row.update(self._evaluate("val")[0])
        if not all(math.isfinite(v) for v in row.values() if v is not None):
            raise Diverged(self.done, "the loss on held-out images")
        if "val" in self.tests:
            self._choose("val", row, tops, row["val_top1"])
        else:
            self._choose("best-test", row, tops, row["test_top1"])
            self._choose("last", row, tops, float(epoch))
        self.rows.append(row)

    def _choose(self, rule: str, row: dict[str, Any], tops: Tensor, score: float) -> None:
        """Keep this epoch for a rule when its score is higher than the one kept; the earlier wins a tie."""
        if rule in self.best and score <= self.best[rule]["score"]:
            return
        chosen = {"epoch": row["epoch"], "top1": row["test_top1"], "top5": row["test_top5"]}
        self.best[rule] = {**chosen, "score": score}
        self.predictions[rule] = tops

    def _result(self, seconds: float) -> dict[str, Any]:
        arrays = {f"top5_{rule.replace('-', '_')}": top.numpy() for rule, top in self.predictions.items()}
        self.attempt.save_arrays("predictions", labels=self.labels.to(torch.int16).numpy(), **arrays)
        rules = {
            rule: {k: v for k, v in kept.items() if k != "score"} for rule, kept in sorted(self.best.items())
        }
        return {
            "n_test": self.sizes["test"],
            "num_classes": self.num_classes,
            "classes": list(self.classes),
            "seconds": seconds,
            "feature_seconds": self.feature_seconds,
            "images_per_second": self.images / seconds,
            "peak_memory_bytes": peak_memory(self.device),
            "weights": self.weights,
            "epochs": self.rows,
            "rules": rules,
        }
