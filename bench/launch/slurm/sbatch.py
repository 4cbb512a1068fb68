"""What stands between us and sbatch: the environment it is called in, what its errors mean, how much it takes."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import scheduler
from bench.errors import BenchError

# Says where the cluster is, and how to speak to it: nothing of the job that this process may be in.
_KEPT = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT")
# A user's own, from the shell's start-up files: they count where the profile says nothing.
_WISHES = {"SBATCH_ACCOUNT": "slurm_account", "SBATCH_RESERVATION": "", "SLURM_ACCOUNT": ""}
_LIMIT = re.compile(r"\b(?:QOS|Assoc)\w*Submit\w*|Reached the maximum number of jobs", re.IGNORECASE)
_SILENT = re.compile(
    r"unable to contact slurm|socket timed out|resource temporarily unavailable|connection (?:refused|timed out)"
    r"|zero bytes were transmitted|temporarily unable to accept|standby mode|timed out|transport endpoint"
    r"|communications? (?:connection|shutdown) failure|unexpected message received",
    re.IGNORECASE,
)
TEST_SECONDS = 60.0

Fault = Literal["limit", "silent", "refused"]


class SubmitError(BenchError):
    """sbatch did not take a job.

    Attributes:
        fault: "limit" and "silent" may pass; "refused" will not.
    """

    exit_code = 2

    def __init__(self, text: str, fault: Fault | None = None) -> None:
        limit = _LIMIT.search(text)
        super().__init__(f"SLURM takes no more jobs for now ({limit[0]})" if limit else said(text))
        found: Fault = "limit" if limit else "silent" if _SILENT.search(text) else "refused"
        self.fault: Fault = fault or found


def said(text: str) -> str:
    """The output of sbatch as one line, without its own name."""
    lines = [re.sub(r"^sbatch: (?:error: )?", "", line).strip() for line in text.splitlines()]
    return "; ".join(dict.fromkeys(line for line in lines if line)) or "sbatch failed without a word"


def clean_environment(environment: Mapping[str, str], asked: Mapping[str, Any]) -> dict[str, str]:
    """An environment without what a surrounding job or a user's defaults would change in ours.

    sbatch lets its variables win over the script, so that SBATCH_PARTITION would overrule the profile.

    Args:
        environment: this process's.
        asked: submitit's parameters of the job.
    """
    inside = "SLURM_JOB_ID" in environment

    def keep(name: str) -> bool:
        if name in _KEPT:
            return True
        if name in _WISHES:
            return not inside and _WISHES[name] not in asked
        return not name.startswith(("SLURM_", "SBATCH_", "SRUN_", "SUBMITIT_", "SLURMD_"))

    return {name: value for name, value in environment.items() if keep(name)}


@contextlib.contextmanager
def cleaned(asked: Mapping[str, Any]) -> Iterator[None]:
    """Have this process's environment clean for a while; see `clean_environment`."""
    before = dict(os.environ)
    after = clean_environment(before, asked)
    for name in before.keys() - after.keys():
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals wait: between sbatch's answer and its record there must be no Ctrl-C.

    The mask is inherited, so that the terminal's Ctrl-C does not end sbatch either.
    """
    held = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, held)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def max_array_size() -> int:
    """Tasks of the largest array that the site takes.

    Raises:
        bench.scheduler.Unreachable: the controller is silent.
    """
    text = scheduler.configuration().get("MaxArraySize", "")
    # 0 switches arrays off.
    return max(1, int(text)) if text.isdigit() else 1001


def num_queued() -> int:
    """This user's jobs in the queue, each task of an array counted.

    Raises:
        bench.scheduler.Unreachable: the controller is silent.
    """
    words = ["squeue", "--me", "--noheader", "--array", "--format=%i"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=TEST_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        raise scheduler.Unreachable(f"squeue does not answer: {error}") from None
    return len(done.stdout.split())


@dataclass(frozen=True)
class Forecast:
    """What `sbatch --test-only` says of a class of jobs.

    Attributes:
        accepted: whether SLURM would take it; None when it is silent.
        text: when and where it would start, or why not.
        fault: why it is not accepted; None when it is. Only "refused" is for good.
    """

    accepted: bool | None
    text: str
    fault: Fault | None = None


def forecast(script: str, asked: Mapping[str, Any]) -> Forecast:
    """Ask SLURM about a job without submitting it.

    Args:
        script: the batch script.
        asked: submitit's parameters of the job.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "script.sh")
        path.write_text(script)
        environment = clean_environment(os.environ, asked)
        try:
            done = subprocess.run(
                ["sbatch", "--test-only", str(path)],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=TEST_SECONDS,
                env=environment,
            )
        except (OSError, subprocess.SubprocessError) as error:
            return Forecast(None, f"sbatch does not answer: {error}", "silent")
    text = said(done.stderr or done.stdout)
    if done.returncode:
        fault = SubmitError(text).fault
        return Forecast(None if fault == "silent" else False, text, fault)
    # The number is of no job: it is given again to the next.
    return Forecast(True, re.sub(r"^Job \d+ to start", "would start", text))
