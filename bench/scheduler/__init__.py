"""What SLURM says of jobs: one `squeue`, and one `sacct` for what it has forgotten. No torch, no submitit.

A silent controller is no answer: it is `Unreachable`, and never "the job is gone". An id that a reachable
controller does not know is an answer: SLURM forgets no job that may still run.
"""

import functools
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import replace

from bench.errors import BenchError
from bench.scheduler.jobs import FIELD, SACCT, SQUEUE, Job, parse_sacct, parse_squeue

__all__ = ["Job", "Unreachable", "Word", "available", "cancel", "cluster_name"]

PING_SECONDS, QUEUE_SECONDS, ACCOUNT_SECONDS = 8.0, 30.0, 30.0
# Ids a call of sacct: a command line has an end.
CHUNK = 2000


class Unreachable(BenchError):
    """SLURM does not answer: not installed, no controller, or none that speaks to us."""


def _environment() -> dict[str, str]:
    # What a user has set for squeue's own table must not change ours; task lists are written whole.
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("SQUEUE_", "SACCT_"))}
    return ours | {"LC_ALL": "C", "SLURM_BITSTR_LEN": "0"}


def _call(words: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
    """Run a command of SLURM.

    Raises:
        Unreachable: it is not installed or does not come back.
    """
    try:
        return subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            env=_environment(),
        )
    except FileNotFoundError:
        raise Unreachable(f"SLURM is not installed here (no {words[0]})") from None
    except subprocess.TimeoutExpired:
        raise Unreachable(f"{words[0]} has not answered for {seconds:.0f} s") from None
    except OSError as error:
        raise Unreachable(f"{words[0]} cannot be run: {error.strerror or error}") from None


def _ping() -> None:
    """Ask whether a controller is there: squeue alone takes nine seconds to find that none is.

    Raises:
        Unreachable: none is.
    """
    said = _call(["scontrol", "ping"], PING_SECONDS)
    lines = [line for line in said.stdout.splitlines() if line.startswith("Slurmctld")]
    if lines and not any(line.rstrip().endswith(" UP") for line in lines):
        raise Unreachable(f"SLURM's controller does not answer ({lines[0].strip()})")


def available() -> bool:
    """Whether jobs can be submitted here: sbatch is there and a controller answers."""
    if shutil.which("sbatch") is None:
        return False
    try:
        _ping()
    except Unreachable:
        return False
    return True


@functools.cache
def configuration() -> dict[str, str]:
    """`scontrol show config`, asked once a process.

    Raises:
        Unreachable: the controller is silent. That is not kept.
    """
    said = _call(["scontrol", "show", "config"], PING_SECONDS)
    if said.returncode:
        raise Unreachable(_complaint("scontrol", said))
    pairs = (line.partition("=") for line in said.stdout.splitlines())
    return {key.strip(): value.strip() for key, equals, value in pairs if equals}


def cancel(ids: Iterable[str]) -> None:
    """Cancel jobs, many at once; one that has ended meanwhile is fine.

    Args:
        ids: raw or of arrays.

    Raises:
        Unreachable: the controller is silent, or refuses; what was not cancelled runs on.
    """
    _ping()
    wanted = list(dict.fromkeys(ids))
    for start in range(0, len(wanted), CHUNK):
        said = _call(["scancel", *wanted[start : start + CHUNK]], QUEUE_SECONDS)
        ended = ("Invalid job id", "already completing or completed")
        lines = [line for line in said.stderr.splitlines() if not any(word in line for word in ended)]
        if said.returncode and lines:
            raise Unreachable(f"scancel: {lines[-1].strip()}")


def cluster_name() -> str | None:
    """The cluster that this machine belongs to; None where there is none or it is silent."""
    if name := os.environ.get("SLURM_CLUSTER_NAME"):
        return name
    try:
        return configuration().get("ClusterName")
    except Unreachable:
        return None


def _complaint(program: str, said: subprocess.CompletedProcess[str]) -> str:
    lines = said.stderr.strip().splitlines()
    text = lines[-1].strip().removeprefix(f"{program}: ") if lines else f"exit code {said.returncode}"
    return f"{program}: {text}"


class Word:
    """SLURM's word, asked once and kept for a while, so that 10,000 cells cost one question.

    Args:
        max_age: seconds for which an answer is good, silence too.
    """

    def __init__(self, max_age: float = 5.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_age, self._clock = max_age, clock
        self._good_until: float | None = None
        self._silence = ""
        self._queue: list[Job] = []
        self._by_id: dict[str, Job] = {}
        # What sacct said stays true, as it is about what has ended; that it knows nothing, for a while.
        self._past: dict[str, Job] = {}
        self._unknown_until: dict[str, float] = {}

    def ask(self, ids: Iterable[str] = ()) -> None:
        """Ask squeue about everything, and sacct about those ids that squeue does not know.

        Args:
            ids: raw or of arrays.

        Raises:
            Unreachable: the controller is silent.
        """
        self._ask_queue()
        self._ask_past([id for id in dict.fromkeys(ids) if id not in self._by_id])

    def _ask_queue(self, again: bool = False) -> None:
        begun = self._clock()
        if not again and self._good_until is not None and begun < self._good_until:
            if self._silence:
                raise Unreachable(self._silence)
            return
        self._silence = ""
        try:
            _ping()
            form = ",".join(f"{field}:{FIELD}" for field in SQUEUE)
            said = _call(
                ["squeue", "--noheader", "--array", "--all", "--states=all", "-O", form], QUEUE_SECONDS
            )
            if said.returncode:
                raise Unreachable(_complaint("squeue", said))
        except Unreachable as error:
            self._silence, self._queue, self._by_id = str(error), [], {}
            raise
        finally:
            # An answer that took long is kept long, or whoever asks about many cells would only wait.
            ended = self._clock()
            self._good_until = ended + max(self._max_age, 3 * (ended - begun))
        self._queue, self._by_id = parse_squeue(said.stdout), {}
        for job in self._queue:
            self._by_id[job.array_id] = job
        for job in self._queue:
            # Tasks that never started share the array's number; the one that has it for good is its task.
            held = self._by_id.get(job.id)
            if held is None or (job.live, not job.waiting) > (held.live, not held.waiting):
                self._by_id[job.id] = job

    def _ask_past(self, ids: list[str]) -> None:
        begun = self._clock()
        wanted = [id for id in ids if id not in self._past and self._unknown_until.get(id, begun) <= begun]
        if not wanted:
            return
        found: dict[str, Job] = {}
        # A task is asked for by its array: thousands of them are one word.
        words = list(dict.fromkeys(id.partition("_")[0] for id in wanted))
        for start in range(0, len(words), CHUNK):
            for job in _account(words[start : start + CHUNK]):
                found[job.array_id] = job
                found.setdefault(job.id, job)
        if any(found[id].live for id in wanted if id in found):
            # Submitted since squeue was asked, or lost by the controller, which only it can tell.
            self._ask_queue(again=True)
        ended = self._clock()
        self._unknown_until.update(dict.fromkeys(wanted, ended + max(self._max_age, 3 * (ended - begun))))
        for id in wanted:
            job = found.get(id) or _undivided(found.get(id.partition("_")[0]))
            if job is None:
                continue
            if job.live:
                why = f"accounting says {job.state}, the controller does not know the job"
                job = replace(job, state="UNKNOWN", reason=why)
            self._past[id] = job

    def job(self, id: str) -> Job | None:
        """What is known of a job, asked for if it was not yet; None when SLURM knows nothing of it.

        Args:
            id: raw or of an array, "1205" or "1200_5".

        Raises:
            Unreachable: the controller is silent.
        """
        self.ask([id])
        return self._by_id.get(id) or _undivided(self._by_id.get(id.partition("_")[0])) or self._past.get(id)

    def by_name(self, prefix: str) -> list[Job]:
        """The jobs that squeue knows whose name begins so.

        Raises:
            Unreachable: the controller is silent.
        """
        self._ask_queue()
        return [job for job in self._queue if job.name.startswith(prefix)]

    def runs(self, job_id: str, restart: int, cluster: str) -> bool | None:
        """Whether one start of a job may still run.

        Args:
            job_id: raw.
            restart: SLURM_RESTART_COUNT of that start.
            cluster: that the job belongs to.

        Returns:
            True if it may run now, False if it is gone for sure, None if that cannot be known: the controller is
            silent, it is another cluster, or one that shows nobody other people's jobs.
        """
        try:
            # First the question whose silence is kept.
            self._ask_queue()
            if not job_id or cluster != cluster_name():
                return None
            job = self.job(job_id)
            if job is None:
                return None if _private() else False
        except Unreachable:
            return None
        if job.state == "COMPLETING":
            # A job that is being requeued has its next number already while its processes are still killed.
            return restart in (job.restarts, job.restarts - 1)
        if not job.live or job.waiting or job.restarts > restart:
            return False
        # An earlier start than the one that was seen to work: not the job that we know.
        return True if job.restarts == restart else None


def _undivided(job: Job | None) -> Job | None:
    """An array that ended before any task had begun: SLURM keeps one job of it, which speaks for all tasks."""
    return job if job is not None and job.array_id == job.id and not job.live else None


def _account(ids: list[str]) -> list[Job]:
    """Jobs from accounting; none where it is not kept or does not answer, as the controller's word is enough."""
    form = ",".join(SACCT)
    words = [
        "sacct",
        "-D",
        "-X",
        "-n",
        "-P",
        f"--delimiter={FIELD}",
        f"--format={form}",
        f"--jobs={','.join(ids)}",
    ]
    try:
        said = _call(words, ACCOUNT_SECONDS)
    except Unreachable:
        return []
    return [] if said.returncode else parse_sacct(said.stdout)


def _private() -> bool:
    """Whether the site hides other people's jobs, so that a job which is not seen may yet run."""
    return "jobs" in configuration().get("PrivateData", "").split(",") and os.getuid() != 0
