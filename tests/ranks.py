"""What tests of several devices share: processes of gloo on this machine, forked from one that has loaded torch."""

import multiprocessing
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from bench.devices.share import Share

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.ranks", "tests.learning", "bench.train", "models.networks", "timm"])


def _rank(rank: int, world_size: int, store: str, call: Callable[..., Any], args: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=world_size)
    try:
        answers.put((rank, call(Share(rank, world_size), *args), ""))
    except Exception:
        answers.put((rank, None, traceback.format_exc()))
    finally:
        dist.destroy_process_group()


def on_ranks(world_size: int, call: Callable[..., Any], *args: Any) -> list[Any]:
    """Call `call(share, *args)` in so many processes; what each gave. It and what it gives must be picklable."""
    with tempfile.TemporaryDirectory() as folder:
        answers = _context.SimpleQueue()
        ranks = [
            _context.Process(
                target=_rank, args=(n, world_size, str(Path(folder, "store")), call, args, answers)
            )
            for n in range(world_size)
        ]
        for process in ranks:
            process.start()
        found: dict[int, Any] = {}
        try:
            for _ in ranks:
                rank, value, problem = answers.get()
                assert not problem, f"rank {rank}: {problem}"
                found[rank] = value
        finally:
            for process in ranks:
                process.join(20 if len(found) == world_size else 0.1)
                process.kill()
        return [found[n] for n in range(world_size)]
