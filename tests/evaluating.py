"""What tests of evaluations share: a pretraining of a few steps, judged on random images."""

from pathlib import Path
from typing import Any

import torch

from bench.build import build_method, module_state
from bench.checkpoint import write_tensors
from bench.config import evaluate_config
from bench.data.arrays import Dataset
from bench.engines import PlainEngine, train_step
from bench.evaluate import evaluate
from bench.launch.control import RunOptions, Stop
from models.method import Method
from tests.learning import MemoryAttempt, make_batch, noise_data, pretrain_config
from tests.test_train import quiet

STEPS = 2
IDENTITY = {"name": "noise", "version": 1}
PRETRAINED = {"steps": STEPS}


def pretrained(name: str, folder: Path, **config: Any) -> tuple[dict[str, Any], Path, Method]:
    """Configuration, weights and, in evaluation mode, the method itself after a few steps."""
    pretrain = pretrain_config(name, **config)
    method = build_method(pretrain, 10).train()
    engine = PlainEngine(method)
    if method.phases:
        optimizer = torch.optim.Adam(engine.parameters.values(), lr=1e-3)
        for step in range(STEPS):
            batch, noises, schedule = make_batch(method, 0, step, count=16)
            train_step(engine, optimizer, batch, noises, schedule)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.safetensors"
    write_tensors(path, module_state(method), {"id": name})
    return pretrain, path, method.eval()


def judge(
    evaluation: str,
    pretrain: dict[str, Any],
    weights: Path,
    folder: Path,
    data: Dataset | None = None,
    stop: Stop | None = None,
    options: RunOptions | None = None,
    steps: int = STEPS,
    **settings: Any,
) -> tuple[dict[str, Any], MemoryAttempt]:
    """The result of an evaluation, and the attempt with its arrays."""
    chosen = {f"{evaluation}.{name}": value for name, value in settings.items()}
    config = evaluate_config(
        pretrain, IDENTITY, image_size=pretrain["image_size"], evaluation=evaluation, settings=chosen
    )
    attempt = MemoryAttempt(folder)
    result = evaluate(
        config,
        data or noise_data(),
        weights,
        {**PRETRAINED, "steps": steps},
        attempt,  # pyright: ignore[reportArgumentType]
        device="cpu",
        stop=stop or Stop(),
        progress=quiet,
        options=options or RunOptions(threads=1),
    )
    return result, attempt
