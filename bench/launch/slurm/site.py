"""What a cluster says of itself to its login node: programs, controller, partitions, limits. Nothing is submitted."""

import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass

from bench import scheduler
from bench.doctor import Check

PROGRAMS = ("sbatch", "squeue", "scontrol", "scancel", "srun")
SECONDS = 20.0


class Silent(Exception):
    """A program of SLURM is missing, fails or does not answer; the text says which."""


def call(*words: str) -> str:
    """What a program of SLURM prints.

    Raises:
        Silent: it is missing, fails or does not answer.
    """
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS
        )
    except FileNotFoundError:
        raise Silent("not found") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Silent(f"{words[0]}: {error}") from None
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise Silent(f"{words[0]}: {lines[-1].strip()}")
    return done.stdout


def look() -> list[Check]:
    """Every check that needs no job; the first that fails makes the later ones pointless and ends the list."""
    checks = [_version(name) for name in PROGRAMS]
    if any(check.ok is False for check in checks):
        return checks
    begun = time.perf_counter()
    try:
        config = scheduler.configuration()
        call("squeue", "--noheader", "--me")
    except (Silent, scheduler.Unreachable) as error:
        return [*checks, Check("controller", False, str(error))]
    seconds = time.perf_counter() - begun
    cluster = config.get("ClusterName", "?")
    checks.append(Check("controller", True, f"cluster {cluster}, answers in {1000 * seconds:.0f} ms"))
    return [*checks, _accounting(config), _limits(config), _preemption(config), *_partitions()]


def _version(name: str) -> Check:
    try:
        return Check(name, True, call(name, "--version").strip())
    except Silent as error:
        return Check(name, False, str(error))


def _accounting(config: Mapping[str, str]) -> Check:
    kind, age = config.get("AccountingStorageType", "?"), config.get("MinJobAge", "?")
    without = f"jobs that have ended are known for {age} only, which is enough for `bench status`"
    if kind.endswith("/none"):
        return Check("sacct", None, f"no accounting is kept: {without}")
    try:
        call("sacct", "--noheader", "-X", "--format=JobID", "--starttime=now")
    except Silent as error:
        return Check("sacct", None, f"{error}: {without}")
    return Check("sacct", True, kind.rpartition("/")[2])


def _limits(config: Mapping[str, str]) -> Check:
    names = ("MaxArraySize", "MaxJobCount", "KillWait", "MinJobAge")
    return Check("limits", True, ", ".join(f"{name} {config.get(name, '?')}" for name in names))


def _preemption(config: Mapping[str, str]) -> Check:
    mode, kind = config.get("PreemptMode", "?"), config.get("PreemptType", "?").rpartition("/")[2]
    if kind == "none" or mode == "OFF":
        return Check("preemption", True, "none")
    warned = "preempt_send_user_signal" in config.get("SlurmctldParameters", "")
    how = "jobs are signalled first" if warned else "jobs get SIGTERM, and as long as GraceTime says"
    return Check("preemption", True, f"{kind}, {mode}, {how}")


@dataclass(frozen=True)
class TimeLimits:
    """How long jobs may be.

    Attributes:
        default: name of the partition of a job that names none; "" where there is no such.
        minutes: longest job by partition; one without a limit is not in it.
    """

    default: str
    minutes: Mapping[str, float]


def time_limits() -> TimeLimits:
    """Of the partitions; none of any where SLURM is silent."""
    try:
        found = _records()
    except Silent:
        return TimeLimits("", {})
    default = next((row["PartitionName"] for row in found if row.get("Default") == "YES"), "")
    limits = {row["PartitionName"]: _minutes(row.get("MaxTime", "")) for row in found}
    return TimeLimits(default, {name: limit for name, limit in limits.items() if limit is not None})


def _minutes(text: str) -> float | None:
    """Of [days-]hours:minutes:seconds; None for UNLIMITED."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):(\d+)", text)
    if found is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return 1440 * days + 60 * hours + minutes + seconds / 60


def _records() -> list[dict[str, str]]:
    """What SLURM says of each partition."""
    records = call("scontrol", "show", "partition").split("\n\n")
    return [dict(re.findall(r"(\w+)=(\S*)", text)) for text in records if "PartitionName=" in text]


def _partitions() -> list[Check]:
    try:
        found = _records()
    except Silent as error:
        return [Check("partitions", False, str(error))]
    if not found:
        return [Check("partitions", False, "there is none that you may use")]
    return [_partition(row) for row in found]


def _partition(row: Mapping[str, str]) -> Check:
    up = row.get("State") == "UP"
    gpus = re.search(r"gres/gpu=(\d+)", row.get("TRES", ""))
    words = [
        row.get("State", "?").lower(),
        f"{row.get('TotalNodes', '?')} nodes",
        f"{row.get('TotalCPUs', '?')} CPUs",
        f"{gpus[1]} GPUs" if gpus else "no GPUs",
        f"at most {row.get('MaxTime', '?')}",
    ]
    if (mode := row.get("PreemptMode", "OFF")) != "OFF":
        words.append(f"preempted ({mode}, grace {row.get('GraceTime', '?')} s)")
    default = " (default)" if row.get("Default") == "YES" else ""
    return Check(f"partition {row.get('PartitionName')}{default}", True if up else None, ", ".join(words))
