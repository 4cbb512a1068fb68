"""How long a training step takes in each way of computing it, and which share that is of what the device can do.

In every round each way takes a step in turn, and so do the step's own convolutions alone and a large product: ratios
and shares are taken within a round, so that what else the machine is doing falls on all of them.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import torch

from bench.data.arrays import Split
from bench.launch.control import RunOptions
from bench.loop import prepare_device
from bench.perf.authors import why_not
from bench.perf.breakdown import breakdown
from bench.perf.ceiling import copied_bytes_per_second
from bench.perf.clone import AUTHORS, COMMIT, REPOSITORY
from bench.perf.facts import spread
from bench.perf.peak import peak
from bench.perf.steps import some_images
from bench.perf.turns import CONVOLUTIONS, PRODUCT, Beside, Turns, rounds
from bench.perf.ways import chosen, ways
from bench.speed import Speed, choose, has_bf16


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
        authors: folder of a clone of the authors' code, whose step is taken too.
        beside: processes that take the same turns at the same time, this one among them.
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
    authors: str | None = None
    beside: int = 1


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
        BenchError: a process that was to tell its peak memory, or to be measured beside this one, died.
    """
    device = prepare_device(wish.device, RunOptions(threads=wish.threads))
    speeds = compared(wish)
    split = some_images(wish.split, wish.batch, wish.size)
    rows = [_method(name, speeds, split, wish, tell) for name in wish.methods]
    product = [value for row in rows for value in row.pop(PRODUCT)]
    return {
        "batch": wish.batch,
        "size": wish.size,
        "rounds": wish.rounds,
        "beside": wish.beside,
        **({} if wish.authors is None else {AUTHORS: {"repository": REPOSITORY, "commit": COMMIT}}),
        "precision": wish.precision,
        "clock": "CPU seconds" if device.type == "cpu" and wish.threads == 1 else "wall seconds",
        "product": {
            "dtype": "bf16" if has_bf16(wish.device) else "fp32",
            "flops": statistics.median(product),
        },
        # Of this process alone it would be no ceiling of several.
        **({"copied_bytes_per_second": copied_bytes_per_second(device)} if wish.beside == 1 else {}),
        "rows": rows,
    }


def _method(
    name: str, speeds: Mapping[str, Speed], split: Split, wish: Wish, tell: Callable[[str], None]
) -> dict[str, Any]:
    tell(f"{name}: {', '.join(speeds)}{_with_authors(name, wish)}")
    turns = Turns(name, speeds, split, wish)
    alone = turns.alone
    with ExitStack() as ended:
        beside = Beside(
            wish.beside - 1,
            ended,
            name,
            speeds,
            split,
            replace(wish, split=split),
            (alone.layout, alone.dtype),
        )
        times = rounds(turns, beside, wish.rounds, torch.device(wish.device))
    flop = wish.beside * alone.flop()
    product = [turns.product_flop / taken for taken in times[PRODUCT]]
    rows = [_row(way, speeds.get(way), times, product, turns, wish) for way in turns.ways]
    if wish.profile:
        for row in rows:
            row["profile"] = breakdown(turns.ready(row["way"]), torch.device(wish.device))
    facts = {
        "method": name,
        "flop": turns.work.flop,
        "touched_bytes": turns.work.touched,
        CONVOLUTIONS: {
            "calls": len(turns.work.calls),
            "flop": alone.flop(),
            "layout": alone.layout,
            "dtype": _word(alone.dtype),
            "ms": 1e3 * statistics.median(times[CONVOLUTIONS]),
            "flops": statistics.median(flop / taken for taken in times[CONVOLUTIONS]),
        },
        PRODUCT: [wish.beside * one for one in product],
        **_authors_facts(name, turns, wish),
        "ways": rows,
    }
    # Ways and their moments are given back before others measure their memory.
    del turns, alone
    shape = {"batch": wish.batch, "size": wish.size, "num_classes": wish.num_classes}
    for row in rows if wish.memory else ():
        if row["way"] in speeds:
            tell(f"{name}: memory, {row['way']}")
            threads = {"device": wish.device, "threads": wish.threads}
            row |= peak(name, speeds[row["way"]], **shape, **threads)
    return facts


def _with_authors(name: str, wish: Wish) -> str:
    if wish.authors is None:
        return ""
    missing = why_not(name)
    return f", {AUTHORS}" if missing is None else f" ({missing})"


def _authors_facts(name: str, turns: Turns, wish: Wish) -> dict[str, Any]:
    if wish.authors is None:
        return {}
    theirs = turns.authors
    if theirs is None:
        return {AUTHORS: {"missing": why_not(name)}}
    return {
        AUTHORS: {
            "parameters": theirs.parameters,
            "parameters_of_ours": turns.parameters,
            "note": theirs.note,
        }
    }


def _word(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.bfloat16: "bf16"}[dtype]


def _row(
    way: str,
    speed: Speed | None,
    times: Mapping[str, Sequence[float]],
    product: Sequence[float],
    turns: Turns,
    wish: Wish,
) -> dict[str, Any]:
    taken, work = times[way], turns.work
    seconds = statistics.median(taken)
    row = {
        "way": way,
        "switches": None if speed is None else speed.as_json(),
        "ms": 1e3 * seconds,
        "images_per_second": wish.beside * wish.batch / seconds,
        "flops": wish.beside * work.flop / seconds,
        "times_faster": spread([p / t for p, t in zip(times["plain"], taken, strict=True)]),
        "of_convolutions": spread([c / t for c, t in zip(times[CONVOLUTIONS], taken, strict=True)]),
        "of_product": spread([work.flop / t / p for t, p in zip(taken, product, strict=True)]),
    }
    if notes := turns.notes.get(way):
        row["notes"] = notes
    if AUTHORS in times and way != AUTHORS:
        row["times_authors"] = spread([a / t for a, t in zip(times[AUTHORS], taken, strict=True)])
    return row
