"""A job as SLURM speaks of it, and the output of squeue and sacct read. Pure: nothing is called here."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

# A byte that no job name holds; squeue prints a field as wide as it is when only a suffix follows it.
FIELD = "\x1f"
SQUEUE = (
    "JobID",
    "JobArrayID",
    "State",
    "Reason",
    "NodeList",
    "RestartCnt",
    "exit_code",
    "Partition",
    "Name",
)
SACCT = ("JobIDRaw", "JobID", "State", "Reason", "NodeList", "ExitCode", "Partition", "JobName")

# The words for a job that has ended. Any other word, also of a SLURM to come, is of one that may still run.
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "UNKNOWN"}
ENDED |= {"OUT_OF_MEMORY", "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT"}
# Queued, with no process: what ran before has ended.
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"}

# What squeue's words for waiting mean to whoever reads them for the first time.
REASONS = {
    "Resources": "next in line, waits for free resources",
    "Priority": "others come first",
    "Dependency": "waits for a pretraining in another job",
    "DependencyNeverSatisfied": "its pretraining's job failed",
    "JobHeldUser": "held: `scontrol release` lets it go",
    "JobHeldAdmin": "held by an administrator",
    "JobArrayTaskLimit": "the profile lets no more run at once",
    "BeginTime": "requeued a moment ago",
    "PartitionConfig": "no node of its partition has what it asks for",
    "PartitionTimeLimit": "its partition takes no jobs so long: timeout_min",
    "PartitionDown": "its partition starts no jobs for now",
    "launch failed requeued held": "its launch failed: `scontrol release` tries again",
}
# What SLURM gives a job whose standard output cannot be opened on the node: no signal has the number.
NO_OUTPUT = "0:53"


@dataclass(frozen=True)
class Job:
    """One job, or one task of an array, as SLURM last spoke of it.

    Attributes:
        id: the raw number, SLURM_JOB_ID. A task of an array that never started shares its array's.
        array_id: "1200_5", or the same as `id`.
        name: of the job.
        state: "RUNNING", "PENDING", "NODE_FAIL", ...; "UNKNOWN" where accounting holds a job for running that
            the controller does not know.
        reason: why it waits or ended, as far as SLURM says.
        node: where it runs or ran; "" before its start.
        restarts: how often it was requeued.
        exit_code: as sacct writes it, "1:0" is exit code 1 and no signal.
        partition: where it was sent.
    """

    id: str
    array_id: str
    name: str
    state: str
    reason: str = ""
    node: str = ""
    restarts: int = 0
    exit_code: str = "0:0"
    partition: str = ""

    @property
    def live(self) -> bool:
        """Whether it runs or will run."""
        return self.state not in ENDED

    @property
    def waiting(self) -> bool:
        """Whether it is queued and no process of it runs."""
        return self.state in WAITING

    @property
    def verdict(self) -> str:
        """What SLURM says of a job, in a few words: "TIMEOUT", "CANCELLED by 0", "FAILED (signal 9)"."""
        if self.state in ("FAILED", "NODE_FAIL"):
            code, _, number = self.exit_code.partition(":")
            if self.exit_code == NO_OUTPUT:
                return f"{self.state} (its output could not be written: was the results folder moved?)"
            # A shell says of what a signal killed: 128 and its number.
            number = str(int(code) - 128) if code.isdigit() and 128 < int(code) < 160 else number
            how = f"signal {number}" if number not in ("", "0") else f"exit code {code}"
            where = f"node {self.node}" if self.state == "NODE_FAIL" and self.node else how
            return f"{self.state} ({where})"
        return f"{self.state} {self.reason}" if self.reason.startswith("by ") else self.state


def _plain(word: str) -> str:
    return "" if word in ("None", "(null)", "N/A", "Unknown", "None assigned", "n/a") else word


def expand(array_id: str) -> list[str]:
    """Every task that an id of sacct means: "12_[0,3-4%2]" is 12_0, 12_3 and 12_4; "12_7" is itself."""
    head, bracket, tail = array_id.partition("_[")
    if not bracket:
        return [array_id]
    tasks = []
    for part in tail.partition("]")[0].partition("%")[0].split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+)(?::(\d+))?)?", part.strip())
        if match:
            first, last, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
            tasks += [f"{head}_{task}" for task in range(first, last + 1, step)]
    return tasks


def _fields(text: str, count: int) -> Iterator[list[str]]:
    for line in text.splitlines():
        fields = line.split(FIELD)
        # The name comes last: one that holds a line break loses its end and no more.
        if len(fields) >= count and fields[0]:
            yield [field.strip() for field in fields[:count]]


def parse_squeue(text: str) -> list[Job]:
    """Jobs of the output that `Word` asks squeue for."""
    jobs = []
    for raw, task, state, reason, node, restarts, status, partition, name in _fields(text, len(SQUEUE)):
        number = int(status) if status.isdigit() else 0
        jobs.append(
            Job(
                id=raw,
                array_id=task,
                name=name,
                state=state,
                # A cancelled job keeps the reason for which it waited.
                reason="" if state == "CANCELLED" else _plain(reason),
                node=_plain(node),
                restarts=int(restarts) if restarts.isdigit() else 0,
                # The status that wait(2) gives.
                exit_code=f"{number >> 8}:{number & 127}",
                partition=partition,
            )
        )
    return jobs


def parse_sacct(text: str) -> list[Job]:
    """Jobs of sacct's output: of several rows of one job, each a start, the last counts."""
    jobs: dict[str, Job] = {}
    for raw, tasks, said, reason, node, code, partition, name in _fields(text, len(SACCT)):
        state, _, by = said.partition(" ")
        for task in expand(tasks):
            before = jobs.pop(task, None)
            jobs[task] = Job(
                id=raw,
                array_id=task,
                name=name,
                state=state,
                reason=by or _plain(reason),
                node=_plain(node),
                restarts=before.restarts + 1 if before else 0,
                exit_code=code or "0:0",
                partition=partition,
            )
    return list(jobs.values())
