"""Shuffled batches from an array in memory, from a mapped file and by decoding, taking turns in one process."""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from bench.data import registry
from bench.data.arrays import Dataset, Split
from bench.data.batches import Pixels, batch_bounds
from bench.data.compressed import CompressedImages
from bench.data.shuffling import epoch_order, reach
from bench.data.streaming import StreamedPixels
from bench.protocols import Shuffle

MEMORY, MAPPED, BLOCKS, DECODED = "array in memory", "mapped", "mapped, by blocks", "decoded each time"
BATCH = 128
# Batches of a round that are decoded: many times slower.
DECODED_BATCHES = 4


def measure(name: str, root: Path, *, rounds: int, device: str, batches: int | None = None) -> dict[str, Any]:
    """Images a second of each way, and ratios within a round.

    Args:
        name: of a data set that is prepared, or will be now.
        root: the data folder.
        rounds: in which every way delivers its batches once; one more warms up.
        device: where batches are wanted.
        batches: of a round; None is an epoch.

    Returns:
        "rounds", each {way: {"images", "wall", "processor"}} in seconds, and "ratios": way -> median over rounds of
        its images a second of wall time, and of CPU time of all threads, by those of an array in memory.
    """
    data = registry.load(name, root)
    ways = _ways(data, name, root, device, batches)
    found = []
    for number in range(rounds + 1):
        done = {}
        for way, run in ways.items():
            wall, processor = time.perf_counter(), time.process_time()
            images = run(number)
            if torch.device(device).type != "cpu":
                torch.accelerator.synchronize(device)
            done[way] = {
                "images": images,
                "wall": time.perf_counter() - wall,
                "processor": time.process_time() - processor,
            }
        found.append(done)
    return {"rounds": found[1:], "ratios": {way: _ratios(found[1:], way) for way in ways}}


def _ratios(rounds: list[dict[str, dict[str, float]]], way: str) -> dict[str, float]:
    """Of images a second; and of the mapped ways, to decoding too."""

    def median(clock: str, to: str) -> float:
        # Rates first: then a way's ratio to itself is 1 to the last bit.
        rates = [{w: r[w]["images"] / r[w][clock] for w in (way, to)} for r in rounds]
        return statistics.median(r[way] / r[to] for r in rates)

    return {
        "images_per_second": statistics.median(r[way]["images"] / r[way]["wall"] for r in rounds),
        "to_memory": median("wall", MEMORY),
        "to_memory_processor": median("processor", MEMORY),
        "to_decoding": median("wall", DECODED),
        "to_decoding_processor": median("processor", DECODED),
    }


def _ways(
    data: Dataset, name: str, root: Path, device: str, batches: int | None
) -> dict[str, Callable[[int], int]]:
    """Way -> what delivers the batches of an epoch and gives the number of images."""
    source = registry.find(name, root)
    assert source.layout is not None
    layout = source.layout()
    paths, side = [path for path, _ in layout.train], data.train.images.shape[-1]
    compressed: Any = CompressedImages(layout.where, paths, side)
    files = Split(compressed, data.train.labels)

    def way(pixels: Pixels, shuffle: Shuffle = "full", most: int | None = batches) -> Callable[[int], int]:
        def run(epoch: int) -> int:
            order = epoch_order(len(pixels), 0, "order", epoch, shuffle=shuffle).to(pixels.index_device)
            parts = [order[begin:end] for begin, end in batch_bounds(len(pixels), BATCH, True)[:most]]
            with pixels:
                pixels.expect(iter(parts), reach=reach(shuffle))
                for part in parts:
                    pixels.batch(part)
            return BATCH * len(parts)

        return run

    mapped = StreamedPixels(data.train, device, "imagenet")
    return {
        MEMORY: way(Pixels(data.train, device, "imagenet")),
        MAPPED: way(mapped),
        BLOCKS: way(mapped, "blocks"),
        DECODED: way(StreamedPixels(files, device, "imagenet"), most=DECODED_BATCHES),
    }
