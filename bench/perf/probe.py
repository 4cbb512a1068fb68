"""How long a probe takes, feature pass included: features recomputed each epoch, computed once, and the fast way.

Each way runs `bench.probe.probe` itself on the same images, weights and seed, in turn, several times over; what is
printed is the median of each and of the ratios within a round. All ways take time in proportion to the images and,
after the first, to the epochs, so a few epochs of a few images say what a whole probe would take.
"""

import statistics
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from bench.build import build_backbone
from bench.compilable import why_missing
from bench.data.arrays import Dataset, Split
from bench.errors import BenchError
from bench.feature_store import SHELF
from bench.heads import freeze_index
from bench.launch.control import RunOptions
from bench.perf.ceiling import convolutions, matmul_flops
from bench.perf.facts import spread
from bench.perf.peak import probe_peak
from bench.perf.probe_time import Taken, fresh_weights, probe_config, time_probe
from bench.probe_speed import choose_probe
from bench.speed import without_c

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SWITCHES = (
    "folded",
    "bilinear",
    "winograd",
    "direct",
    "fused_norm",
    "folded_tests",
    "twister",
    "closed_head",
    "head_panels",
    "keep_memory",
)


@dataclass(frozen=True)
class Wish:
    """What to measure.

    Attributes:
        data: images and labels.
        freezes: freeze points.
        backbone: timm's name.
        device: "cpu", "cuda", ...
        threads: of each way.
        pairs: rounds, each way once a round.
        images: training images.
        tested: images to test on after each epoch; None is a fifth of them.
        epochs: run; the first also pays for what is computed once.
        of_epochs: of the whole probe that is told of.
        precision: see `bench.speed.choose`.
        each: also the fast way without each of its switches.
        shared: also the freeze points in turn, with features made anew and with those of one kept for the next; fp32.
        memory: each way's peak too, in a process of its own.
    """

    data: Dataset
    freezes: tuple[str, ...]
    backbone: str = "resnet9"
    device: str = "cpu"
    threads: int = 1
    pairs: int = 5
    images: int = 1280
    tested: int | None = None
    epochs: int = 3
    of_epochs: int = 30
    precision: str = "auto"
    each: bool = False
    shared: bool = False
    memory: bool = True


def measure(wish: Wish, tell: Callable[[str], None]) -> dict[str, Any]:
    """Times and ratios by freeze point and way, and the ceilings of the device.

    Args:
        wish: what to measure.
        tell: told now and then how far it is, and why a peak is missing.
    """
    torch.set_num_threads(wish.threads)
    device = torch.device(wish.device)
    data = few(wish.data, wish.images, wish.tested)
    fast = choose_probe(wish.device, "auto", wish.precision)
    fast = without_c(fast) if why_missing() else fast
    plain = RunOptions(threads=wish.threads)
    ways = {
        "recomputed": replace(plain, cache_bytes=0),
        "cached": plain,
        "fast": replace(plain, probing=fast),
    }
    if wish.each:
        for name in SWITCHES:
            if getattr(fast, name):
                ways[f"fast but {name}"] = replace(plain, probing=replace(fast, **{name: False}))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        weights, backbone = fresh_weights(wish.backbone, Path(folder)), build_backbone(wish.backbone, 0)
        for options in ways.values():
            # What a library sets up at its first call is not a way's.
            _time(wish, wish.freezes[0], few(data, 128), weights, options, epochs=1)
        for freeze in wish.freezes:
            index = freeze_index(backbone, freeze)
            rounds: list[dict[str, Taken]] = []
            for number in range(wish.pairs):
                tell(f"{freeze}: round {number + 1} of {wish.pairs}")
                names = list(ways)[:: 1 if number % 2 else -1]
                taken = {n: _time(wish, freeze, data, weights, ways[n]) for n in names}
                # A table has the plain one first, whichever began.
                rounds.append({n: taken[n] for n in ways})
            rows.append(_row(wish, freeze, rounds, _flop(backbone, index, data, wish)))
            if wish.memory:
                tell(f"{freeze}: memory")
                for name, options in ways.items():
                    # Minutes of times are not lost for one of them.
                    try:
                        rows[-1]["ways"][name] |= _peak(wish, freeze, data, options)
                    except BenchError as error:
                        tell(str(error))
        shared = None
        if wish.shared:
            ordered = sorted(wish.freezes, key=lambda freeze: freeze_index(backbone, freeze))
            shared = _shared(wish, ordered, data, weights, replace(plain, probing=fast), tell)
    backbone = backbone.to(device, memory_format=torch.channels_last).eval()  # pyright: ignore[reportCallIssue]
    images = torch.randn(128, *data.train.images.shape[1:], device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    taken, flop = convolutions(backbone, images, len(backbone.stages))
    return {
        "part": "probe",
        "device": wish.device,
        "threads": wish.threads,
        "images": len(data.train.labels),
        "tested": len(data.test.labels),
        "epochs_run": wish.epochs,
        "epochs": wish.of_epochs,
        "backbone": wish.backbone,
        "precision": wish.precision,
        "pairs": wish.pairs,
        "switches": fast.as_json(),
        "ceiling": {
            "matmul_flops": matmul_flops(device, DTYPES[fast.precision]),
            "dtype": fast.precision,
            "convolutions_flops": flop / taken,
            "convolutions_images_per_second": len(images) / taken,
        },
        "rows": rows,
        **({} if shared is None else {"shared": shared}),
    }


def few(data: Dataset, count: int, tested: int | None = None) -> Dataset:
    """The first images of a data set, as many as there are at most; None tests on a fifth of them."""

    def first(split: Split, n: int) -> Split:
        return Split(split.images[:n], split.labels[:n])

    return replace(data, train=first(data.train, count), test=first(data.test, tested or max(1, count // 5)))


def _time(
    wish: Wish,
    freeze: str,
    data: Dataset,
    weights: Path,
    options: RunOptions,
    *,
    epochs: int | None = None,
    kept: bool = False,
) -> Taken:
    config = probe_config(wish.backbone, freeze, epochs or wish.epochs, len(data.train.labels))
    return time_probe(config, data, weights, wish.device, options, kept)


def _peak(wish: Wish, freeze: str, data: Dataset, options: RunOptions) -> dict[str, int]:
    return probe_peak(
        freeze,
        options,
        backbone=wish.backbone,
        images=len(data.train.labels),
        tested=len(data.test.labels),
        size=data.train.images.shape[-1],
        num_classes=len(data.classes),
        device=wish.device,
    )


def _shared(
    wish: Wish,
    freezes: Sequence[str],
    data: Dataset,
    weights: Path,
    options: RunOptions,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Probes of one pretraining one after another, the least frozen first: features anew each time, and kept.

    Returns:
        Ratios of the seconds before training begins and of those of whole probes, one a round.
    """
    before, whole = [], []
    for number in range(wish.pairs):
        tell(f"features kept from one freeze point to the next: round {number + 1} of {wish.pairs}")
        taken: dict[bool, list[Taken]] = {}
        for kept in (True, False)[:: 1 if number % 2 else -1]:
            SHELF.items.clear()
            each = replace(options, probing=replace(options.probing, shared=kept))
            taken[kept] = [_time(wish, freeze, data, weights, each, kept=True) for freeze in freezes]
        anew, now = taken[False], taken[True]
        before.append(sum(t.before for t in anew) / sum(t.before for t in now))
        whole.append(sum(t.whole(wish.of_epochs) for t in anew) / sum(t.whole(wish.of_epochs) for t in now))
    SHELF.items.clear()
    return {"freezes": list(freezes), "before": spread(before), "whole": spread(whole)}


def _flop(backbone: Any, index: int, data: Dataset, wish: Wish) -> int:
    """Of training on one image, the frozen stages left out, convolutions as nine products an output."""
    from bench.heads import Head, Probe

    size = data.train.images.shape[1:]
    backbone = build_backbone(wish.backbone, 0).eval()
    with torch.no_grad():
        features = backbone(torch.zeros(2, *size), 0, index)
        inputs = backbone(features, index).flatten(1).shape[1]
    model = Probe(backbone, index, Head(inputs, len(data.classes)), False, False).train()
    with FlopCounterMode(display=False) as counter:
        model(features).sum().backward()
    return counter.get_total_flops() // 2


def _row(wish: Wish, freeze: str, rounds: Sequence[dict[str, Taken]], flop: int) -> dict[str, Any]:
    def whole(taken: Taken) -> float:
        return taken.whole(wish.of_epochs)

    batches = -(-min(wish.images, len(wish.data.train.labels)) // 128)
    ways = {}
    for name in rounds[0]:
        epoch = statistics.median(r[name].epoch for r in rounds)
        ways[name] = {
            "seconds": statistics.median(whole(r[name]) for r in rounds),
            "first_epoch_seconds": statistics.median(r[name].first for r in rounds),
            "epoch_seconds": epoch,
            "ms_a_batch": 1000 * epoch / batches,
            "images_per_second": min(wish.images, len(wish.data.train.labels)) / epoch,
            "times_faster": statistics.median(whole(r["recomputed"]) / whole(r[name]) for r in rounds),
            "each_round": [whole(r["recomputed"]) / whole(r[name]) for r in rounds],
        }
    return {"freeze": freeze, "flop_per_image": flop, "ways": ways}
