"""Several processes find one another: as tasks of a job of SLURM, by torchrun, or as one has started the others."""

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.errors import BenchError, UsageError
from models.registry import spec

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

# Below the range from which systems take ports for outgoing connections.
FIRST_PORT, NUM_PORTS = 15_000, 15_000


class NotJoined(BenchError):
    """The processes of a job did not find each other."""


@dataclass(frozen=True)
class Place:
    """Where this process stands among those of its job.

    Attributes:
        rank: of this process, 0 to world_size - 1.
        local_rank: among the processes of its node, which is also the number of its device.
        world_size: processes in all.
        master: name of the first node, where rank 0 runs.
        port: on which rank 0 listens.
        agent: torchrun's agent listens there instead.
    """

    rank: int
    local_rank: int
    world_size: int
    master: str
    port: int
    agent: bool = False

    def export(self) -> None:
        """Set the environment variables that torch and others look for."""
        os.environ |= {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "MASTER_ADDR": self.master,
            "MASTER_PORT": str(self.port),
        }


def first_node(nodes: str) -> str:
    """The first name of a list as SLURM writes it: "gpu[03-05,9]-ib,cpu1" is "gpu03-ib"."""
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", nodes).split(",")[0]


def place(environment: Mapping[str, str] = os.environ) -> Place:
    """The place that SLURM gave this process.

    The port is made of the job's number and restart count, so that all processes know it without asking, two jobs
    on one node have different ones, and a requeued job does not meet what is left of its earlier start.

    Raises:
        UsageError: this is no task of a SLURM job.
    """
    try:
        job, restart = int(environment["SLURM_JOB_ID"]), int(environment.get("SLURM_RESTART_COUNT", "0"))
        return Place(
            rank=int(environment["SLURM_PROCID"]),
            local_rank=int(environment["SLURM_LOCALID"]),
            world_size=int(environment["SLURM_NTASKS"]),
            master=first_node(environment["SLURM_JOB_NODELIST"]),
            port=FIRST_PORT + (job + 7919 * restart) % NUM_PORTS,
        )
    except (KeyError, ValueError) as error:
        raise UsageError(f"not a task of a SLURM job: {error.args[0]} is missing or no number") from None


def torchrun_place(environment: Mapping[str, str] = os.environ) -> Place | None:
    """The place that torchrun, or whoever sets its variables, gave this process; None where it is alone.

    Raises:
        UsageError: the variables contradict one another.
    """
    if environment.get("WORLD_SIZE", "1") == "1" or "RANK" not in environment:
        return None
    try:
        return Place(
            rank=int(environment["RANK"]),
            local_rank=int(environment.get("LOCAL_RANK", "0")),
            world_size=int(environment["WORLD_SIZE"]),
            master=environment["MASTER_ADDR"],
            port=int(environment["MASTER_PORT"]),
            agent=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
        )
    except (KeyError, ValueError) as error:
        raise UsageError(
            f"RANK is set as torchrun does, and {error.args[0]} is missing or no number"
        ) from None


def refuse_coupled(method: str, number: int) -> None:
    """Refuse a method whose loss is no mean over examples, so that the mean of the ranks' losses is another one.

    Raises:
        UsageError: it is such a method, and there are several devices.
    """
    if number > 1 and spec(method).couples_examples:
        raise UsageError(
            f"{method} compares the examples of a batch with one another (couples_examples): on shares of a batch"
            f" that is another objective, so it is trained on one device, not on {number}"
        )


def connect(here: Place, timeout: float) -> "Store":
    """The store by which processes tell one another what they need to know before there is a group.

    Raises:
        NotJoined: rank 0 cannot listen, or is not reached in time.
    """
    from torch.distributed import PrefixStore, TCPStore  # pyright: ignore[reportPrivateImportUsage]

    listens = here.rank == 0 and not here.agent
    try:
        store = TCPStore(
            here.master,
            here.port,
            here.world_size,
            listens,
            timeout=timedelta(seconds=timeout),
            wait_for_workers=False,
        )
        # An agent's store outlives what it restarts.
        prefix = f"bench {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        return PrefixStore(prefix, store) if here.agent else store
    except (RuntimeError, ValueError, OSError) as error:
        who, where = f"rank {here.rank} of {here.world_size}", f"{here.master}:{here.port}"
        problem = f"cannot listen on {where}" if here.rank == 0 else f"did not reach rank 0 at {where}"
        raise NotJoined(f"{who} {problem} in {timeout:.0f} s: {_first_line(error)}") from None


def gpu_of(here: Place) -> int | None:
    """The number of this process's GPU; None where it has none of its own."""
    import torch

    count = torch.cuda.device_count()
    if count > here.local_rank:
        return here.local_rank
    # A task that SLURM has bound sees nothing but its own.
    return 0 if count == 1 and "SLURM_PROCID" in os.environ else None


def join(here: Place | None = None, backend: str = "auto", timeout: float = 120.0) -> Place:
    """Wait for the other processes of the job and form the default group of torch.distributed.

    Args:
        here: this process's place; None asks SLURM.
        backend: "gloo", "nccl", or "auto": nccl where this process has a GPU of its own. Where they differ, gloo.
        timeout: seconds for all to come, and of each collective call afterwards.

    Returns:
        This process's place. `torch.distributed.destroy_process_group` ends the group.

    Raises:
        NotJoined: some did not come in time; one line that names them.
    """
    import torch
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

    here = here or place()
    here.export()
    if backend == "auto":
        backend = "nccl" if dist.is_nccl_available() and gpu_of(here) is not None else "gloo"
    wait, begun = timedelta(seconds=timeout), time.monotonic()
    who, where = f"rank {here.rank} of {here.world_size}", f"{here.master}:{here.port}"
    store = connect(here, timeout)
    store.set(f"rank {here.rank}", backend)
    missing = [rank for rank in range(here.world_size) if not _came(store, rank, begun + timeout)]
    if missing:
        names = ", ".join(map(str, missing))
        raise NotJoined(f"{who} waited {timeout:.0f} s at {where}: rank {names} did not come")
    # A group has one backend: nccl only where each of them has it.
    found = {store.get(f"rank {rank}").decode() for rank in range(here.world_size)}
    backend = "nccl" if found == {"nccl"} else "gloo"
    if backend == "nccl":
        torch.cuda.set_device(gpu_of(here) or 0)
    try:
        dist.init_process_group(
            backend,
            store=PrefixStore("group", store),
            rank=here.rank,
            world_size=here.world_size,
            timeout=wait,
        )
    except RuntimeError as error:
        raise NotJoined(f"{who}, {backend}: {_first_line(error)}") from None
    return here


def _came(store: Any, rank: int, until: float) -> bool:
    key = f"rank {rank}"
    while not (there := store.check([key])) and time.monotonic() < until:
        time.sleep(0.05)
    return there


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
