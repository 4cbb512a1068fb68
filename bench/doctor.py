"""Whether this machine is ready: versions, device, threads, disk, data sets, scheduler."""

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import plugins
from bench.compiled import NoCompiler, compiler
from bench.data import registry as datasets
from bench.errors import BenchError
from bench.launch.device import default_threads, resolve_device
from bench.provenance import git_state, package_versions, source_hash
from bench.records import open_results


@dataclass(frozen=True)
class Check:
    """One thing looked at.

    Attributes:
        name: what.
        ok: True, False for something that stops a run, None for something that one may do without.
        text: what was found.
    """

    name: str
    ok: bool | None
    text: str


def diagnose(results: Path, root: Path | None) -> list[Check]:
    """Look at everything; nothing is written.

    Args:
        results: where runs would go.
        root: where data sets lie.
    """
    checks = [*_versions(), *_device(), _compiler(), _results(results)]
    plugins.load()
    for name in datasets.DATASETS:
        fact = datasets.describe(name, root)
        text = (fact["where"] or "comes with a package") if fact["found"] else str(fact["problem"])
        checks.append(Check(f"data {name}", True if fact["found"] else None, text))
    sbatch = shutil.which("sbatch")
    text = f"SLURM: {sbatch}; bench doctor --slurm looks closer" if sbatch else "SLURM: sbatch was not found"
    checks.append(Check("scheduler", True if sbatch else None, text))
    return checks


def _versions() -> list[Check]:
    versions = package_versions()
    state = git_state()
    commit = state["commit"]
    text = f"commit {commit[:12]}{', edited' if state['dirty'] else ''}" if commit else "no git checkout"
    return [
        *(Check(name, version is not None, version or "not installed") for name, version in versions.items()),
        Check("source", True, f"{source_hash()}, {text}"),
    ]


def _device() -> list[Check]:
    try:
        device, name = resolve_device("auto")
        threads = default_threads()
    except Exception as error:
        # A broken torch raises anything at all, and to say so is what this command is for.
        return [Check("device", False, f"torch cannot be used: {type(error).__name__}: {error}")]
    return [
        Check("device", True, f"{device}: {name}"),
        Check("threads", True, f"{threads} a cell, {os.cpu_count()} processors"),
    ]


def _compiler() -> Check:
    try:
        return Check("compiler", True, f"C: {compiler()}")
    except NoCompiler as error:
        return Check("compiler", None, f"{error}: on a processor the ways that are written in C stay off")


def _results(results: Path) -> Check:
    try:
        open_results(results, create=False)
    except BenchError as error:
        return Check("results", False, str(error))
    parent = next(path for path in (results, *results.absolute().parents) if path.exists())
    free = shutil.disk_usage(parent).free / 2**30
    return Check("results", True, f"{results.absolute()}, {free:.1f} GiB free")


def as_facts(checks: list[Check]) -> dict[str, Any]:
    """The checks as JSON."""
    return {"ok": all(check.ok is not False for check in checks), "checks": [asdict(c) for c in checks]}
