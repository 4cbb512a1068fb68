"""Runs miniatures within a budget of seconds: `python -m bench.micro.budget`, which `bench.micro.asking` starts.

It reads one JSON object and writes lines of JSON: {"ready": true}, then {"key", "measurement"} or {"key", "why"}. A
key may come several times, of which the last one is the best known.
"""

import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.evaluations.registry import EVALUATIONS
from bench.importing import importing
from bench.launch.control import RunOptions
from bench.launch.device import resolve_device
from bench.micro.measurement import Measurement

with importing():
    import torch

    from bench.micro.miniatures import Miniatures, Wanted

# Shortest time in which a miniature that was measured once is worth measuring again.
AGAIN_SECONDS = 0.2


def run(miniatures: Miniatures, cells: list[Wanted], seconds: float, tell: Callable[..., None]) -> None:
    """Measure each once, the costliest first, and while there is time their steps again.

    Args:
        miniatures: runs them.
        cells: the costliest first.
        seconds: of the clock, after which none is begun.
        tell: told what each came to.
    """
    until = miniatures.clock()[0] + seconds
    known: dict[str, Measurement] = {}

    def one(wanted: Wanted, stop: float | None) -> None:
        try:
            known[wanted.key] = miniatures.measure(wanted, stop)
            tell(key=wanted.key, measurement=known[wanted.key].as_json())
        except Exception as error:
            # Whatever is wrong with a cell is said when it is run; here it is only not predicted.
            tell(key=wanted.key, why=f"{type(error).__name__}: {str(error)[:200]}")

    for wanted in cells:
        if miniatures.clock()[0] >= until:
            return
        one(wanted, None)
    again = [w for w in cells if w.key in known and known[w.key].parts.step]
    total = sum(w.share for w in again) or 1.0
    left = until - miniatures.clock()[0]
    for wanted in again:
        stop = miniatures.clock()[0] + left * wanted.share / total
        if min(stop, until) - miniatures.clock()[0] > AGAIN_SECONDS:
            one(wanted, min(stop, until))


def prepare(device: str, configs: Iterable[Mapping[str, Any]]) -> None:
    """Import what cells need: a process that runs many of them does so once."""
    names = {"bench.train", "bench.probe", "bench.evaluate", "timm"}
    for config in configs:
        if (row := EVALUATIONS.get(config.get("evaluation", ""))) is not None:
            names |= {row.target.partition(":")[0], "torchmetrics.functional.image"}
    for name in sorted(names):
        import_module(name)
    if device == "cuda":
        torch.zeros(1, device=device)


def main() -> None:
    """Do what the standard input asks for."""
    # Whatever a library prints must not come between the lines.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def tell(**message: Any) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    from models.registry import load_plugins

    asked = json.loads(sys.stdin.readline())
    load_plugins()
    device, name = resolve_device(asked["device"])
    cells = [Wanted(**row) for row in asked["cells"]]
    prepare(device, [wanted.config for wanted in cells])
    tell(ready=True, device=name)
    options = RunOptions(**asked["options"])
    run(Miniatures(Path(asked["folder"]), options, device, name), cells, asked["seconds"], tell)


if __name__ == "__main__":
    main()
