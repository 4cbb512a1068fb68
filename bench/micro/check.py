"""How far what miniatures predict is from the truth: `python -m bench.micro.check`.

Ten cells of different kinds: a miniature of each is run, the cell itself right after it, in one process. Seconds on
the wall and of the processor are compared; where others use the processor too, the second tell more.
"""

import argparse
import os
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.data import registry as datasets
from bench.errors import BenchError
from bench.launch.cell import CellRunner, Work
from bench.launch.control import RunOptions, Stop
from bench.launch.device import DEVICES, resolve_device
from bench.launch.trainer import TorchTrainer
from bench.micro.budget import prepare, run
from bench.micro.left import leaving, there_still
from bench.micro.measurement import Measurement
from bench.micro.miniatures import Miniatures, Wanted
from bench.micro.scenery import Nobody, forget_peak, peak_since
from bench.micro.signature import images_of, key_of_signature, signature
from bench.plan import Cell, Selection, make_plan
from bench.probe_speed import choose_probe
from bench.records import open_results

METHODS = ("beta-vae", "patchvae", "bigan", "supervised", "scratch")
# (kind, method, freeze point or evaluation) of those that are compared.
TEN = (
    ("pretrain", "beta-vae", ""),
    ("pretrain", "patchvae", ""),
    ("pretrain", "bigan", ""),
    ("pretrain", "supervised", ""),
    ("probe", "beta-vae", "conv1-5"),
    ("probe", "beta-vae", "conv1-3"),
    ("probe", "beta-vae", "conv1"),
    ("probe", "scratch", "none"),
    ("evaluate", "beta-vae", "features"),
    ("evaluate", "patchvae", "reconstruction"),
)


@dataclass(frozen=True)
class Compared:
    """One cell, predicted and true.

    Attributes:
        label: what a person calls it.
        wall: predicted and true seconds.
        processor: predicted and true seconds of the processor.
        memory: predicted and true bytes.
    """

    label: str
    wall: tuple[float, float]
    processor: tuple[float, float]
    memory: tuple[int, int]


def cells_of(dataset: str, root: Path | None, epochs: tuple[int, int], wanted: Any = TEN) -> list[Cell]:
    """The cells of a data set, with those that they stand on, in the order in which they are run."""
    settings = {"pretrain.epochs": epochs[0], "probe.epochs": epochs[1]}
    chosen = Selection(
        METHODS, (dataset,), settings=settings, evaluations=("features", "reconstruction"), preset="smoke"
    )
    found = []
    for group in make_plan(chosen, root).groups:
        cells = [cell for cell in group.cells if _what(cell) in wanted]
        if cells and cells[0] is not group.pretrain:
            cells.insert(0, group.pretrain)
        found += cells
    return found


def _what(cell: Cell) -> tuple[str, str, str]:
    return cell.kind, cell.method, str(cell.config.get("freeze") or cell.config.get("evaluation", ""))


def compare(
    cells: list[Cell],
    root: Path | None,
    options: RunOptions,
    *,
    seconds: float,
    device: str = "cpu",
    wanted: Any = TEN,
    tell: Callable[[Compared], None] = lambda _: None,
) -> list[Compared]:
    """Predict and run each.

    Args:
        cells: those to compare, after those that they stand on.
        root: folder of the data sets.
        options: how they are run.
        seconds: for all miniatures together.
        device: where.
        wanted: which are compared; the others are only run.
        tell: told of each.
    """
    where, name = resolve_device(device)
    data = {cell.source: datasets.load(cell.source, root) for cell in cells}
    prepare(where, [cell.config for cell in cells])
    number = sum(_what(cell) in wanted for cell in cells)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        small, real = Path(folder, "miniatures"), Path(folder, "cells")
        open_results(real)
        miniatures = Miniatures(small, options, where, name)
        before = leaving(cells, choose_probe(where, options.speed, options.precision))
        told: dict[str, Measurement] = {}
        for cell in cells:
            images = images_of(cell, {}, {})
            key = key_of_signature(signature(cell, images))
            heard: list[dict[str, Any]] = []
            if compared := _what(cell) in wanted:
                one = Wanted(key, cell.config, images.pool, images.test, images.classes, 1.0)
                run(miniatures, [one], seconds / number, lambda heard=heard, **row: heard.append(row))
            forget_peak()
            runner = CellRunner(real, Nobody(), Stop(), TorchTrainer(), where, name, options, lambda _: None)
            begun = miniatures.clock()
            outcome = runner.run(Work(cell, data.__getitem__, 0, lambda: True), None)
            ended = miniatures.clock()
            if outcome.state != "done":
                raise RuntimeError(f"{cell.label}: {outcome.reason}")
            if not compared:
                continue
            measured = told[cell.id] = Measurement.from_json(heard[-1]["measurement"])
            left = there_still(
                cell, before.get(cell.id, ()), lambda one: told.get(one.id), images, options.cache_bytes
            )
            on_gpu = miniatures.on_gpu
            peak = int((outcome.result or {})["peak_memory_bytes"]) if on_gpu else peak_since()
            found.append(
                Compared(
                    cell.label,
                    (measured.seconds(cell.config, images, left=left), ended[0] - begun[0]),
                    (
                        measured.seconds(cell.config, images, processor=True, left=left),
                        ended[1] - begun[1],
                    ),
                    (measured.bytes(cell.config, images, options.cache_bytes, on_gpu), peak),
                )
            )
            tell(found[-1])
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.micro.check", description=__doc__)
    parser.add_argument("-d", "--dataset", default="digits")
    root = os.environ.get("BENCH_DATA")
    parser.add_argument("--data", type=Path, default=Path(root) if root else None, help="else BENCH_DATA")
    parser.add_argument("--device", default="auto", choices=DEVICES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=10.0, help="for all miniatures together")
    parser.add_argument("--epochs", type=int, nargs=2, default=(2, 3), help="of a pretraining and of a probe")
    given = parser.parse_args()
    try:
        cells = cells_of(given.dataset, given.data, tuple(given.epochs))
    except BenchError as error:
        parser.error(str(error))
    options = RunOptions(threads=given.threads, speed="auto")
    print("| cell | predicted s | true s | ratio | of the processor | true | ratio | predicted MB | true |")
    print("|:---|---:|---:|---:|---:|---:|---:|---:|---:|")

    def tell(one: Compared) -> None:
        words = [one.label]
        for predicted, true in (one.wall, one.processor):
            words += [f"{predicted:.2f}", f"{true:.2f}", f"{predicted / true:.2f}"]
        words += [f"{size / 1e6:.0f}" for size in one.memory]
        print(f"| {' | '.join(words)} |", flush=True)

    found = compare(cells, given.data, options, seconds=given.seconds, device=given.device, tell=tell)
    for name in ("wall", "processor"):
        ratios = [getattr(one, name)[0] / getattr(one, name)[1] for one in found]
        close = sum(abs(ratio - 1) <= 0.25 for ratio in ratios)
        total = [sum(getattr(one, name)[k] for one in found) for k in (0, 1)]
        print(
            f"{name}: {close} of {len(found)} within 25 %, median ratio {statistics.median(ratios):.2f},"
            f" total {total[0] / total[1]:.2f}"
        )


if __name__ == "__main__":
    main()
