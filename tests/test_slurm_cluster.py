"""The development cluster is a SLURM that does what the other tests rely on, and goes without a trace."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.slurm_cluster import DEV, NOT_INSTALLED, started

pytestmark = pytest.mark.slurm
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", *(f"slurmd-127.0.0.{n}" for n in (1, 2, 3, 4)))


def processes_of(folder):
    """Command lines of what has the folder in its environment or arguments, but for what has ended."""
    found = []
    for process in psutil.process_iter():
        try:
            words = [*process.cmdline(), *process.environ().values()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in words):
                found.append(f"{process.pid} {process.name()}")
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def test_every_node_is_idle_and_a_second_up_changes_nothing(cluster):
    before = {daemon: cluster.pid(daemon) for daemon in DAEMONS}
    assert all(before.values())
    cluster.run(DEV / "up", cluster.folder)
    assert {daemon: cluster.pid(daemon) for daemon in DAEMONS} == before
    assert cluster.sinfo() == dict.fromkeys([f"127.0.0.{n}" for n in (1, 2, 3, 4)], "idle")


def test_each_task_gets_a_gpu_of_its_own(cluster):
    script = "echo $CUDA_VISIBLE_DEVICES; sleep 0.3"
    seen = cluster.run("srun", "-N1", "-n2", "--gpus-per-task=1", "sh", "-c", script)
    assert sorted(seen.stdout.split()) == ["0", "1"]
    refused = cluster.run("sbatch", "--gpus-per-node=3", "--wrap=true", check=False)
    assert "node configuration is not available" in refused.stderr


def test_accounting_knows_how_a_job_ended(cluster):
    job = cluster.sbatch("exit 7")
    cluster.wait_state(job, "FAILED")

    def answer():
        return cluster.run("sacct", "-X", "-n", "-P", "-j", job, "-o", "State,ExitCode").stdout.strip()

    cluster.wait(lambda: answer() == "FAILED|7:0", 10, "sacct says FAILED|7:0")


def test_a_job_that_uses_more_memory_than_it_asked_for_is_ended(cluster):
    hungry = f"{sys.executable} -c 'import time; held = bytearray(300 << 20); time.sleep(30)'"
    job = cluster.sbatch(f"srun {hungry}", "--mem=100")
    assert (
        cluster.wait_state(job, "OUT_OF_MEMORY", "FAILED", "CANCELLED", "COMPLETED", seconds=15)
        != "COMPLETED"
    )


def test_a_job_of_the_low_partition_is_signalled_and_requeued_for_one_of_main(cluster, tmp_path):
    cluster.run("scontrol", "update", "partition=low", "gracetime=1")
    said = tmp_path / "said"
    step = tmp_path / "step"
    # A shell runs its trap between two commands: it must not sit in a long one.
    step.write_text(f"trap 'echo USR2 >>{said}' USR2; echo start >>{said}; while :; do sleep 0.1; done")
    # --signal without B:, as submitit has it: to the step that srun starts, not to the batch script.
    options = ("--partition=low", "--requeue", "--signal=USR2@90", "--nodes=4", "--exclusive")
    job = cluster.sbatch(f"srun bash {step}", *options)
    cluster.wait(lambda: said.exists() and said.read_text().count("start") == 4, 10, "the low job runs")
    cluster.wait_state(cluster.sbatch("true", "--nodes=4", "--exclusive"), "COMPLETED", seconds=30)
    assert said.read_text() == "start\n" * 4 + "USR2\n" * 4
    assert (cluster.state(job), cluster.restarts(job)) == ("PENDING", 1)


def test_a_node_that_dies_gives_its_job_to_another_and_comes_back(cluster):
    job = cluster.sbatch("sleep 60", "--requeue")
    cluster.wait_state(job, "RUNNING")
    node = cluster.squeue(job)[0].node
    cluster.kill_slurmd(node)
    cluster.set_down(node)
    cluster.wait(lambda: cluster.restarts(job) == 1, 10, "requeued")
    assert cluster.sinfo()[node].startswith("down")
    cluster.start_slurmd(node)
    assert cluster.sinfo()[node] == "idle"


def test_a_job_outlives_the_controller(cluster, tmp_path):
    job = cluster.sbatch(f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; exit 3")
    cluster.wait_state(job, "RUNNING")
    cluster.kill_controller()
    assert not cluster.answers()
    (tmp_path / "go").touch()
    cluster.start_controller()
    cluster.wait_state(job, "FAILED", seconds=30)


@pytest.mark.parametrize("hangs", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_down_ends_the_jobs_what_they_started_and_every_daemon_and_removes_the_folder(tmp_path, hangs):
    children = tmp_path / "children"
    with started(NODES=2) as other:
        script = f"""
            leave() {{ "$@" & echo $! >>{children}; }}
            leave sleep 600; leave setsid sleep 600; leave env -i sleep 600; leave nohup srun -N2 sleep 600
            wait"""
        other.sbatch(script, "--nodes=2", "--exclusive")
        other.wait(lambda: children.exists() and len(children.read_text().split()) == 4, 10, "four children")
        other.wait(lambda: sum("sleep" in found for found in processes_of(other.folder)) == 4, 10, "steps")
        assert len(processes_of(other.folder)) > 10
        other.kill_slurmd("127.0.0.2")
        other.kill("slurmdbd")
        if hangs:
            other.kill("slurmctld", signal.SIGSTOP)
    assert not other.folder.exists()
    assert not processes_of(other.folder)
    assert not [pid for pid in children.read_text().split() if alive(int(pid))]


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_cluster_goes_with_the_process_that_started_it_killed_or_not():
    code = (
        "import os, signal; from tests.slurm_cluster import started\n"
        "with started(ACCOUNTING='none', NODES=1) as one:\n"
        "    print(one.folder, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=DEV.parent.parent, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = Path(done.stdout.strip())
    deadline = time.monotonic() + 20
    while folder.exists() or processes_of(folder):
        assert time.monotonic() < deadline, processes_of(folder)
        time.sleep(0.1)


def test_options_hold_until_down_and_what_is_not_the_clusters_stays(tmp_path):
    extra = "MinJobAge=7\nKillWait=2"
    with started(ACCOUNTING="none", NODES=1, CPUS=3, GPUS=0, MAX_ARRAY_SIZE=100, EXTRA=extra) as other:
        said = other.run("scontrol", "show", "config").stdout
        facts = dict(line.split("=", 1) for line in said.replace(" ", "").splitlines() if "=" in line)
        names = ("MaxArraySize", "MinJobAge", "KillWait", "AccountingStorageType")
        assert [facts[name] for name in names] == ["100", "7sec", "2sec", "accounting_storage/none"]
        assert other.run("sinfo", "-h", "-p", "main", "-o", "%D %c %G").stdout.split() == ["1", "3", "(null)"]
        assert other.run("sbatch", "--array=0-100", "--wrap=true", check=False).returncode != 0
        again = other.run(DEV / "up", other.folder, env={"CPUS": "5"}, check=False)
        assert (again.returncode, again.stderr.count("\n")) == (1, 1)
        assert "was made with CPUS=3; to have CPUS=5: slurm/dev/down" in again.stderr
        (other.folder / "mine").touch()
        other.run(DEV / "down", other.folder)
        assert [path.name for path in other.folder.iterdir()] == ["mine"]
        refused = other.run(DEV / "up", other.folder, check=False)
        assert "has files in it and is not a cluster" in refused.stderr


@pytest.mark.parametrize(
    ("variables", "folder", "line"),
    [
        ({"NODES": "four"}, "new", "NODES=four: a whole number from 1 to 200"),
        ({"GPUS": "9"}, "new", "GPUS=9: a whole number from 0 to 4"),
        ({"ACCOUNTING": "yes"}, "new", "ACCOUNTING=yes: mariadb or none"),
        ({}, "a b", "SLURM takes no path with a space"),
        ({}, "long" * 30, "too long for a socket's path"),
    ],
)
def test_what_cannot_be_is_one_line_and_nothing_is_begun(tmp_path, variables, folder, line):
    done = subprocess.run(
        [DEV / "up", tmp_path / folder], env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert line in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_missing_program_is_one_line_that_says_how_to_install_it(tmp_path):
    shutil.copytree(DEV, tmp_path / "dev")
    up = tmp_path / "dev" / "up"
    up.write_text(up.read_text().replace("programs=(slurmctld", "programs=(slurmctld-of-nowhere"))
    done = subprocess.run([up, tmp_path / "new"], capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (NOT_INSTALLED, 1)
    assert "not installed: slurmctld-of-nowhere. Run slurm/dev/install" in done.stderr
    assert "apt-get install slurm-wlm slurmdbd munge mariadb-server procps" in done.stderr


@pytest.mark.slow
def test_the_controller_notices_a_dead_node_by_itself(cluster):
    job = cluster.sbatch("sleep 300", "--requeue")
    cluster.wait_state(job, "RUNNING")
    cluster.kill_slurmd(cluster.squeue(job)[0].node)
    cluster.wait(lambda: cluster.restarts(job) == 1, 90, "requeued")
