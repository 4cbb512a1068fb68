"""On a real cluster: whatever is done to a job, its cell ends with the bits of one that was left alone."""

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from bench.records import load_runs
from tests.slurm_cluster import Cluster, python_of
from tests.slurm_study import (
    LONG,
    assert_same,
    attempts,
    bench,
    checkpointed,
    done,
    job_of,
    lines_of_logs,
    owner,
    profile,
    status,
)

pytestmark = pytest.mark.slurm

# One pretraining of some ten seconds and its probe; a checkpoint every second step.
STUDY = ["-m", "beta-vae", "-d", "digits", "-s", "1", "--probes", "conv1-5", "--preset", "smoke"]
STUDY += [
    "--evaluate",
    "none",
    "--set",
    "pretrain.epochs=4",
    "--set",
    "pretrain.epoch_images=768",
    "--set",
    "pretrain.batch_size=64",
]
STUDY += ["--set", "probe.epochs=2", "--threads", "1", "--checkpoint-every", "2"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> Path:
    """The same study run here, by a process that nobody disturbs."""
    results = tmp_path_factory.mktemp("undisturbed")
    bench(None, "run", *STUDY, "--results", str(results))
    return results


def submit(cluster: Cluster, results: Path, **everywhere) -> str:
    """Submit the study as one job, to a profile of its own."""
    chosen = profile(results.parent / f"{results.name} profile", **everywhere)
    bench(cluster, "run", *STUDY, "--slurm", "--profile", str(chosen), "--results", str(results))
    return job_of(results)


def running_and_saved(cluster: Cluster, results: Path) -> Path:
    """Wait until the pretraining has a checkpoint; its folder."""
    folder = cluster.wait(checkpointed(results), LONG, "a checkpoint")
    assert folder is not None
    return folder


def finish(cluster: Cluster, results: Path, undisturbed: Path) -> None:
    """Wait for the end, and compare."""
    try:
        cluster.wait(done(results, undisturbed), LONG, "all cells done")
        # The job's last breath comes after its last result.
        cluster.wait(lambda: not list(results.glob("runs/*/claim.json")), 30, "claims given back")
    except AssertionError as error:
        raise AssertionError(f"{error}\n" + "\n".join(lines_of_logs(results))) from None
    assert_same(results, undisturbed)


def resumed(results: Path) -> list[dict]:
    """Attempts at the pretraining, which went on from one another."""
    (run,) = (run for run in load_runs(results) if run.config["kind"] == "pretrain")
    rows = attempts(results)[run.id]
    assert [row.get("resumed_from") is not None for row in rows[1:]] == [True] * (len(rows) - 1)
    return rows


# --- What may happen to a job. Each waits until the pretraining is under way, and acts.


def preempted(cluster: Cluster, results: Path) -> None:
    job = submit(cluster, results, slurm_partition="low", slurm_nodelist="127.0.0.1")
    running_and_saved(cluster, results)
    higher = cluster.sbatch("sleep 1", "--partition=main", "--nodelist=127.0.0.1", "--exclusive")
    cluster.wait(lambda: cluster.restarts(job) == 1, 60, "requeued by the preemption")
    cluster.wait_state(higher, "COMPLETED")


def told_that_time_is_up(cluster: Cluster, results: Path) -> None:
    job = submit(cluster, results, slurm_exclude="127.0.0.1")
    running_and_saved(cluster, results)
    # What submitit's own `_interrupt(timeout=True)` sends.
    cluster.run("scancel", "--signal=USR2", job)
    cluster.wait(lambda: cluster.restarts(job) == 1, 60, "requeued by itself")


def requeued_by_hand(cluster: Cluster, results: Path) -> None:
    job = submit(cluster, results, slurm_exclude="127.0.0.1")
    running_and_saved(cluster, results)
    cluster.run("scontrol", "requeue", job)
    cluster.wait(lambda: cluster.restarts(job) == 1, 60, "requeued")


def killed(cluster: Cluster, results: Path) -> None:
    job = submit(cluster, results, slurm_exclude="127.0.0.1")
    folder = running_and_saved(cluster, results)
    os.kill(owner(folder)["pid"], signal.SIGKILL)
    cluster.wait_state(job, "FAILED", "CANCELLED")
    said = status(cluster, results)
    assert {cell["state"] for cell in said["cells"]} == {"lost"}, said["cells"]
    bench(cluster, "status", "--results", str(results), "--check", code=3)
    bench(cluster, "retry", "--results", str(results))


def signalled_during_imports(cluster: Cluster, results: Path) -> None:
    job = submit(cluster, results, slurm_partition="low", slurm_nodelist="127.0.0.2")
    cluster.wait(lambda: python_of(cluster, job), 60, "Python")
    higher = cluster.sbatch("sleep 1", "--partition=main", "--nodelist=127.0.0.2", "--exclusive")
    cluster.wait(lambda: cluster.restarts(job) == 1, 60, "requeued although it was still importing")
    cluster.wait_state(higher, "COMPLETED")


TOGETHER = [preempted, told_that_time_is_up, requeued_by_hand, killed, signalled_during_imports]


@pytest.fixture(scope="module")
def disturbed(cluster, undisturbed, tmp_path_factory):
    """All of them at once, on nodes of their own: a disturbance -> the future of its results folder."""
    folders = {act.__name__: tmp_path_factory.mktemp("disturbed") / act.__name__ for act in TOGETHER}
    with ThreadPoolExecutor(len(TOGETHER)) as pool:

        def run(act: Callable[[Cluster, Path], None]) -> Path:
            act(cluster, folders[act.__name__])
            return folders[act.__name__]

        yield {act.__name__: pool.submit(run, act) for act in TOGETHER}


@pytest.mark.parametrize("name", [act.__name__ for act in TOGETHER])
def test_a_disturbed_job_ends_with_the_same_bits(name, cluster, undisturbed, disturbed):
    future: Future[Path] = disturbed[name]
    results = future.result(timeout=2 * LONG)
    finish(cluster, results, undisturbed)
    rows = resumed(results)
    if name != "signalled_during_imports":
        assert len(rows) == 2, [row.get("scheduler") for row in rows]
        restarts = [row["scheduler"]["restarts"] for row in rows]
        assert restarts == ([0, 0] if name == "killed" else [0, 1])
    assert {cell["state"] for cell in status(cluster, results)["cells"]} == {"done"}
    bench(cluster, "status", "--results", str(results), "--check", code=0)


def test_a_process_that_outlives_its_node_does_not_spoil_its_successor(
    cluster, undisturbed, disturbed, tmp_path
):
    for future in disturbed.values():
        future.exception(timeout=2 * LONG)
    results = tmp_path / "cut off"
    job = submit(cluster, results)
    folder = running_and_saved(cluster, results)
    node = next(row.node for row in cluster.squeue(job) if row.node)
    zombie = psutil.Process(owner(folder)["pid"])
    # A node cut off from the network, for the controller: its daemon is silent, its processes go on.
    cluster.kill_slurmd(node)
    zombie.suspend()
    cluster.set_down(node)
    try:
        cluster.wait(
            lambda: (
                len(list(folder.glob("attempts/*/checkpoint.safetensors"))) == 2
                or done(results, undisturbed)()
            ),
            LONG,
            "the successor's first checkpoint",
        )
        assert zombie.is_running()
        zombie.resume()
        finish(cluster, results, undisturbed)
        psutil.wait_procs([zombie], timeout=60)
    finally:
        if zombie.is_running():
            zombie.kill()
        cluster.start_slurmd(node)
    rows = resumed(results)
    assert [row["scheduler"]["restarts"] for row in rows] == [0, 1]
    kinds = [run.result["attempt"] for run in load_runs(results) if run.result]
    assert kinds == ["0002", "0001"] or kinds == ["0001", "0002"], "the successor's results stand"
    said = [path.read_text() for path in folder.glob("attempts/0001/status.json")]
    assert "Superseded" in said[0], said


def test_without_accounting_everything_works_and_a_killed_job_is_seen_to_be_dead(
    make_cluster, undisturbed, tmp_path
):
    small = make_cluster(ACCOUNTING="none", NODES=2)
    results = tmp_path / "results"
    job = submit(small, results)
    folder = running_and_saved(small, results)
    assert sorted(cell["state"] for cell in status(small, results)["cells"]) == ["queued", "running"]
    os.kill(owner(folder)["pid"], signal.SIGKILL)
    small.wait_state(job, "FAILED", "CANCELLED")
    assert [cell["state"] for cell in status(small, results)["cells"]] == ["lost", "lost"]
    # Once the controller has forgotten it, too: it knows no such job, and that is an answer.
    bench(small, "retry", "--results", str(results))
    finish(small, results, undisturbed)


@pytest.mark.slow
def test_a_controller_that_dies_and_comes_back_is_not_noticed(cluster, undisturbed, tmp_path):
    results = tmp_path / "controller"
    job = submit(cluster, results)
    running_and_saved(cluster, results)
    cluster.kill_controller()
    said = bench(cluster, "status", "--results", str(results))
    assert "does not answer" in said.stdout + said.stderr
    # Asked to leave while nobody can requeue it: it waits for the controller.
    (process,) = {owner(path.parent)["pid"] for path in results.glob("runs/*/claim.json")}
    os.kill(process, signal.SIGUSR2)
    time.sleep(3)
    cluster.start_controller()
    cluster.wait(lambda: cluster.restarts(job) == 1, 60, "requeued once the controller was back")
    finish(cluster, results, undisturbed)
    resumed(results)


@pytest.mark.slow
def test_a_job_that_runs_out_of_time_is_signalled_and_comes_back(cluster, tmp_path):
    """SLURM looks at time limits every half minute: the one test that waits for a real one."""
    longer = [*STUDY, "--set", "pretrain.epochs=60"]
    expected, results = tmp_path / "expected", tmp_path / "results"
    bench(None, "run", *longer, "--results", str(expected), seconds=900)
    chosen = profile(tmp_path / "profile", timeout_min=2, slurm_signal_delay_s=60)
    bench(cluster, "run", *longer, "--slurm", "--profile", str(chosen), "--results", str(results))
    job = job_of(results)
    cluster.wait(lambda: cluster.restarts(job) >= 1, 300, "requeued at its limit")
    cluster.wait(done(results, expected), 900, "all cells done")
    cluster.wait(lambda: not list(results.glob("runs/*/claim.json")), 30, "claims given back")
    assert_same(results, expected)


@pytest.mark.slow
def test_preempted_again_and_again_it_still_ends_with_the_same_bits(cluster, undisturbed, tmp_path):
    """Ten preemptions at whatever moment they hit: imports, a checkpoint being written, between two cells."""
    results = tmp_path / "again"
    job = submit(cluster, results, slurm_partition="low", slurm_nodelist="127.0.0.3")
    for number in range(10):
        if done(results, undisturbed)():
            break
        cluster.wait_state(job, "RUNNING", "COMPLETED", seconds=LONG)
        time.sleep(0.7 * number)
        cluster.run("scancel", "--signal=USR2", job, check=False)
        cluster.wait(
            lambda n=number: cluster.restarts(job) > n or done(results, undisturbed)(), 90, "requeued"
        )
    finish(cluster, results, undisturbed)
