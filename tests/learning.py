"""What tests of methods share: tiny cells on random images."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.build import build_method
from bench.contract.method_case import make_inputs as make_batch
from bench.data.arrays import Dataset, Split
from models.method import Method
from models.registry import METHODS, resolve_config

__all__ = ["TRAINED", "MemoryAttempt", "make_batch", "make_method", "noise_data", "pretrain_config"]

TRAINED = [name for name, row in METHODS.items() if row.trained]


def pretrain_config(
    name: str, seed: int = 0, backbone: str = "resnet9", size: int = 32, **train: Any
) -> dict:
    import dataclasses

    from bench.protocols import TrainSettings

    settings = TrainSettings(**{"epochs": 2, "batch_size": 8, **train})
    return {
        "schema": 1,
        "kind": "pretrain",
        "method": name,
        "method_version": 1,
        "method_config": dataclasses.asdict(resolve_config(name)),
        "backbone": backbone,
        "dataset": {"name": "noise", "version": 1},
        "image_size": size,
        "seed": seed,
        "train": dataclasses.asdict(settings),
    }


def make_method(name: str, seed: int = 0, dtype: torch.dtype = torch.float32, **config: Any) -> Method:
    method = build_method(pretrain_config(name, seed, **config), 10)
    return method.to(dtype).train()


def noise_data(train: int = 40, test: int = 20, size: int = 32, classes: int = 10, seed: int = 0) -> Dataset:
    """Random images whose brightness gives the class away, so that there is something to learn."""
    g = np.random.default_rng(seed)

    def split(n: int) -> Split:
        labels = np.arange(n) % classes
        base = (labels * 200 // classes)[:, None, None, None] + g.integers(0, 40, (n, 3, size, size))
        return Split(base.astype(np.uint8), labels.astype(np.int64))

    trained = split(train)
    return Dataset("noise", trained, split(test), trained, tuple(map(str, range(classes))), "0" * 64, False)


class MemoryAttempt:
    """An attempt that keeps in memory and in one folder what a real one writes."""

    def __init__(self, folder: Path) -> None:
        self.dir = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.rows: list[dict[str, Any]] = []
        self.arrays: dict[str, dict[str, np.ndarray]] = {}
        self.notes: list[str] = []
        self.checkpoint: tuple[dict[str, torch.Tensor], dict[str, Any]] | None = None
        self.saves = 0

    def log(self, row: dict[str, Any]) -> None:
        self.rows.append(row)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def save_checkpoint(self, tensors: dict[str, torch.Tensor], meta: dict[str, Any]) -> None:
        from bench.checkpoint import read_tensors, write_tensors

        path = self.dir / "checkpoint.safetensors"
        write_tensors(path, tensors, {**meta, "metrics_rows": len(self.rows)})
        self.checkpoint = read_tensors(path)
        self.saves += 1

    def load_checkpoint(self, accept=lambda _: True) -> tuple[dict[str, torch.Tensor], dict[str, Any]] | None:
        if self.checkpoint is not None:
            self.rows = self.rows[: self.checkpoint[1]["metrics_rows"]]
        return self.checkpoint

    def save_model(self, tensors: dict[str, torch.Tensor]) -> None:
        from bench.checkpoint import write_tensors

        write_tensors(self.dir / "model.safetensors", tensors)

    def save_arrays(self, name: str, **arrays: np.ndarray) -> None:
        self.arrays[name] = arrays
