"""Peak memory of a pretraining's steps, or of a probe, in a process of its own: a peak never goes down again.

`peak` and `probe_peak` start one; `python -m bench.perf.peak` is what it runs.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from bench.data.arrays import Dataset, Split
from bench.errors import BenchError
from bench.launch.control import RunOptions
from bench.loop import peak_memory, prepare_device
from bench.perf.probe_time import fresh_weights, probe_config, time_probe
from bench.perf.steps import BATCHES, make_steps, random_images, set_memory
from bench.probe_speed import ProbeSpeed
from bench.provenance import source_root
from bench.speed import Speed, from_json


def peak(
    method: str,
    speed: Speed,
    *,
    batch: int,
    size: int,
    num_classes: int,
    device: str,
    threads: int,
    steps: int = 3,
) -> dict[str, int]:
    """Bytes held at once by a process that takes a few steps, its images not counted.

    On a processor all of the process counts, torch's own code too; on a GPU what was allocated there.

    Returns:
        "peak_bytes", and "before_bytes": of the same process before the method was built.

    Raises:
        BenchError: the process died, which is mostly for want of memory.
    """
    asked = {
        "method": method, "speed": speed.as_json(), "batch": batch, "size": size, "num_classes": num_classes,
        "device": device, "threads": threads, "steps": steps,
    }  # fmt: skip
    return _in_its_process(asked, method)


def probe_peak(
    freeze: str,
    options: RunOptions,
    *,
    backbone: str,
    images: int,
    tested: int,
    size: int,
    num_classes: int,
    device: str,
) -> dict[str, int]:
    """Bytes held at once by a process that runs an epoch of a probe, features and all, the images given not counted.

    Args:
        freeze: point.
        options: `cache_bytes`, `threads` and `probing` are looked at.
        backbone: timm's name.
        images: to train on.
        tested: to test on.
        size: pixels a side.
        num_classes: of the labels.
        device: "cpu", "cuda", ...

    Returns:
        As `peak`; before, with the images given.

    Raises:
        BenchError: as `peak`.
    """
    asked = {
        "freeze": freeze, "speed": options.probing.as_json(), "cache_bytes": options.cache_bytes,
        "threads": options.threads, "backbone": backbone, "images": images, "tested": tested, "size": size,
        "num_classes": num_classes, "device": device,
    }  # fmt: skip
    return _in_its_process(asked, f"a probe at {freeze}")


def _in_its_process(asked: dict[str, Any], what: str) -> dict[str, int]:
    path = os.pathsep.join(filter(None, [str(source_root()), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "bench.perf.peak"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    if done.returncode:
        last = (done.stderr.strip() or f"signal {-done.returncode}").splitlines()[-1]
        raise BenchError(f"the peak memory of {what} could not be measured: {last}")
    return json.loads(done.stdout.splitlines()[-1])


def _peak(device: torch.device) -> int:
    """Bytes; on Linux those of this program alone: `getrusage` hands down the peak of the process that started it."""
    if device.type == "cpu":
        with contextlib.suppress(OSError, StopIteration):
            lines = Path("/proc/self/status").read_text().splitlines()
            return 1024 * int(next(line.split()[1] for line in lines if line.startswith("VmHWM:")))
    return peak_memory(device)


def _measure(asked: dict[str, Any]) -> dict[str, int]:
    from models.registry import load_plugins

    load_plugins()
    device = prepare_device(asked["device"], RunOptions(threads=asked["threads"]))
    return (_of_probe if "freeze" in asked else _of_steps)(asked, device)


def _of_probe(asked: dict[str, Any], device: torch.device) -> dict[str, int]:
    shape = asked["size"], asked["num_classes"]
    train, test = (_images(asked[name], *shape) for name in ("images", "tested"))
    names = tuple(map(str, range(asked["num_classes"])))
    data = Dataset("random", train, test, train, names, "random", False)
    options = RunOptions(
        threads=asked["threads"], cache_bytes=asked["cache_bytes"], probing=ProbeSpeed(**asked["speed"])
    )
    before = _peak(device)
    with tempfile.TemporaryDirectory() as folder:
        weights = fresh_weights(asked["backbone"], Path(folder))
        config = probe_config(asked["backbone"], asked["freeze"], 1, asked["images"])
        time_probe(config, data, weights, str(device), options)
    # A GPU's memory has none of the images given; copies that a way makes are its own.
    images = 0 if device.type == "cuda" else data.train.images.nbytes + data.test.images.nbytes
    return _without(images, device, before)


def _images(count: int, size: int, num_classes: int) -> Split:
    split = random_images(-(-count // BATCHES), size, num_classes)
    return Split(split.images[:count], split.labels[:count])


def _of_steps(asked: dict[str, Any], device: torch.device) -> dict[str, int]:
    split = random_images(asked["batch"], asked["size"], asked["num_classes"])
    speed = from_json(asked["speed"])
    set_memory(speed)
    before = _peak(device)
    shape = {key: asked[key] for key in ("batch", "size", "num_classes")}
    steps = make_steps(asked["method"], speed, split, device=device, **shape)
    for _ in range(asked["steps"]):
        steps.next()
    # A copy of the images lies on the device, beside the one that was made here.
    return _without(split.images.nbytes * (1 if device.type == "cuda" else 2), device, before)


def _without(images: int, device: torch.device, before: int) -> dict[str, int]:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return {"peak_bytes": _peak(device) - images, "before_bytes": before}


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
