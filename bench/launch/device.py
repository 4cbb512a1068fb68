"""Which device and how many threads a cell gets."""

import platform
from pathlib import Path

from bench.errors import UsageError

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
        import torch

        if torch.cuda.is_available():
            return "cuda", torch.cuda.get_device_name()
        if name == "cuda":
            raise UsageError("--device cuda: torch sees no GPU here; --device cpu runs on the processor")
    return "cpu", processor_name()


def default_threads() -> int:
    """Threads that torch takes by itself."""
    import torch

    return torch.get_num_threads()
