"""How long a training step takes with each of the switches of speed: `python -m bench.step_times beta-vae patchvae`.

Every way takes a step in turn, round after round, on random images; times are CPU seconds on a processor and
synchronised wall seconds elsewhere. Printed are medians, and the median over rounds of the ratio to the plain way.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import torch

from bench.build import build_method
from bench.config import pretrain_config
from bench.data.arrays import Split
from bench.data.batches import Pixels
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.memory import keep_freed_memory, release_freed_memory
from bench.speed import PLAIN, Speed, choose
from bench.train import Steps, prepare

OFF = {"flat_update": False, "winograd": False, "keep_memory": False, "precision": "fp32", "compile": "never"}


def ways(fast: Speed) -> dict[str, Speed]:
    """The plain way, the fast one, and the fast one without each of its switches."""
    found = {"plain": PLAIN, "fast": fast}
    for name, off in OFF.items():
        if getattr(fast, name) != off:
            found[f"without {name}"] = replace(fast, **{name: off})
    return found


def step_seconds(
    method: str, compared: Mapping[str, Speed], *, device: str = "cpu", batch: int = 128, rounds: int = 9
) -> dict[str, list[float]]:
    """Seconds of each round's step, for each way.

    Args:
        method: its name.
        compared: ways by name.
        device: where.
        batch: images a step.
        rounds: after two that warm up.
    """
    identity = {"name": "random pixels", "version": 1}
    settings = {"pretrain.batch_size": batch}
    config = pretrain_config(method, identity, image_size=32, flip=False, seed=0, settings=settings)
    draw = np.random.default_rng(0)
    split = Split(
        draw.integers(0, 256, (4 * batch, 3, 32, 32)).astype(np.uint8), draw.integers(0, 10, 4 * batch)
    )
    runs: dict[str, Callable[[], object]] = {}
    for name, speed in compared.items():
        module = build_method(config, 10).to(device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        prepare(module.train(), speed, lambda text: print(text, file=sys.stderr))
        pixels = Pixels(split, device, "imagenet")
        runs[name] = Steps(module, pixels, config["train"], 0, speed).next
    found: dict[str, list[float]] = {name: [] for name in compared}
    names = list(compared)
    for turn in range(rounds + 2):
        # Who comes after whom changes from round to round.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            (keep_freed_memory if compared[name].keep_memory else release_freed_memory)()
            begun = _clock(device)
            runs[name]()
            if turn >= 2:
                found[name].append(_clock(device) - begun)
    return found


def _clock(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.step_times", description=__doc__)
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--compiled", action="store_true", help="also the plain way, compiled")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    prepare_device(given.device, RunOptions(threads=given.threads))
    compared = ways(choose(given.device, "auto", given.precision))
    if given.compiled:
        compared["compiled"] = replace(PLAIN, compile="always")
    print("| method | way | ms a step | plain / way | lowest | highest |\n|---|---|---:|---:|---:|---:|")
    for method in given.methods:
        times = step_seconds(method, compared, device=given.device, batch=given.batch, rounds=given.rounds)
        for name, seconds in times.items():
            ratios = [p / s for p, s in zip(times["plain"], seconds, strict=True)]
            values = (1e3 * statistics.median(seconds), statistics.median(ratios), min(ratios), max(ratios))
            print(
                f"| {method} | {name} | {values[0]:.0f} | {values[1]:.2f} | {values[2]:.2f} | {values[3]:.2f} |"
            )


if __name__ == "__main__":
    main()
