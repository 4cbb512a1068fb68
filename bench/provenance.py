"""Where a result comes from: versions, source, machine, command. No torch is imported for it."""

import functools
import hashlib
import json
import os
import platform
import socket
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import bench

# Beside the packages in a copy of the source, which has no history: what `git_state` said of the original.
SOURCE = "source.json"
PACKAGES = (
    "torch", "torchvision", "timm", "numpy", "scikit-learn", "pillow", "safetensors", "scipy",
)  # fmt: skip


def now() -> str:
    """The time in UTC, to the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def package_versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Installed versions, read from their metadata; None where a package is missing."""
    versions: dict[str, str | None] = {"python": platform.python_version(), "bench": bench.__version__}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def source_root() -> Path:
    """The folder that holds the packages `bench` and `models` of this process."""
    return Path(bench.__file__).parent.parent


def hash_source(root: Path) -> str:
    """SHA-256, 16 digits, of the files in Python and C of `bench` and `models` below a folder."""
    total = hashlib.sha256()
    for package in ("bench", "models"):
        for path in sorted(p for p in (root / package).rglob("*") if p.suffix in (".py", ".c")):
            total.update(path.relative_to(root).as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


@functools.cache
def source_hash() -> str:
    """SHA-256, 16 digits, of the files in Python and C of `bench` and `models`."""
    return hash_source(source_root())


@functools.cache
def git_state() -> dict[str, Any]:
    """Commit of the source that runs and whether it was edited; nulls where nobody knows.

    A snapshot that a job runs from says what the checkout was when the job was submitted.
    """
    root = source_root()
    none = {"commit": None, "dirty": None}
    if not (root / ".git").exists():
        try:
            row = json.loads((root / SOURCE).read_bytes())
            return {key: row[key] for key in none}
        except (OSError, ValueError, KeyError, TypeError):
            return none

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()

    try:
        return {
            "commit": git("rev-parse", "HEAD"),
            "dirty": bool(git("status", "--porcelain", "--", "bench", "models", "pyproject.toml")),
        }
    except (OSError, subprocess.SubprocessError):
        return none


def scheduler(environment: Mapping[str, str] = os.environ) -> dict[str, Any] | None:
    """The SLURM job that this process belongs to and what it was given; None outside of one."""
    job = environment.get("SLURM_JOB_ID")
    if not job:
        return None
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")

    def number(name: str) -> int | None:
        text = environment.get(name, "")
        return int(text) if text.isdigit() else None

    begun, end = number("SLURM_JOB_START_TIME"), number("SLURM_JOB_END_TIME")
    return {
        "cluster": environment.get("SLURM_CLUSTER_NAME"),
        "job": job,
        "array": f"{array}_{task}" if array and task else None,
        "name": environment.get("SLURM_JOB_NAME"),
        "restarts": number("SLURM_RESTART_COUNT") or 0,
        "node": environment.get("SLURMD_NODENAME"),
        "nodes": environment.get("SLURM_JOB_NODELIST"),
        "partition": environment.get("SLURM_JOB_PARTITION"),
        "account": environment.get("SLURM_JOB_ACCOUNT"),
        "qos": environment.get("SLURM_JOB_QOS"),
        "gpus": environment.get("CUDA_VISIBLE_DEVICES", environment.get("SLURM_JOB_GPUS")),
        "cpus": number("SLURM_CPUS_PER_TASK") or number("SLURM_CPUS_ON_NODE"),
        "memory_mib": number("SLURM_MEM_PER_NODE"),
        "memory_mib_per_cpu": number("SLURM_MEM_PER_CPU"),
        "limit_seconds": end - begun if begun and end else None,
    }


def peak_memory_bytes() -> int:
    """The most memory that this process has held at once, since it started."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def determinism() -> dict[str, Any]:
    """The switches that decide whether a run repeats bit for bit."""
    flags: dict[str, Any] = {
        name: os.environ.get(name) for name in ("CUBLAS_WORKSPACE_CONFIG", "OMP_NUM_THREADS")
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        flags |= {
            "deterministic_algorithms": torch.are_deterministic_algorithms_enabled(),
            "cudnn_deterministic": torch.backends.cudnn.deterministic,
            "cudnn_benchmark": torch.backends.cudnn.benchmark,
            "cudnn_tf32": torch.backends.cudnn.allow_tf32,
            "matmul_tf32": torch.backends.cuda.matmul.allow_tf32,
            "float32_matmul_precision": torch.get_float32_matmul_precision(),
        }
    return flags


def collect(**more: Any) -> dict[str, Any]:
    """What is known when an attempt starts; `more` adds device, threads, fingerprint of the data."""
    return {
        "argv": sys.argv,
        "versions": package_versions(),
        "git": git_state(),
        "source_hash": source_hash(),
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "pid": os.getpid(),
        "determinism": determinism(),
        "started": now(),
        **({"scheduler": facts} if (facts := scheduler()) else {}),
        **more,
    }
