"""Runs written to disk as the harness leaves them, with invented numbers: what the report's tests read."""

import functools
import json
import os
import zlib
from pathlib import Path

import numpy as np

from bench.config import SCHEMA, config_id, evaluate_config, pretrain_config, probe_config
from bench.evaluations.registry import EVALUATIONS

FLIPPED = ("miniplaces", "indoor67", "places205", "imagenet")
LEVELS = {"conv1": 0.44, "conv1-3": 0.40, "conv1-5": 0.29, "none": 0.55}


def stream(*key):
    return np.random.default_rng(zlib.crc32(repr(key).encode()))


@functools.cache
def identity(name):
    return {"name": name, "version": 1}


class Runs:
    """A results folder under construction."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        (root / "bench.json").write_text(json.dumps({"schema": SCHEMA}))

    def _folder(self, config, state, error, source, device):
        folder = self.root / "runs" / config_id(config)
        attempt = folder / "attempts" / "0001"
        attempt.mkdir(parents=True, exist_ok=True)
        (folder / "config.json").write_text(json.dumps(config))
        (attempt / "status.json").write_text(json.dumps({"state": state, "error": error}))
        provenance = {
            "source_hash": source,
            "device": device,
            "git": {"commit": "0123456789abcdef", "dirty": False},
            "versions": {"python": "3.11.2", "torch": "2.14.1"},
        }
        (attempt / "provenance.json").write_text(json.dumps(provenance))
        return folder, attempt

    def pretrain(
        self, method, seed, *, dataset="cifar100", epochs=3, state="done", error=None, source="aaaa", pictures=True,
        size=32, device="cpu", **config,
    ):  # fmt: skip
        trained = method not in ("random", "scratch")
        config = pretrain_config(
            method, identity(dataset), image_size=size, flip=dataset in FLIPPED, seed=seed,
            **{"preset": "smoke", **config, "settings": {"pretrain.epochs": epochs, **config.get("settings", {})}},
        )  # fmt: skip
        folder, attempt = self._folder(config, state, error, source, device)
        rng = stream(method, seed, dataset)
        if trained:
            losses = 3000 * np.exp(-np.arange(1, epochs + 1) / epochs) + rng.normal(0, 30, epochs)
            rows = [{"epoch": i + 1, "loss": float(loss)} for i, loss in enumerate(losses)]
            (attempt / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        if state == "done":
            seconds = float(rng.uniform(40, 300)) if trained else 0.1
            result = {
                "schema": 1, "id": folder.name, "kind": "pretrain", "attempt": "0001", "metrics": {},
                "steps": 390 * epochs if trained else 0, "seconds": seconds,
                "images_per_second": 50_000 * epochs / seconds if trained else None,
                "params": {"backbone": 683_072, "total": 683_072},
            }  # fmt: skip
            self._finish(folder, attempt, result)
            if pictures and "vae" in method:
                draw = rng.integers(0, 255, (16, 3, 4, 4), dtype=np.uint8).repeat(8, 2).repeat(8, 3)
                noise = rng.integers(-20, 20, draw.shape)
                np.savez(
                    attempt / "reconstructions.npz",
                    images=draw,
                    reconstructions=np.clip(draw + noise, 0, 255).astype(np.uint8),
                )
        return config

    def _finish(self, folder, attempt, result):
        (attempt / "result.json").write_text(json.dumps(result))
        if not (folder / "result.json").exists():
            os.link(attempt / "result.json", folder / "result.json")

    def probe(
        self, pretrain, freeze, *, top1=None, seed=None, dataset=None, epochs=3, state="done", error=None, n_test=500,
        protocol="paper", source="aaaa", predictions=True, gain=0.004, size=32, settings=None,
    ):  # fmt: skip
        dataset = dataset or pretrain["dataset"]["name"]
        seed = pretrain["seed"] if seed is None else seed
        config = probe_config(
            pretrain, identity(dataset), image_size=size, flip=dataset in FLIPPED, seed=seed, freeze=freeze,
            protocol=protocol, preset="smoke", settings={"probe.epochs": epochs, **(settings or {})},
        )  # fmt: skip
        folder, attempt = self._folder(config, state, error, source, "cpu")
        if state != "done":
            return folder.name
        rng = stream(pretrain["method"], pretrain["seed"], seed, dataset, freeze)
        if top1 is None:
            luck = stream("luck", pretrain["seed"], dataset).normal(0, 0.01)
            top1 = (
                LEVELS[config["freeze"]]
                + stream(pretrain["method"]).normal(0, 0.02)
                + luck
                + rng.normal(0, 0.004)
            )
        labels = stream("labels", dataset).integers(0, 100, n_test)
        hits = stream("easy", dataset).permutation(n_test) < round(top1 * n_test)
        top5 = np.stack([(labels + i + ~hits) % 100 for i in range(5)], axis=1)
        score = float(hits.mean())
        rows = [
            {"epoch": e, "lr": 0.01, "test_loss": 3.0, "test_top1": score * (1 - 0.5**e) / (1 - 0.5**epochs)}
            for e in range(1, epochs + 1)
        ]
        last = {"epoch": epochs, "top1": score, "top5": min(1.0, 2 * score)}
        rules = {"last": last, "best-test": {**last, "epoch": max(1, epochs - 1), "top1": score + gain}}
        if config["probe"]["holdout"]:
            rules = {"val": last}
        result = {
            "schema": 1, "id": folder.name, "kind": "probe", "attempt": "0001", "n_test": n_test, "num_classes": 100,
            "seconds": 5.0, "feature_seconds": 1.0, "epochs": rows, "rules": rules,
        }  # fmt: skip
        self._finish(folder, attempt, result)
        if predictions:
            names = {"top5_" + rule.replace("-", "_"): top5.astype(np.int16) for rule in rules}
            arrays: dict[str, np.ndarray] = {"labels": labels.astype(np.int16), **names}
            np.savez(attempt / "predictions.npz", **arrays)  # pyright: ignore[reportArgumentType]
        return folder.name

    def evaluation(self, pretrain, name, metrics, *, dataset=None, size=32, state="done", settings=None):
        """An evaluation of a pretraining with chosen metrics."""
        config = evaluate_config(
            pretrain, identity(dataset or pretrain["dataset"]["name"]), image_size=size, evaluation=name,
            settings=settings,
        ) if name in EVALUATIONS else {
            "schema": SCHEMA, "kind": "evaluate", "evaluation": name, "evaluation_version": 1, "pretrain": pretrain,
            "pretrain_id": config_id(pretrain), "dataset": identity(dataset or pretrain["dataset"]["name"]),
            "image_size": size, "seed": pretrain["seed"], "evaluate": {},
        }  # fmt: skip
        folder, attempt = self._folder(config, state, None, "aaaa", "cpu")
        if state == "done":
            result = {
                "schema": 1, "id": folder.name, "kind": "evaluate", "attempt": "0001", "n_test": 500, "seconds": 2.0,
                "metrics": metrics,
            }  # fmt: skip
            self._finish(folder, attempt, result)
        return folder.name

    def cells(self, methods, seeds, points=("conv1-5",), **more):
        """Every method pretrained and probed, with every seed."""
        probe = {k: more.pop(k) for k in ("gain", "protocol", "predictions", "n_test") if k in more}
        for method in methods:
            for seed in seeds:
                pretrain = self.pretrain(method, seed, **more)
                for point in points if method != "scratch" else ("none",):
                    self.probe(pretrain, point, source=more.get("source", "aaaa"), **probe)
