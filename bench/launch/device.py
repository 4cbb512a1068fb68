"""Which device and how many threads a cell gets."""

import functools
import os
import platform
from pathlib import Path

from bench.errors import UsageError
from bench.importing import importing

DEVICES = ("auto", "cpu", "cuda")


def processor_name() -> str:
    """What the processor calls itself."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def resolve_device(name: str) -> tuple[str, str]:
    """A device that is there, and what it calls itself.

    Args:
        name: "auto" (a GPU if there is one), "cpu" or "cuda".

    Raises:
        UsageError: no such device here.
    """
    if name != "cpu":
        with importing():
            import torch

        if torch.cuda.is_available():
            return "cuda", torch.cuda.get_device_name()
        if name == "cuda":
            raise UsageError("--device cuda: torch sees no GPU here; --device cpu runs on the processor")
    return "cpu", processor_name()


@functools.cache
def default_threads() -> int:
    """Threads that torch takes by itself; asked before a cell sets another number."""
    import torch

    return torch.get_num_threads()


def num_cores() -> int:
    """Cores that this process may use, as torch counts them: hyperthreads are not cores."""
    import psutil

    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:
        # Not on macOS.
        usable = os.cpu_count() or 1
    return min(usable, psutil.cpu_count(logical=False) or usable)
