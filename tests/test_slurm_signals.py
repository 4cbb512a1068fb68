"""Jobs on a real SLURM that are signalled, preempted, requeued, and whose source is edited while they wait."""

import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import psutil
import pytest

from bench.checkpoint import read_with_digest
from bench.data import registry
from bench.launch.control import RunOptions
from bench.launch.local import TorchTrainer
from bench.launch.slurm import snapshot
from bench.provenance import hash_source
from tests.fake_trainer import load, run
from tests.slurm_packs import jobs, small, write_pack
from tests.test_snapshot import ROOT

pytestmark = pytest.mark.slurm
PLAN = small("beta-vae")
PRETRAIN, PROBE = PLAN.cells
QUICK = small("random")
# The whole low partition is in its way.
HIGH = ("--partition=main", "--nodes=4", "--exclusive", "--time=1")
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

    def wait_for(self, text, seconds=60):
        self.cluster.wait(lambda: text in self.log(), seconds, f"{text!r} in the log")

    def wait_for_checkpoint(self):
        folder = self.results / "runs" / PRETRAIN.id / "attempts"
        self.cluster.wait(lambda: list(folder.glob("*/checkpoint*")), 60, "a checkpoint")

    def ends(self, state="COMPLETED", restarts=None):
        found = self.cluster.wait_state(self.id, "COMPLETED", "FAILED", "CANCELLED", seconds=120)
        assert found == state, self.log() + self.log("err")
        if restarts is not None:
            assert self.cluster.restarts(self.id) == restarts
        return self

    def attempts(self, cell):
        return len(list((self.results / "runs" / cell.id / "attempts").iterdir()))

    def python(self):
        """The job's own Python; None while there is none."""
        (row,) = self.cluster.squeue(self.id)
        mine = {"SLURM_JOB_ID": row.raw, "SLURM_CONF": self.cluster.env["SLURM_CONF"]}
        for process in psutil.process_iter():
            try:
                found = "python" in process.name() and "submitit.core._submit" in process.cmdline()
                if found and mine.items() <= process.environ().items():
                    return process
            except psutil.Error:
                continue
        return None


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


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The same pretraining, run here."""
    results = tmp_path_factory.mktemp("local")
    plan = replace(PLAN, groups=(replace(PLAN.groups[0], probes=()),))
    data = partial(registry.load, root=None)
    summary, _ = run(plan, results, TorchTrainer(), load=data, options=RunOptions(threads=1))
    assert summary.exit_code == 0
    return outcome(results)


def outcome(results):
    """Hash of the weights, and the metrics."""
    run = load(results, PRETRAIN.id)
    return read_with_digest(run.weights)[1], run.result["metrics"]


def test_a_job_preempted_in_mid_pretraining_comes_back_and_ends_bit_for_bit_alike(
    cluster, submit, undisturbed
):
    job = submit(slurm_partition="low")
    job.wait_for_checkpoint()
    cluster.sbatch("sleep 2", *HIGH)
    job.ends(restarts=1)
    assert job.attempts(PRETRAIN) == 2
    assert "restart 1" in job.log()
    assert outcome(job.results) == undisturbed
    scheduler = load(job.results, PRETRAIN.id).provenance["scheduler"]
    assert (scheduler["job"], scheduler["restarts"], scheduler["partition"]) == (job.id, 1, "low")


def test_a_job_preempted_while_it_imports_comes_back(cluster, submit):
    job = submit(QUICK, slurm_partition="low")
    cluster.wait(job.python, 30, "Python")
    cluster.sbatch("sleep 1", *HIGH)
    job.ends(restarts=1)
    assert load(job.results, next(QUICK.cells).id).state == "done"


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
    cluster.wait(second.python, 60, "Python")
    cluster.run("scancel", "--signal=USR2", second.id)
    second.ends(restarts=1)
    first.ends(restarts=0)


def test_sigterm_while_it_imports_does_not_make_a_job_fail(cluster, submit):
    # Preemption without a user signal: who ends at SIGTERM within the grace period is FAILED and not requeued.
    job = submit(QUICK)
    cluster.wait(job.python, 30, "Python")
    cluster.run("scancel", "--signal=TERM", job.id)
    job.ends(restarts=0)
    assert "SIGTERM: saving" in job.log("err")


def test_scontrol_requeue_costs_nothing_that_was_saved(cluster, submit, undisturbed):
    job = submit()
    job.wait_for_checkpoint()
    cluster.run("scontrol", "requeue", job.id)
    job.ends(restarts=1)
    log = job.results / "runs" / PRETRAIN.id / "attempts" / "0002" / "log.txt"
    assert "resumed from 0001" in log.read_text()
    assert outcome(job.results) == undisturbed


@pytest.mark.slow
def test_a_controller_that_is_away_when_a_job_must_leave_is_waited_for(cluster, submit):
    job = submit()
    job.wait_for_checkpoint()
    process = job.python()
    cluster.kill_controller()
    process.send_signal(signal.SIGUSR2)
    job.wait_for("not requeued yet")
    cluster.start_controller()
    job.ends(restarts=1)


def test_a_cell_that_fails_fails_the_job_with_its_reason(cluster, submit):
    job = submit(QUICK, pack={"root": "/nowhere", "groups": from_nowhere(QUICK)}).ends("FAILED")
    assert "1 of 2 cells failed, 1 skipped: random digits seed 0 pretrain: cifar100" in job.log("err")


def from_nowhere(plan):
    """The plan's groups, from a data set that is not there."""
    return [
        {
            "pretrain": {"config": group.pretrain.config, "source": "cifar100"},
            "probes": [{"config": probe.config, "source": "cifar100"} for probe in group.probes],
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
