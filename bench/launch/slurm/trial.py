"""What `bench doctor --slurm` runs inside a job: it looks around, answers the login node, and leaves its facts."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import bench
from bench.errors import BenchError
from bench.files import write_json
from bench.launch.slurm import storage
from bench.launch.slurm.start import SIGNALS
from bench.provenance import package_versions, scheduler, source_hash

# Files of a trial: the job is there, the login node has seen it, what the job has found.
STARTED, SEEN, FACTS = "started.json", "seen.json", "facts.json"
PATIENCE = 30.0
POLL = 0.05


class Trial:
    """The callable that submitit takes into the job.

    Args:
        folder: on the shared file system, where both sides write.
        num_bytes: of the large file whose writing is timed.
    """

    def __init__(self, folder: str, num_bytes: int = 64 << 20) -> None:
        self.folder = folder
        self.num_bytes = num_bytes
        self._signalled: float | None = None

    def __call__(self) -> None:
        """Look around; the first task of the job leaves what was found in facts.json."""
        folder = Path(self.folder)
        signal.signal(signal.SIGUSR2, self._hear)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        first = os.environ.get("SLURM_PROCID", "0") == "0"
        facts: dict[str, Any] = {}
        if first:
            facts |= (
                self._talk(folder) | about_this_side() | {"scheduler": scheduler(), "requeue": _requeue()}
            )
            facts["storage"] = self._storage(folder)
        if int(os.environ.get("SLURM_NTASKS", "1")) > 1:
            facts["group"] = _group()
        if first:
            facts["gpus"] = _gpus()
            write_json(folder / FACTS, facts)

    def _hear(self, *_: Any) -> None:
        self._signalled = time.monotonic()

    def _talk(self, folder: Path) -> dict[str, Any]:
        """Say that the job is there, and wait for the login node's answer and its signal."""
        begun = time.monotonic()
        write_json(folder / STARTED, {"clock": time.time(), "host": socket.gethostname()})
        answered: float | None = None
        while time.monotonic() - begun < PATIENCE and (answered is None or self._signalled is None):
            if answered is None and (folder / SEEN).exists():
                answered = time.monotonic()
            time.sleep(POLL)
        return {
            "round_trip": None if answered is None else answered - begun,
            "signal_after": None if self._signalled is None else self._signalled - begun,
        }

    def _storage(self, folder: Path) -> dict[str, Any]:
        try:
            facts: dict[str, Any] = dict(storage.speed(folder, self.num_bytes))
        except OSError as error:
            return {"problem": error.strerror or str(error)}
        return facts | {"promises": storage.promises(folder, folder / SEEN)}


def about_this_side() -> dict[str, Any]:
    """What must be the same on the login node and in a job."""
    versions = package_versions()
    return {
        "host": socket.gethostname(),
        "versions": {name: versions[name] for name in ("python", "bench", "torch", "timm", "numpy")},
        "source": source_hash(),
        "python": sys.executable,
        "from": str(Path(bench.__file__).parent.parent),
    }


def _requeue() -> str | None:
    """What keeps this job from being requeued from within; None when nothing does."""
    words = ["scontrol", "show", "job", os.environ.get("SLURM_JOB_ID", "")]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        return f"scontrol cannot be run on the node: {error}"
    if done.returncode:
        return f"scontrol fails on the node: {' '.join(done.stderr.split())}"
    return None if "Requeue=1" in done.stdout else "the site does not let this job be requeued"


def _gpus() -> dict[str, Any]:
    """GPUs that SLURM gave and that torch can use."""
    import torch

    given = os.environ.get("SLURM_GPUS_ON_NODE") or os.environ.get("SLURM_JOB_GPUS", "")
    names = []
    try:
        for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            (
                torch.ones(8, 8, device=f"cuda:{number}") @ torch.ones(8, 8, device=f"cuda:{number}")
            ).sum().item()
            names.append(torch.cuda.get_device_name(number))
    except RuntimeError as error:
        return {"given": given, "names": names, "problem": str(error).splitlines()[0]}
    return {"given": given, "names": names, "cuda": torch.version.cuda}


def _group() -> dict[str, Any]:
    """All tasks of the job add up their ranks."""
    from bench.launch.distributed import join

    begun = time.monotonic()
    try:
        here = join(backend="gloo", timeout=60.0)
    except BenchError as error:
        return {"problem": str(error)}
    import torch
    import torch.distributed as dist

    total = torch.tensor([here.rank + 1.0])
    dist.all_reduce(total)
    dist.destroy_process_group()
    want = here.world_size * (here.world_size + 1) / 2
    problem = None if total.item() == want else f"the ranks add up to {total.item()}, not {want}"
    nodes = os.environ.get("SLURM_JOB_NODELIST", "")
    return {
        "problem": problem,
        "ranks": here.world_size,
        "nodes": nodes,
        "seconds": time.monotonic() - begun,
    }
