"""Evaluating: what a finished pretraining left is judged by one evaluation of the registry, from start to end.

Nothing is saved on the way: an evaluation takes minutes at most, and one that was stopped starts afresh.
"""

import math
import time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from bench.checkpoint import read_with_digest
from bench.data.arrays import Dataset
from bench.errors import BenchError, RecordError, UsageError, WeightsError
from bench.evaluations import registry
from bench.evaluations.task import Findings, Task
from bench.launch.control import Progress, RunOptions, Stop
from bench.loop import peak_memory, prepare_device

if TYPE_CHECKING:
    from bench.records import Attempt


def evaluate(
    config: dict[str, Any],
    data: Dataset,
    weights: Path,
    pretrained: dict[str, Any],
    attempt: "Attempt",
    *,
    device: str,
    stop: Stop,
    progress: Progress,
    options: RunOptions,
) -> dict[str, Any]:
    """Judge a pretraining.

    Args:
        config: an evaluation cell's configuration.
        data: the data set it names.
        weights: `model.safetensors` of the pretraining.
        pretrained: the result of the pretraining.
        attempt: where arrays go.
        device: "cpu", "cuda", ...
        stop: asked between chunks of work.
        progress: told now and then.
        options: threads, memory for features, files that an evaluation needs.

    Returns:
        The body of `result.json`.

    Raises:
        Interrupted, OutOfTime, Preempted: asked to stop; the next attempt starts afresh.
        WeightsError: the pretraining's weights are gone or broken.
        UsageError: the configuration cannot be built, or the evaluation is of another version.
    """
    begun = time.perf_counter()
    where = prepare_device(device, options)
    row = registry.spec(config["evaluation"])
    if config["evaluation_version"] != row.version:
        raise UsageError(
            f"{row.name} is of version {config['evaluation_version']}, and version {row.version} is here:"
            " ask for it again with `bench run`"
        )
    try:
        tensors, digest = read_with_digest(weights)
    except (RecordError, FileNotFoundError) as error:
        raise WeightsError(str(error)) from None
    settings = row.settings_cls(**config["evaluate"])
    task = Task(config, settings, data, tensors, pretrained, attempt, where, stop, progress, options)
    module, _, name = row.target.partition(":")
    # An evaluation is short: on a GPU it can afford the algorithms that give the same bits twice.
    try:
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
            findings: Findings = getattr(import_module(module), name)(task)
    finally:
        task.close()
    _check(row, findings)
    seconds = time.perf_counter() - begun
    return {
        "evaluation": row.name,
        "metrics": findings.metrics,
        "facts": findings.facts,
        "n_test": len(data.test),
        "classes": list(data.classes),
        "seconds": seconds,
        "peak_memory_bytes": peak_memory(where),
        "weights": digest,
    }


def _check(row: registry.EvaluationSpec, findings: Findings) -> None:
    for name, value in findings.metrics.items():
        if row.metric(name) is None:
            raise BenchError(f"{row.name} measured {name!r}, of which its registry knows nothing")
        if not math.isfinite(value):
            raise BenchError(f"{row.name}: {name} is not finite")
