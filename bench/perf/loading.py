"""How fast images of 224 px are decoded: ours beside timm's own loader, over the same files with the same crop.

Both give normalised float batches: shorter side to the size, the centre, ImageNet's mean and deviation. Ours decodes
in threads, timm's in as many worker processes. They take turns, and a ratio is taken within a turn.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.data.batches import MEAN_STD
from bench.data.compressed import CompressedImages

SIDES = (500, 375)  # the commonest of ImageNet's


@dataclass(frozen=True)
class Wish:
    """What to measure.

    Attributes:
        images: how many are decoded in a turn.
        size: pixels a side of what is wanted.
        rounds: turns of each.
        batch: images a batch.
    """

    images: int = 384
    size: int = 224
    rounds: int = 5
    batch: int = 128


def cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def measure(wish: Wish) -> dict[str, Any]:
    """Images a second of both, and ours over timm's in each round; CPU seconds an image where /proc tells them."""
    with tempfile.TemporaryDirectory() as folder:
        paths = _photographs(Path(folder), wish.images)
        ours = CompressedImages(Path(folder), paths, wish.size)
        with _timms(Path(folder), wish) as (loader, workers):
            turns: dict[str, Callable[[], int]] = {
                "timm": lambda: sum(len(images) for images, _ in loader),
                "ours": lambda: sum(len(images) for images in _ours(ours, wish.batch)),
            }
            for turn in turns.values():
                turn()  # workers started, files in the page cache
            seconds: dict[str, list[float]] = {name: [] for name in turns}
            processor: dict[str, list[float]] = {name: [] for name in turns}
            for _ in range(wish.rounds):
                for name, turn in turns.items():
                    before, begin = _processor(workers()), time.perf_counter()
                    count = turn()
                    seconds[name].append((time.perf_counter() - begin) / count)
                    processor[name].append((_processor(workers()) - before) / count)
    times = [theirs / mine for theirs, mine in zip(seconds["timm"], seconds["ours"], strict=True)]
    used = [theirs / mine for theirs, mine in zip(processor["timm"], processor["ours"], strict=True)]
    return {
        "images": wish.images,
        "size": wish.size,
        "cores": cores(),
        "images_per_second": {name: 1 / float(np.median(each)) for name, each in seconds.items()},
        "cpu_ms_per_image": {name: 1000 * float(np.median(each)) for name, each in processor.items()},
        "times_faster": times,
        "times_less_cpu": used,
    }


def _photographs(folder: Path, count: int) -> list[str]:
    """JPEGs of about ImageNet's size and weight (some 100 KB): coarse shapes under fine grain."""
    paths = []
    (folder / "all").mkdir()
    for i in range(count):
        stream = np.random.default_rng(i)
        coarse = Image.fromarray(stream.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        grain = stream.normal(0, 12, (SIDES[1], SIDES[0], 1))
        image = np.asarray(coarse.resize(SIDES, Image.Resampling.BICUBIC), np.float32) + grain
        paths.append(f"all/{i:05d}.jpg")
        Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / paths[-1], quality=90)
    return paths


def _ours(images: CompressedImages, batch: int) -> Iterator[torch.Tensor]:
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in MEAN_STD["imagenet"])
    factor, offset = 1 / (255 * std), mean / std
    for begin in range(0, len(images), batch):
        yield torch.from_numpy(images[begin : begin + batch]).float().mul_(factor).sub_(offset)


@contextlib.contextmanager
def _timms(folder: Path, wish: Wish) -> Iterator[tuple[Any, Callable[[], list[int]]]]:
    """Timm's loader, whose workers stay alive, and their process ids."""
    from timm.data.dataset_factory import create_dataset
    from timm.data.loader import create_loader

    files: Any = create_dataset("", root=str(folder), search_split=False)
    loader: Any = create_loader(
        files,
        input_size=(3, wish.size, wish.size),
        batch_size=wish.batch,
        is_training=False,
        use_prefetcher=False,
        interpolation="bilinear",
        crop_pct=1.0,
        num_workers=cores(),
        pin_memory=False,
        persistent_workers=True,
    )

    def workers() -> list[int]:
        return [worker.pid for worker in getattr(loader._iterator, "_workers", ())]

    try:
        yield loader, workers
    finally:
        if loader._iterator is not None:
            loader._iterator._shutdown_workers()


def _processor(workers: list[int]) -> float:
    """CPU seconds of this process and of workers so far."""
    total = time.process_time()
    for pid in workers:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return total


def rows(found: dict[str, Any]) -> list[list[str]]:
    """A row of a table for each way."""
    low, high = min(found["times_faster"]), max(found["times_faster"])
    ratio = f"{float(np.median(found['times_faster'])):.2f} ({low:.2f} to {high:.2f})"
    less = f"{float(np.median(found['times_less_cpu'])):.2f}"
    return [
        [
            name,
            f"{found['images_per_second'][name]:.0f}",
            ratio if name == "ours" else "1",
            f"{found['cpu_ms_per_image'][name]:.2f}",
            less if name == "ours" else "1",
        ]
        for name in ("timm", "ours")
    ]
