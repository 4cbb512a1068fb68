"""Starts Python in a job so that a signal which arrives while it still imports neither kills it nor is lost.

SLURM asks a job to leave with SIGUSR2 or SIGTERM. Until the job has handlers, either would end it at once: a job
that ends by itself within its grace period counts as FAILED and is not requeued. So both are blocked here, first
thing: a blocked signal waits, and is delivered when `bench.launch.slurm.job` unblocks it. Mask and disposition
survive exec. This file imports nothing of ours and little of Python's: while it starts, 20 ms, the shell around it
has the signals ignored, and one that comes then goes unheard. SLURM requeues such a job at the end of its grace.
"""

import os
import signal
import sys

SIGNALS = (signal.SIGUSR2, signal.SIGTERM)
# In its first 4 ms a task has no shell yet that ignores anything. SIGUSR2 is nothing else's end: 140 is 128 and 12.
_REQUEUE = (
    "srun() {",
    "  local code=0",
    '  command srun "$@" || code=$?',
    "  if [ $code = 140 ]; then",
    '    scontrol requeue "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"',
    "  fi",
    "  return $code",
    "}",
)


def command(python: str, code: os.PathLike[str] | str) -> str:
    """The shell command with which submitit starts Python in a job.

    Args:
        python: path of an interpreter, or a shell command that starts one, say in a container.
        code: what `snapshot.take` gave.
    """
    import shlex
    from pathlib import Path

    python = shlex.quote(python) if Path(python).exists() else python
    here = shlex.quote(str(Path(code, "bench", "launch", "slurm", "start.py")))
    # Without site-packages and user settings Python is up in half of the time.
    script = f'trap "" USR2 TERM; exec {python} -I -S {here} "$@"'
    return f"bash -c {shlex.quote(script)} bash"


def setup(code: os.PathLike[str] | str, results: os.PathLike[str] | str) -> list[str]:
    """Lines of the batch script that come before Python.

    Args:
        code: what `snapshot.take` gave; its packages are the ones that a job imports.
        results: the results folder.
    """
    import shlex
    from pathlib import Path

    lines = [f"export PYTHONPATH={shlex.quote(str(Path(code).absolute()))}${{PYTHONPATH:+:$PYTHONPATH}}"]
    for flag, path, why in (("w", results, "cannot be written"), ("r", code, "is not there")):
        here = shlex.quote(str(Path(path).absolute()))
        lines.append(
            f'[ -{flag} {here} ] || {{ echo "bench: error:" {here} "{why} on $(hostname)" >&2; exit 1; }}'
        )
    return [*lines, *_REQUEUE]


def _mend(folder: str) -> None:
    """Clear what a kill in the middle of submitit's own saving left: it would refuse to save once more."""
    import contextlib
    from pathlib import Path

    job = os.environ.get("SLURM_JOB_ID", "")
    if array := os.environ.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{os.environ.get('SLURM_ARRAY_TASK_ID')}"
    submitted = Path(folder, f"{job}_submitted.pkl")
    with contextlib.suppress(OSError):
        # submitit removes the old file before it renames the new one, which is whole by then.
        if not submitted.exists():
            Path(f"{submitted}.save_tmp").rename(submitted)
    for name in (f"{job}_submitted.pkl", f"{job}_0_result.pkl"):
        with contextlib.suppress(OSError):
            Path(folder, f"{name}.save_tmp").unlink(missing_ok=True)


def main() -> None:
    """Become the interpreter that was asked for, with the signals blocked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    if os.environ.get("SLURM_PROCID", "0") == "0":
        _mend(sys.argv[-1])
    # -P: the folder in which the job was submitted may hold another `bench`, the checkout itself.
    os.execv(sys.executable, [sys.executable, "-P", *sys.argv[1:]])


if __name__ == "__main__":
    main()
