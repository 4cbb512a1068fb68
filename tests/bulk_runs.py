"""Thousands of runs on disk within seconds: what measures how fast records are read. Numbers are invented."""

import hashlib
import io
import itertools
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from bench.config import SCHEMA, canonical, pretrain_config, probe_config

METHODS = (
    "beta-vae",
    "beta-vae-lw",
    "patchvae",
    "patchvae-lw",
    "patchvae-gan",
    "bigan",
    "supervised",
    "random",
)
DATASETS = {"cifar100": 32, "miniplaces": 64, "indoor67": 64, "cifar10": 32}
POINTS = ("conv1", "conv1-3", "conv1-5")
PROVENANCE = {
    "argv": ["/home/somebody/.venv/bin/bench", "run", "-m", "all", "--table", "1", "--data", "/home/somebody/data"],
    "versions": {"python": "3.11.2", "bench": "0.1.0", "torch": "2.14.1", "torchvision": "0.29.1", "timm": "1.0.31"},
    "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
    "source_hash": "a8867f0c7344075f", "host": "here", "platform": "Linux", "pid": 5486,
    "determinism": {"OMP_NUM_THREADS": "1", "deterministic_algorithms": False},
    "started": "2026-01-02T03:04:05+00:00", "device": "cpu", "threads": 1,
    "data": {"name": "cifar100", "fingerprint": "fe02d215bb153820ab52879b18d759f8"},
}  # fmt: skip


class _Folder:
    """Writes runs; what they have in common is made once."""

    def __init__(self, root: Path, epochs: int, n_test: int) -> None:
        self.root, self.epochs, self.n_test = root, epochs, n_test
        self.predictions: dict[Any, tuple[bytes, float]] = {}
        (root / "runs").mkdir(parents=True)
        (root / "bench.json").write_text(json.dumps({"schema": SCHEMA}))

    def write(
        self, config: dict[str, Any], body: dict[str, Any], rows: list[Any], arrays: bytes | None
    ) -> str:
        own = hashlib.sha256(canonical(config).encode()).hexdigest()[:16]
        folder = f"{self.root}/runs/{own}"
        attempt = f"{folder}/attempts/0001"
        os.makedirs(attempt)  # noqa: PTH103
        head = {"schema": 1, "id": own, "kind": config["kind"], "attempt": "0001"}
        texts = {
            f"{folder}/config.json": json.dumps(config, indent=1),
            f"{attempt}/result.json": json.dumps({**head, **body}, indent=1),
            f"{attempt}/provenance.json": json.dumps(PROVENANCE, indent=1),
            f"{attempt}/status.json": '{"state": "done"}',
            f"{attempt}/metrics.jsonl": "".join(json.dumps(row) + "\n" for row in rows),
        }
        for path, text in texts.items():
            with open(path, "w") as file:  # noqa: PTH123
                file.write(text)
        os.link(f"{attempt}/result.json", f"{folder}/result.json")
        if arrays is not None:
            with open(f"{attempt}/predictions.npz", "wb") as file:  # noqa: PTH123
                file.write(arrays)
        return own

    def drawn(self, method: str, dataset: str, point: str, luck: int) -> tuple[bytes, float]:
        """Predictions as a file, and the share that is right. Few are drawn and used again."""
        key = (method, dataset, point, luck)
        if key not in self.predictions:
            draw = np.random.default_rng(zlib.crc32(repr(key).encode()))
            labels = np.random.default_rng(len(dataset)).integers(0, 100, self.n_test)
            right = draw.random(self.n_test) < 0.2 + 0.1 * POINTS.index(point)
            off = np.where(right, 0, draw.integers(1, 90, self.n_test))
            top = ((labels + off)[:, None] + np.arange(5)).astype(np.int16) % 100
            out = io.BytesIO()
            np.savez_compressed(out, labels=labels.astype(np.int16), top5_last=top, top5_best_test=top)
            self.predictions[key] = out.getvalue(), float(right.mean())
        return self.predictions[key]


def _cells(folder: _Folder) -> Iterator[None]:
    """Writes one run a step: seed by seed, every method on every data set."""
    epochs, n_test = folder.epochs, folder.n_test
    made: dict[tuple[str, str], tuple[dict[str, Any], list[dict[str, Any]]]] = {}
    order = ((seed, d, m) for seed in itertools.count() for d in DATASETS for m in METHODS)
    for seed, dataset, method in order:
        if (dataset, method) not in made:
            flip = dataset in ("miniplaces", "indoor67")
            about: dict[str, Any] = {
                "image_size": DATASETS[dataset],
                "flip": flip,
                "seed": 0,
                "preset": "full",
            }
            identity = {"name": dataset, "version": 1}
            pretrain = pretrain_config(method, identity, **about)
            probes = [probe_config(pretrain, identity, freeze=point, **about) for point in POINTS]
            made[dataset, method] = pretrain, probes
        base, probes = made[dataset, method]
        pretrain = {**base, "seed": seed}
        rows = [
            {"epoch": e, "step": 390 * e, "loss": 3000 / e + seed, "recon": 2900 / e, "seconds": 40.5 * e}
            for e in range(1, epochs + 1)
        ]
        trained = method != "random"
        own = folder.write(
            pretrain,
            {"metrics": rows[-1] if trained else {}, "steps": 390 * epochs if trained else 0, "seconds": 100.0 + seed,
             "images_per_second": 500.0, "params": {"backbone": 683072, "total": 683072}},
            rows if trained else [], None,
        )  # fmt: skip
        yield
        for point, base_probe in zip(POINTS, probes, strict=True):
            probe = {**base_probe, "pretrain": pretrain, "pretrain_id": own, "seed": seed}
            arrays, right = folder.drawn(method, dataset, point, seed % 3)
            rows = [
                {"epoch": e, "lr": 0.01, "train_loss": 4.5 / e, "train_top1": right * e / epochs,
                 "test_loss": 4.4 / e,
                 "test_top1": right * e / epochs, "test_top5": right}
                for e in range(1, epochs + 1)
            ]  # fmt: skip
            last = {"epoch": epochs, "top1": right, "top5": right}
            folder.write(
                probe,
                {"n_test": n_test, "num_classes": 100, "seconds": 43.7, "feature_seconds": 22.9, "epochs": rows,
                 "rules": {"last": last, "best-test": last}},
                rows, arrays,
            )  # fmt: skip
            yield


def bulk(root: Path, count: int, *, epochs: int = 10, n_test: int = 500) -> Path:
    """A results folder with so many finished runs.

    Args:
        root: the folder; it must not be there.
        count: of runs, a quarter of them pretrainings.
        epochs: rows of each run's curve.
        n_test: images that each probe predicts.
    """
    for _ in itertools.islice(_cells(_Folder(root, epochs, n_test)), count):
        pass
    return root
