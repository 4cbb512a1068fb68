"""Where a result comes from: versions, source, machine, command. No torch is imported for it."""

import functools
import hashlib
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import bench

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


@functools.cache
def source_hash() -> str:
    """SHA-256, 16 digits, of the Python files of `bench` and `models`."""
    root = Path(bench.__file__).parent.parent
    total = hashlib.sha256()
    for package in ("bench", "models"):
        for path in sorted((root / package).rglob("*.py")):
            total.update(path.relative_to(root).as_posix().encode())
            total.update(path.read_bytes())
    return total.hexdigest()[:16]


@functools.cache
def git_state() -> dict[str, Any]:
    """Commit of the checkout that runs and whether it was edited; nulls where there is no checkout."""
    root = Path(bench.__file__).parent.parent
    none = {"commit": None, "dirty": None}
    if not (root / ".git").exists():
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
        **more,
    }
