"""How a job that was asked to leave comes back: submitit requeues it, and a controller that is away is waited for."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NoReturn

from bench.errors import Preempted
from bench.launch.slurm.start import SIGNALS
from bench.provenance import scheduler
from bench.scheduler import Word

# Seconds between tries, four minutes in all. A grace period that ends first ends them, and SLURM requeues itself.
PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0, 60.0, 60.0)


def come_back(
    handler: Any,
    max_restarts: int | None = None,
    pauses: Iterable[float] = PAUSES,
    sleep: Callable[[float], None] = time.sleep,
) -> NoReturn:
    """Have this job requeued and leave.

    Args:
        handler: submitit's for SIGUSR2: it counts timeouts, pickles what `checkpoint` gives, calls
            `scontrol requeue` and exits.
        max_restarts: the job is not requeued more often.
        pauses: seconds between tries.
        sleep: waits.

    Raises:
        SystemExit: requeued; or this start of the job is over and a later one has its place.
        Preempted: it cannot be requeued.
        submitit's UncompletedJobError: the job has timed out as often as it may.
    """
    facts = scheduler()
    if facts is None or not callable(handler):
        raise Preempted("preempted outside of a job of SLURM: run it again and it goes on")
    if max_restarts is not None and facts["restarts"] >= max_restarts:
        raise Preempted(
            f"preempted, and restarted {facts['restarts']} times already (max_restarts {max_restarts}): not"
            " requeued; `bench retry` goes on where it was"
        )
    # scontrol is a process of this job's step: a signal to the step would end it too. It inherits the mask.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    job, problem = facts["array"] or facts["job"], ""
    for pause in (0.0, *pauses):
        sleep(pause)
        if Word(max_age=0.0).runs(facts["job"], facts["restarts"], facts["cluster"] or "") is False:
            # Requeued already, or taken for dead with its node: requeueing now would end the successor.
            print(f"job {job}, restart {facts['restarts']}, is over for SLURM: leaving", flush=True)
            sys.exit(1)
        try:
            problem = _try(handler, job)
        except subprocess.SubprocessError as error:
            problem = str(error)
        print(f"not requeued yet: {problem}", flush=True)
    raise Preempted(f"preempted and could not be requeued ({problem}): `bench retry` goes on where it was")


def _try(handler: Callable[..., Any], job: str) -> str:
    """One try; what went wrong."""
    try:
        _clear(job)
        handler(signal.SIGUSR2, None)
    except (OSError, AssertionError) as error:
        # The pickle could not be written anew, say on a full disk. The one that is there says the same but for the
        # number of timeouts.
        print(f"submitit could not save: {error}", flush=True)
        subprocess.run(["scontrol", "requeue", job], check=True, timeout=60)
        sys.exit(1)
    return "submitit's handler came back"


def _clear(job: str) -> None:
    """Remove what an earlier try left half written: submitit refuses to save over it."""
    if folder := os.environ.get("SUBMITIT_FOLDER"):
        with contextlib.suppress(OSError):
            Path(folder, f"{job}_submitted.pkl.save_tmp").unlink(missing_ok=True)
