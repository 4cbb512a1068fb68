"""What tests of studies on SLURM share: real cells of a few steps, `bench` as a process, results compared by bits."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.checkpoint import read_tensors
from bench.claims import NAME
from bench.records import Run, load_runs
from bench.run_folder import attempt_dirs
from tests.slurm_cluster import Cluster

# What differs between two runs of the same cell.
TIMES = {"seconds", "images_per_second", "feature_seconds", "peak_memory_bytes", "attempt"}
# Seconds that a machine of two cores may take for what is in the way of everything else: other jobs' imports.
LONG = 180


def profile(folder: Path, text: str = "", pack_minutes: float = 0, **everywhere: Any) -> Path:
    """A profile of the development cluster.

    Args:
        folder: where it is written.
        text: more of it.
        pack_minutes: see `bench.launch.slurm.profile`.
        everywhere: parameters of every class of resources.
    """
    defaults = {"timeout_min": 30, "cpus_per_task": 1, "slurm_partition": "main", "slurm_signal_delay_s": 5}
    lines = [f"{key} = {json.dumps(value)}" for key, value in {**defaults, **everywhere}.items()]
    own = text if "[bench]" in text else f"[bench]\npack_minutes = {pack_minutes}\n{text}"
    path = folder / "profile.toml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([own, "[all]", *lines, ""]))
    return path


def words(*more: str) -> list[str]:
    """The command line of `bench` with some words."""
    return [sys.executable, "-m", "bench", *more]


def environment(cluster: Cluster | None = None) -> dict[str, str]:
    """Where bench runs: one thread, no settings of whoever runs the tests."""
    base = dict(os.environ) if cluster is None else cluster.env
    own = {k: v for k, v in base.items() if not k.startswith("BENCH_")}
    return {**own, "OMP_NUM_THREADS": "1"}


def bench(
    cluster: Cluster | None, *more: str, code: int | None = 0, seconds: float = LONG
) -> subprocess.CompletedProcess[str]:
    """Run `bench` to its end; another exit code than `code` is an AssertionError that shows what it said."""
    done = subprocess.run(
        words(*more), env=environment(cluster), capture_output=True, text=True, timeout=seconds, check=False
    )
    said = f"bench {' '.join(more)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    assert code is None or done.returncode == code, said
    return done


def status(cluster: Cluster | None, results: Path, *more: str) -> dict[str, Any]:
    """`bench status --json`."""
    return json.loads(bench(cluster, "status", "--results", str(results), "--json", *more).stdout)


def without_times(value: Any) -> Any:
    """A result or rows of metrics, what differs between two runs left out."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def arrays(run: Run) -> dict[str, np.ndarray]:
    """Everything that a run has computed: weights, predictions, reconstructions."""
    found: dict[str, np.ndarray] = {}
    if run.weights is not None:
        tensors: dict[str, torch.Tensor] = read_tensors(run.weights)[0]
        found |= {f"weights {name}": tensor.numpy() for name, tensor in tensors.items()}
    for kind in (run.predictions(), run.reconstructions()):
        found |= kind or {}
    return found


def assert_same(results: Path, expected: Path) -> None:
    """Two folders hold the same cells, all done, with the same bits; nothing half written is left in the first."""
    theirs = {run.id: run for run in load_runs(expected)}
    ours = {run.id: run for run in load_runs(results)}
    assert set(ours) == set(theirs)
    for key, run in theirs.items():
        assert ours[key].state == run.state == "done", (ours[key].state, ours[key].status)
        assert without_times(ours[key].result) == without_times(run.result)
        assert without_times(ours[key].metrics()) == without_times(run.metrics())
        mine, others = arrays(ours[key]), arrays(run)
        assert set(mine) == set(others)
        for name in others:
            np.testing.assert_array_equal(mine[name], others[name])
    assert leftovers(results) == []


def leftovers(results: Path) -> list[str]:
    """What a finished study must not hold: temporary files, checkpoints, claims."""
    marks = (".tmp", "checkpoint.safetensors", "checkpoint.previous.safetensors", ".save_tmp")
    found = [p for p in results.rglob("*") if p.name.endswith(marks) or p.name.startswith(NAME)]
    return [str(path.relative_to(results)) for path in found]


def attempts(results: Path) -> dict[str, list[dict[str, Any]]]:
    """Cell id -> provenance of its attempts, the oldest first."""
    return {
        run.id: [json.loads((path / "provenance.json").read_text()) for path in attempt_dirs(run.dir)[::-1]]
        for run in load_runs(results)
    }


def owner(folder: Path) -> dict[str, Any]:
    """Who holds a cell, as its claim says."""
    return json.loads((folder / NAME).read_text())


def checkpointed(results: Path, kind: str = "pretrain") -> Callable[[], Path | None]:
    """Whether some cell of a kind has saved a checkpoint and is not done: its folder, to wait for."""

    def look() -> Path | None:
        for path in results.glob("runs/*/attempts/*/checkpoint.safetensors"):
            folder = path.parent.parent.parent
            try:
                config = json.loads((folder / "config.json").read_text())
            except FileNotFoundError:
                continue
            if config["kind"] == kind and not (folder / "result.json").exists():
                return folder
        return None

    return look


def job_of(results: Path) -> str:
    """The one job of the newest dispatch, as squeue knows it."""
    newest = max(results.glob("slurm/*/dispatch.json"), key=lambda path: path.parent.name)
    (job,) = {pack["job"] for pack in json.loads(newest.read_text())["packs"]}
    return job


def done(results: Path, expected: Path) -> Callable[[], bool]:
    """Whether every cell that another folder holds has a result, to wait for."""
    names = [path.parent.name for path in expected.glob("runs/*/result.json")]
    return lambda: all((results / "runs" / name / "result.json").exists() for name in names)


def lines_of_logs(results: Path) -> Iterable[str]:
    """What the jobs have said, for the error of a test."""
    for path in sorted(results.glob("slurm/*/submitit/*log*")):
        yield from (f"{path.name}: {line}" for line in path.read_text(errors="replace").splitlines()[-30:])
