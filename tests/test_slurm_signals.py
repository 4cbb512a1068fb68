"""Jobs on a real SLURM that are signalled, preempted, requeued, and whose source is edited while they wait."""

import shutil
import subprocess
import sys

import pytest

from bench.launch.slurm import snapshot
from bench.provenance import hash_source
from tests.fake_trainer import load
from tests.slurm_cluster import python_of
from tests.slurm_packs import jobs, small, write_pack
from tests.test_snapshot import ROOT

pytestmark = pytest.mark.slurm
PLAN = small("beta-vae")
QUICK = small("random")
SUBMIT = """
import sys
from pathlib import Path
from bench.launch.slurm import snapshot
from tests.slurm_packs import jobs
results = Path(sys.argv[1])
print(jobs(results, snapshot.take(results)).submit([Path(sys.argv[2])])[0])
"""


class Job:
    """One pack as a job.

    Args:
        cluster: where it runs.
        results: its results folder.
        id: in SLURM.
    """

    def __init__(self, cluster, results, id):
        self.cluster, self.results, self.id = cluster, results, id

    def log(self, kind="out"):
        path = self.results / "slurm" / "d1" / "submitit" / f"{self.id}_0_log.{kind}"
        return path.read_text() if path.exists() else ""

    def ends(self, state="COMPLETED", restarts=None):
        found = self.cluster.wait_state(self.id, "COMPLETED", "FAILED", "CANCELLED", seconds=120)
        assert found == state, self.log() + self.log("err")
        if restarts is not None:
            assert self.cluster.restarts(self.id) == restarts
        return self


@pytest.fixture
def submit(cluster, tmp_path, monkeypatch):
    """Submits a pack of the plan, or another."""
    monkeypatch.setenv("SLURM_CONF", cluster.env["SLURM_CONF"])
    monkeypatch.setenv("PATH", cluster.env["PATH"])

    def one(plan=PLAN, pack=None, tasks=1, **table):
        first = next(plan.cells)
        path = write_pack(tmp_path, plan, **(pack or {"compute": [first.id]}))
        ids = jobs(tmp_path, snapshot.take(tmp_path), **table).submit([path] * tasks)
        return Job(cluster, tmp_path, ids[0])

    return one


def test_a_job_that_sigusr2_ends_before_any_shell_is_up_is_requeued(cluster, tmp_path, submit):
    # What starts Python dies of the signal the first time, as a task does that has just been forked.
    die = tmp_path / "die"
    die.write_text('#!/bin/bash\n[ "$SLURM_RESTART_COUNT" ] || { trap - USR2; kill -USR2 $$; }\nexec "$@"\n')
    die.chmod(0o755)
    submit(QUICK, slurm_srun_args=[str(die)]).ends(restarts=1)


def test_a_task_of_an_array_comes_back_as_itself(cluster, submit):
    first = submit(QUICK, tasks=2)
    second = Job(cluster, first.results, first.id.replace("_0", "_1"))
    assert first.id.endswith("_0")
    cluster.wait(lambda: python_of(cluster, second.id), 60, "Python")
    cluster.run("scancel", "--signal=USR2", second.id)
    second.ends(restarts=1)
    first.ends(restarts=0)


def test_sigterm_while_it_imports_does_not_make_a_job_fail(cluster, submit):
    # Preemption without a user signal: who ends at SIGTERM within the grace period is FAILED and not requeued.
    # Of the longer plan: a cell of no steps may be done before a slow `scancel` is.
    job = submit()
    cluster.wait(lambda: python_of(cluster, job.id), 30, "Python")
    cluster.run("scancel", "--signal=TERM", job.id)
    job.ends(restarts=0)
    assert "SIGTERM: saving" in job.log("err")


def test_a_cell_that_fails_fails_the_job_with_its_reason(cluster, submit):
    job = submit(QUICK, pack={"root": "/nowhere", "groups": from_nowhere(QUICK)}).ends("FAILED")
    assert "1 of 2 cells failed, 1 skipped: random digits seed 0 pretrain: cifar100" in job.log("err")


def from_nowhere(plan):
    """The plan's groups, from a data set that is not there."""
    return [
        {
            "pretrain": {"config": group.pretrain.config, "source": "cifar100"},
            "dependents": [{"config": probe.config, "source": "cifar100"} for probe in group.dependents],
        }
        for group in plan.groups
    ]


def test_editing_the_checkout_after_submission_does_not_change_the_job(cluster, tmp_path):
    checkout, results = tmp_path / "checkout", tmp_path / "results"
    for package in ("bench", "models", "tests"):
        shutil.copytree(ROOT / package, checkout / package, ignore=shutil.ignore_patterns("__pycache__"))
    before = hash_source(checkout)
    path = write_pack(results, QUICK)
    environment = {**cluster.env, "PYTHONPATH": str(checkout)}
    cluster.run("scontrol", "update", "partition=main", "state=down")
    try:
        words = [sys.executable, "-c", SUBMIT, str(results), str(path)]
        done = subprocess.run(
            words, env=environment, cwd=checkout, capture_output=True, text=True, timeout=60
        )
        job = Job(cluster, results, done.stdout.strip())
        assert job.id.isdigit(), done.stderr
        # Every file that a job reads, in the folder in which it was submitted and which is its working folder.
        for file in (*(checkout / "bench").rglob("*.py"), *(checkout / "models").rglob("*.py")):
            file.write_text("raise SystemExit('edited')\n")
    finally:
        cluster.run("scontrol", "update", "partition=main", "state=up")
    job.ends(restarts=0)
    assert load(results, next(QUICK.cells).id).provenance["source_hash"] == before
