"""On a real cluster: one pretraining as two tasks of a job, by submitit."""

import json

import pytest

from bench.cli import main
from bench.records import load_runs
from tests.slurm_study import attempts, bench, lines_of_logs, profile

pytestmark = pytest.mark.slurm

CELLS = [
    "-m",
    "beta-vae",
    "-d",
    "digits",
    "-s",
    "1",
    "--probes",
    "conv1",
    "--evaluate",
    "none",
    "--threads",
    "1",
]
CELLS += ["--set", "pretrain.epochs=1", "--set", "pretrain.epoch_images=150", "--set", "probe.epochs=1"]


def loss(results):
    (run,) = (run for run in load_runs(results) if run.config["kind"] == "pretrain")
    assert run.result is not None
    return run.id, run.result["metrics"]["loss"]


def test_two_tasks_of_a_job_train_the_cell_that_one_process_trains(cluster, tmp_path, capsys):
    there, here = tmp_path / "there", tmp_path / "here"
    chosen = profile(tmp_path, pack_minutes=5)
    bench(
        cluster, "run", *CELLS, "--slurm", "--nodes", "2", "--profile", str(chosen), "--results", str(there)
    )
    try:
        cluster.wait(lambda: len(list(there.glob("runs/*/result.json"))) == 2, 60, "both cells done")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(lines_of_logs(there))) from None
    assert main(["run", *CELLS, "--results", str(here)]) == 0
    assert loss(there) == (loss(here)[0], pytest.approx(loss(here)[1], rel=1e-5))
    (job,) = {row["array"] or row["job"] for a in attempts(there).values() for row in [a[0]["scheduler"]]}
    (devices,) = (a[0]["devices"] for a in attempts(there).values() if "devices" in a[0])
    assert (devices["world_size"], devices["backend"]) == (2, "gloo")
    # Both tasks have ended well, the one that followed too.
    assert cluster.wait_state(job, "COMPLETED", "FAILED", seconds=30) == "COMPLETED"
    logs = {path.name for path in there.glob("slurm/*/submitit/*_log.out")}
    assert len(logs) == 2, logs
    assert json.loads(next(there.glob("slurm/*/packs/*.json")).read_text())["nodes"] == 2
