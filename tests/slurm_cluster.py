"""The tests' SLURM cluster: a real one, started by slurm/dev/up, in a folder of its own.

`cluster` is one for the whole session. `make_cluster` starts another, with other options, until the module ends.
Tests that use either are marked `slurm`; without SLURM on the machine they skip and say how to install it.
"""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

DEV = Path(__file__).parent.parent / "slurm" / "dev"
NOT_INSTALLED = 3
OTHERS = ("SLURM_", "SBATCH_", "SRUN_", "SQUEUE_", "SACCT_", "BENCH_SLURM_", "BENCH_PROFILE")
ENDED = {
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY", "DEADLINE"),
    *("BOOT_FAIL", "REVOKED"),
}
T = TypeVar("T")


@dataclass(frozen=True)
class Row:
    """A line of squeue; a task of an array has a line of its own.

    Attributes:
        id: as squeue prints it: "1205", or "1200_5" for a task of an array.
        raw: its SLURM_JOB_ID.
        reason: why it waits; "None" where it does not.
        node: where it runs; "" where it does not.
    """

    id: str
    raw: str
    name: str
    state: str
    reason: str
    node: str
    partition: str


class Cluster:
    """A running cluster.

    Attributes:
        folder: its own; logs in `log/`.
        env: the environment in which sbatch, squeue and bench find it.
        accounting: whether sacct answers.
    """

    def __init__(self, folder: Path, env: dict[str, str], accounting: bool):
        self.folder = folder
        self.env = env
        self.accounting = accounting

    def run(self, *command: str | Path, timeout: float = 60, check: bool = True, **options):
        """Run a command with the cluster's environment, output as text; one that fails is an AssertionError."""
        environment = {**self.env, **options.pop("env", {})}
        done = subprocess.run(
            [str(word) for word in command],
            env=environment,
            timeout=timeout,
            text=True,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **options},
        )
        assert not check or done.returncode == 0, (
            f"{command} ended with {done.returncode}: {done.stderr}{done.stdout}"
        )
        return done

    def sbatch(self, script: str, *options: str, **run_options) -> str:
        """Submit a script of shell, output to nowhere unless the options say where; returns the job's id."""
        words = ("sbatch", "--parsable", "--output=/dev/null", *options, f"--wrap={script}")
        return self.run(*words, **run_options).stdout.strip().split(";")[0]

    # --- What it says

    @property
    def nodes(self) -> list[str]:
        """The nodes' names, in order."""
        return list(self.sinfo())

    def sinfo(self) -> dict[str, str]:
        """Node -> its state in short words: "idle", "mix", "alloc", "down", "drain", ...; "*" at its end: silent."""
        lines = self.run("sinfo", "-h", "-N", "-p", "main", "-o", "%N %t").stdout.splitlines()
        return dict(sorted((line.split() for line in lines), key=lambda row: int(row[0].rsplit(".")[-1])))

    def squeue(self, *ids: str) -> list[Row]:
        """Every job that the controller knows, finished ones too; or only these (by either kind of id)."""
        lines = self.run("squeue", "-h", "-r", "-t", "all", "-o", "%i|%A|%j|%T|%r|%N|%P").stdout.splitlines()
        rows = [Row(*line.split("|")) for line in lines]
        return [row for row in rows if not ids or {row.id, row.raw, row.id.split("_")[0]} & {*ids}]

    def state(self, job: str) -> str | None:
        """A job's state in one long word ("RUNNING", "COMPLETED", ...); None where it is forgotten."""
        rows = self.squeue(job)
        return rows[-1].state if rows else None

    def restarts(self, job: str) -> int:
        """How often a job was requeued."""
        facts = self.run("scontrol", "-o", "show", "job", job).stdout.split()
        return int(dict(fact.split("=", 1) for fact in facts if "=" in fact)["Restarts"])

    def wait(self, predicate: Callable[[], T], seconds: float = 60, what: str = "") -> T:
        """Ask until the answer is true, and return it; an AssertionError that shows the cluster when time is over."""
        end = time.monotonic() + seconds
        while not (answer := predicate()):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds} s: {what or predicate}\n{self.describe()}")
            time.sleep(0.1)
        return answer

    def wait_state(self, job: str, *states: str, seconds: float = 60) -> str:
        """Wait until a job is in one of these states; returns which."""
        what = f"job {job} {' or '.join(states)}"
        return str(self.wait(lambda: (s := self.state(job)) in states and s, seconds, what))

    def describe(self) -> str:
        """The queue, the nodes and the ends of the logs, for the error of a test."""
        said = [
            self.run(*words, check=False, timeout=30, stderr=subprocess.STDOUT).stdout
            for words in (("squeue", "-t", "all", "-o", "%i %j %T %r %N"), ("sinfo", "-N"))
        ]
        for log in sorted((self.folder / "log").glob("slurm*.log")):
            said.append(f"{log.name}:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-8:]))
        return "\n".join(said)

    # --- What may happen to it

    def pid(self, daemon: str) -> int | None:
        """The process of "slurmctld", "slurmdbd", "mariadbd", "munged" or "slurmd-NODE", if it lives."""
        try:
            number = int((self.folder / "run" / f"{daemon}.pid").read_text())
            process = psutil.Process(number)
            alive = process.status() != psutil.STATUS_ZOMBIE and process.name() == daemon.split("-")[0]
        except (OSError, ValueError, psutil.NoSuchProcess):
            return None
        return number if alive else None

    def kill(self, daemon: str, signal_number: int = signal.SIGKILL) -> None:
        """Send a signal to a daemon, and wait until it is gone if that is SIGKILL."""
        pid = self.pid(daemon)
        assert pid, f"{daemon} does not run"
        os.kill(pid, signal_number)
        if signal_number == signal.SIGKILL:
            self.wait(lambda: self.pid(daemon) is None, 10, f"{daemon} gone")

    def kill_slurmd(self, node: str) -> None:
        """SIGKILL to a node's daemon: its jobs' processes live on, as those of a node cut off from the network."""
        self.kill(f"slurmd-{node}")

    def start_slurmd(self, node: str) -> None:
        """Start a node's daemon again, and wait until the node takes jobs."""
        if not self.pid(f"slurmd-{node}"):
            self.run(DEV / "node", node)
        self.wait(lambda: self._takes_jobs(node), 30, f"{node} takes jobs")

    def _takes_jobs(self, node: str) -> bool:
        state = self.sinfo()[node]
        if state in ("down", "drain", "drng", "fail"):
            # Refused where the node came back by itself in between.
            self.run("scontrol", "update", f"nodename={node}", "state=resume", check=False)
        return state in ("idle", "mix", "alloc", "comp")

    def set_down(self, node: str) -> None:
        """Declare a node dead: its jobs end as NODE_FAIL or are requeued, at once."""
        self.run("scontrol", "update", f"nodename={node}", "state=down", "reason=test")

    def kill_controller(self, saved: bool = True) -> None:
        """SIGKILL to slurmctld: jobs run on, and nothing answers.

        Args:
            saved: make it write down what it knows before that; by itself it may take long. A job of which it has
                not is forgotten; one that it has only as pending is started a second time, fails to, and is held.
        """
        live = [row.raw for row in self.squeue() if row.state not in ENDED]
        if saved and live:
            file = self.folder / "state" / "job_state"
            before = file.stat().st_mtime_ns if file.exists() else 0
            self.run(
                "scontrol", "update", f"jobid={live[-1]}", "comment=saved"
            )  # a change is written at once
            self.wait(
                lambda: file.exists() and file.stat().st_mtime_ns != before, 15, "the jobs' state is saved"
            )
        self.kill("slurmctld")

    def start_controller(self) -> None:
        """Start slurmctld again, from the state that it saved, and wait until it answers."""
        if not self.pid("slurmctld"):
            self.run("slurmctld")
        self.wait(self.answers, 30, "slurmctld answers")

    def answers(self) -> bool:
        """Whether the controller does."""
        return " is UP" in self.run("scontrol", "ping", check=False).stdout

    def tidy(self) -> None:
        """No jobs, every daemon alive, every node ready: as when it was new."""
        if self.pid("slurmctld") and any(row.state not in ENDED for row in self.squeue()):
            self.run("scancel", "--full", "--signal=KILL", "--user", str(os.getuid()), check=False)
            self.run("scancel", "--user", str(os.getuid()))
        self.run(DEV / "up", self.folder, timeout=120)
        self.wait(lambda: all(row.state in ENDED for row in self.squeue()), 60, "no jobs")
        self.run("scontrol", "update", "partition=low", "gracetime=5")


def python_of(cluster: Cluster, job: str) -> psutil.Process | None:
    """The Python that submitit runs in a job; None while there is none, or one that does not yet block signals."""
    (row,) = cluster.squeue(job)
    mine = {"SLURM_JOB_ID": row.raw, "SLURM_CONF": cluster.env["SLURM_CONF"]}
    for process in psutil.process_iter():
        try:
            words = process.cmdline()
            found = "python" in process.name() and "submitit.core._submit" in words
            found = found and not any(Path(word).name == "start.py" for word in words)
            if found and mine.items() <= process.environ().items():
                return process
        except psutil.Error:
            continue
    return None


RUNNING = pytest.StashKey[Cluster]()


def _memory() -> str | None:
    """A folder in memory where there is room for the database and programs may be run; it spares the disk seconds."""
    place = "/dev/shm"
    if not os.access(place, os.W_OK) or shutil.disk_usage(place).free < 1 << 30:
        return None
    return None if os.statvfs(place).f_flag & os.ST_NOEXEC else place


@contextmanager
def started(**options: str | int) -> Iterator[Cluster]:
    """A cluster of its own, with up's options; it is taken down however the caller ends."""
    folder = Path(tempfile.mkdtemp(prefix="bench-slurm-", dir=_memory()))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(OTHERS)}
    environment["PATH"] = f"{environment.get('PATH', '')}:/usr/sbin:/sbin"
    # Reads until our end of the pipe is closed: by us below, or by the kernel when we were killed.
    watch = subprocess.Popen(
        ["sh", "-c", 'cat; "$0" "$1" || exit; rm -rf "$1"', str(DEV / "down"), str(folder)],
        stdin=subprocess.PIPE,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert watch.stdin
    try:
        done = subprocess.run(
            [str(DEV / "up"), str(folder)],
            env={**environment, **{name: str(value) for name, value in options.items()}},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        if done.returncode == NOT_INSTALLED:
            pytest.skip(done.stderr.strip())
        assert done.returncode == 0, done.stderr
        environment["SLURM_CONF"] = str(folder / "slurm.conf")
        yield Cluster(folder, environment, accounting=options.get("ACCOUNTING") != "none")
    finally:
        watch.stdin.close()
        assert watch.wait(60) == 0


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The session's cluster: four nodes of 4 processors and 2 fake GPUs, accounting, partitions main and low."""
    with started() as one:
        request.config.stash[RUNNING] = one
        yield one
        del request.config.stash[RUNNING]


@pytest.fixture(scope="module")
def make_cluster() -> Iterator[Callable[..., Cluster]]:
    """Start a cluster with other options (those of slurm/dev/up) until the module ends; the same twice is one."""
    with ExitStack() as stack:
        yield cache(lambda **options: stack.enter_context(started(**options)))


@pytest.fixture(scope="module", autouse=True)
def cluster_is_left_as_it_was_found(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a module that used the session's cluster: nothing of its jobs is left for the next."""
    yield
    used = any(
        "cluster" in getattr(item, "fixturenames", ())
        for item in request.session.items
        if item.getparent(pytest.Module) is request.node
    )
    one = request.config.stash.get(RUNNING, None)
    if one and used:
        one.tidy()
