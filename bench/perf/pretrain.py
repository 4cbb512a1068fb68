"""How long a training step takes in each way of computing it, and which share that is of what the device can do.

In every round each way takes a step in turn, and so do the step's own convolutions alone and a large product: ratios
and shares are taken within a round, so that what else the machine is doing falls on all of them.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from bench.data.arrays import Split
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.memory import keep_freed_memory
from bench.perf.breakdown import breakdown
from bench.perf.ceiling import MATMUL, clock, copied_bytes_per_second
from bench.perf.facts import spread
from bench.perf.peak import peak
from bench.perf.steps import make_steps, set_memory, some_images
from bench.perf.ways import chosen, ways
from bench.perf.work import Convolutions, Work, best_convolutions, work_of
from bench.speed import Speed, choose, has_bf16
from bench.train import Steps

# Rounds that warm up, and steps of a turn: one step of a GPU is too short to be timed alone.
WARM_UP = {"cpu": (2, 1), "cuda": (5, 10)}
CONVOLUTIONS, PRODUCT = "convolutions", "product"


@dataclass(frozen=True)
class Wish:
    """What to measure.

    Attributes:
        methods: names.
        split: images and labels.
        num_classes: of the labels.
        batch: images a step.
        size: pixels a side, to which the images are scaled.
        rounds: in each of which every way takes one turn.
        device: "cpu" or "cuda".
        precision: see `bench.speed.choose`.
        threads: of all that is measured.
        each: also the fast way with each of its switches turned.
        compiled: also the plain way, compiled.
        ways: names of those wanted; () is all.
        memory: measure peaks too, each in a process of its own.
        profile: say where the rest of the step goes.
    """

    methods: tuple[str, ...]
    split: Split
    num_classes: int
    batch: int = 128
    size: int = 32
    rounds: int = 9
    device: str = "cpu"
    precision: str = "auto"
    threads: int = 1
    each: bool = False
    compiled: bool = False
    ways: tuple[str, ...] = ()
    memory: bool = True
    profile: bool = False


def compared(wish: Wish) -> dict[str, Speed]:
    """The ways that a wish means.

    Raises:
        UsageError: one that it names does not exist here.
    """
    fast = choose(wish.device, "auto", wish.precision)
    named = bool(wish.ways)
    found = ways(fast, each=wish.each or named, compiled=wish.compiled or named, bf16=has_bf16(wish.device))
    return chosen(found, wish.ways)


def measure(wish: Wish, tell: Callable[[str], None]) -> dict[str, Any]:
    """Times, rates, shares and peaks by method and way, and the ceilings of the device.

    Args:
        wish: what to measure.
        tell: told now and then how far it is.

    Raises:
        UsageError: a way does not exist here, or a method cannot be built for such images.
        BenchError: a process that was to tell its peak memory died.
    """
    device = prepare_device(wish.device, RunOptions(threads=wish.threads))
    speeds = compared(wish)
    dtype = torch.bfloat16 if has_bf16(wish.device) else torch.float32
    split = some_images(wish.split, wish.batch, wish.size)
    rows = [_method(name, speeds, split, wish, device, dtype, tell) for name in wish.methods]
    product = [value for row in rows for value in row.pop(PRODUCT)]
    return {
        "batch": wish.batch,
        "size": wish.size,
        "rounds": wish.rounds,
        "precision": wish.precision,
        "clock": "CPU seconds" if device.type == "cpu" and wish.threads == 1 else "wall seconds",
        "product": {"dtype": _word(dtype), "flops": statistics.median(product)},
        "copied_bytes_per_second": copied_bytes_per_second(device),
        "rows": rows,
    }


def _method(
    name: str,
    speeds: Mapping[str, Speed],
    split: Split,
    wish: Wish,
    device: torch.device,
    dtype: torch.dtype,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    tell(f"{name}: {', '.join(speeds)}")
    shape = {"batch": wish.batch, "size": wish.size, "num_classes": wish.num_classes}
    steps = {way: make_steps(name, speed, split, device=device, **shape) for way, speed in speeds.items()}
    work = work_of(steps["plain"].next)
    keep_freed_memory()
    alone = best_convolutions(work.calls, device)
    times = _rounds(steps, speeds, alone, _product(device, dtype), wish, device)
    flop = alone.flop()
    rows = [_row(way, speed, times, work, wish) for way, speed in speeds.items()]
    if wish.profile:
        for row in rows:
            set_memory(speeds[row["way"]])
            row["profile"] = breakdown(steps[row["way"]].next, device)
    # Ways and their moments are given back before others measure their memory.
    steps.clear()
    for row in rows if wish.memory else ():
        tell(f"{name}: memory, {row['way']}")
        threads = {"device": wish.device, "threads": wish.threads}
        row |= peak(name, speeds[row["way"]], **shape, **threads)
    return {
        "method": name,
        "flop": work.flop,
        "touched_bytes": work.touched,
        CONVOLUTIONS: {
            "calls": len(work.calls),
            "flop": flop,
            "layout": alone.layout,
            "dtype": _word(alone.dtype),
            "ms": 1e3 * statistics.median(times[CONVOLUTIONS]),
            "flops": statistics.median(flop / taken for taken in times[CONVOLUTIONS]),
        },
        PRODUCT: [2 * MATMUL**3 / taken for taken in times[PRODUCT]],
        "ways": rows,
    }


def _word(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


def _product(device: torch.device, dtype: torch.dtype) -> Callable[[], object]:
    a, b = (torch.randn(MATMUL, MATMUL, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b


def _rounds(
    steps: Mapping[str, Steps],
    speeds: Mapping[str, Speed],
    alone: Convolutions,
    product: Callable[[], object],
    wish: Wish,
    device: torch.device,
) -> dict[str, list[float]]:
    """Seconds of each way's step and of each ceiling, by name, one a round."""
    warm_up, a_turn = WARM_UP.get(device.type, WARM_UP["cuda"])
    runs: dict[str, Callable[[], object]] = {way: one.next for way, one in steps.items()}
    runs |= {CONVOLUTIONS: alone, PRODUCT: product}
    found: dict[str, list[float]] = {name: [] for name in runs}
    names = list(runs)
    for turn in range(wish.rounds + warm_up):
        # Who comes after whom changes from round to round.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            if name in speeds:
                set_memory(speeds[name])
            else:
                keep_freed_memory()
            begun = clock(device, wish.threads)
            for _ in range(a_turn):
                runs[name]()
            if turn >= warm_up:
                found[name].append((clock(device, wish.threads) - begun) / a_turn)
    return found


def _row(
    way: str, speed: Speed, times: Mapping[str, Sequence[float]], work: Work, wish: Wish
) -> dict[str, Any]:
    taken = times[way]
    seconds = statistics.median(taken)
    product = [2 * MATMUL**3 / one for one in times[PRODUCT]]
    return {
        "way": way,
        "switches": speed.as_json(),
        "ms": 1e3 * seconds,
        "images_per_second": wish.batch / seconds,
        "flops": work.flop / seconds,
        "times_faster": spread([p / t for p, t in zip(times["plain"], taken, strict=True)]),
        "of_convolutions": spread([c / t for c, t in zip(times[CONVOLUTIONS], taken, strict=True)]),
        "of_product": spread([work.flop / t / p for t, p in zip(taken, product, strict=True)]),
    }
