"""Peak memory of a pretraining's steps in a process of its own: a process's peak never goes down again.

`peak` starts one; `python -m bench.perf.peak` is what it runs.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from bench.errors import BenchError
from bench.launch.control import RunOptions
from bench.loop import peak_memory, prepare_device
from bench.perf.steps import make_steps, random_images, set_memory
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
        raise BenchError(f"the peak memory of {method} could not be measured: {last}")
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
    split = random_images(asked["batch"], asked["size"], asked["num_classes"])
    speed = from_json(asked["speed"])
    set_memory(speed)
    before = _peak(device)
    shape = {key: asked[key] for key in ("batch", "size", "num_classes")}
    steps = make_steps(asked["method"], speed, split, device=device, **shape)
    for _ in range(asked["steps"]):
        steps.next()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    # A copy of the images lies on the device, beside the one that was made here.
    data = split.images.nbytes * (1 if device.type == "cuda" else 2)
    return {"peak_bytes": _peak(device) - data, "before_bytes": before}


if __name__ == "__main__":
    print(json.dumps(_measure(json.load(sys.stdin))))
