"""How many workers a machine gets, and what each has of it: threads, one GPU."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from bench.errors import UsageError
from bench.launch.device import num_cores

MOST = 1000
# On one GPU six processes under MPS were as fast as twelve, within noise.
MOST_PER_GPU = 6
GIB = 1 << 30
# Of the processor's memory, for torch, a data set and a network; of a GPU's, for what CUDA keeps of each process.
WORKER_BYTES, CONTEXT_BYTES = 3 * GIB // 2, 3 * GIB // 4
# torch reserves more than it allocates, and what it has allocated so far may not be the most it will.
RESERVE = 1.5


@dataclass(frozen=True)
class Jobs:
    """How many workers were asked for.

    Attributes:
        number: of workers; None is as many as fit.
        per_gpu: of workers on each GPU, where that was asked for instead.
    """

    number: int | None = None
    per_gpu: int | None = None


@dataclass(frozen=True)
class Machine:
    """What a worker has seen of this machine.

    Attributes:
        device: "cpu" or "cuda".
        name: what it calls itself.
        gpus: how to name each of them in CUDA_VISIBLE_DEVICES.
        free: bytes free on each.
        cores: of the processor.
        memory: bytes free.
    """

    device: str = "cpu"
    name: str = ""
    gpus: tuple[str, ...] = ()
    free: tuple[int, ...] = ()
    cores: int = 1
    memory: int = WORKER_BYTES

    def pin(self, slot: int) -> str | None:
        """The GPU of a worker, for CUDA_VISIBLE_DEVICES; None where there is no choice."""
        return self.gpus[slot % len(self.gpus)] if len(self.gpus) > 1 else None


def gpu_names(count: int, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """What each GPU that torch counts is called in CUDA_VISIBLE_DEVICES."""
    named = [name.strip() for name in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return tuple(named[:count]) if len(named) >= count else tuple(map(str, range(count)))


def threads_each(jobs: Jobs, typed: int | None) -> int | None:
    """Threads of a worker's cells; None leaves it to torch.

    They do not depend on how many workers there turn out to be: a cell's bits would.
    """
    if typed is not None:
        return typed
    if jobs.number == 1:
        return None
    if jobs.number is None:
        return 1
    given = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, (int(given) if given.isdigit() and int(given) else num_cores()) // jobs.number)


def num_workers(jobs: Jobs, machine: Machine, peaks: Iterable[int] = ()) -> int:
    """How many workers to have now.

    Args:
        jobs: what was asked for.
        machine: what there is.
        peaks: bytes of a GPU that cells have had so far; as long as there are none, a GPU has one worker.

    Raises:
        UsageError: workers were asked for by the GPU, and there is none.
    """
    if jobs.per_gpu is not None:
        if not machine.gpus:
            raise UsageError(
                f"--jobs-per-gpu {jobs.per_gpu}: torch sees no GPU here; -j N has N processes on the processor"
            )
        return jobs.per_gpu * len(machine.gpus)
    if jobs.number is not None:
        return jobs.number
    if not machine.gpus:
        return max(1, min(machine.cores, machine.memory // WORKER_BYTES))
    peak = max(peaks, default=0)
    if not peak:
        return len(machine.gpus)
    need = CONTEXT_BYTES + int(RESERVE * peak)
    fits = sum(max(1, min(MOST_PER_GPU, free // need)) for free in machine.free)
    return max(len(machine.gpus), min(fits, machine.cores))


def provenance(number: int, pin: str | None) -> dict[str, Any]:
    """What a record says of the workers that ran beside its own.

    Args:
        number: of workers.
        pin: this one's GPU.
    """
    return {
        "workers": number,
        "gpu": pin,
        # Where NVIDIA's multi-process service runs, processes compute on a GPU at once; else they take turns.
        "mps": bool(os.environ.get("CUDA_MPS_PIPE_DIRECTORY")),
    }
