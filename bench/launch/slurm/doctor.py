"""`bench doctor --slurm`: a cluster from its login node, its shared folder, and one tiny job."""

import contextlib
import math
import os
import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from bench.doctor import Check
from bench.errors import BenchError
from bench.files import read_json, write_json
from bench.launch.outcome import one_line
from bench.launch.slurm import compare, sbatch, site, snapshot, storage
from bench.launch.slurm.jobs import Jobs, Request, foretell
from bench.launch.slurm.profile import CLASSES, Profile
from bench.launch.slurm.trial import FACTS, SEEN, STARTED, Trial, about_this_side
from bench.records import open_results
from bench.scheduler import Job, Unreachable, Word
from bench.time_left import duration

CLASS = "doctor"
# A job that has started must be done in so long: it loads torch and writes 64 MiB.
LONGEST = 300.0
POLL, ASK = 0.1, 2.0
_MEMORY = re.compile(r"memory limit|oom.kill|out of memory", re.IGNORECASE)


@dataclass
class Doctor:
    """Looks at a cluster; everything that it writes is removed again.

    Args:
        results: the results folder, on the file system that login node and nodes share.
        profile: its class `doctor` says what the job asks for.
        nodes: of the job; with more than one its tasks join a group.
        wait: seconds in which the job must start.
        note: told what is being waited for.
        num_bytes: of the large files whose writing is timed.
    """

    results: Path
    profile: Profile
    nodes: int = 1
    wait: float = 300.0
    note: Callable[[str], None] = field(default=lambda _: None)
    num_bytes: int = 64 << 20

    def look(self) -> list[Check]:
        """All checks; what a later one needs is not tried where an earlier one failed."""
        checks = site.look()
        if any(check.ok is False and not check.name.startswith("partition") for check in checks):
            return checks
        try:
            open_results(self.results, create=False)
            with self._scratch() as scratch:
                found = compare.folder_checks("login node", *self._storage(scratch))
                checks += [Check("results", True, str(self.results.absolute())), *found]
                checks += self._classes()
                if all(check.ok is not False for check in found):
                    checks += self._job(scratch)
        except (BenchError, OSError) as error:
            return [*checks, Check("results", False, one_line(error))]
        left = scratch.exists()
        checks.append(
            Check("tidy", None if left else True, f"{scratch} is left" if left else "nothing is left")
        )
        return checks

    @contextlib.contextmanager
    def _scratch(self) -> Iterator[Path]:
        """A folder of our own below the results, gone afterwards with what had to be made for it."""
        scratch = self.results.absolute() / "slurm" / f"doctor-{secrets.token_hex(4)}"
        made = [path for path in scratch.parents if not path.exists()]
        scratch.mkdir(parents=True)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            for path in made:
                with contextlib.suppress(OSError):
                    path.rmdir()

    def _storage(self, scratch: Path) -> tuple[dict[str, Any], dict[str, str | None]]:
        return dict(storage.speed(scratch, self.num_bytes)), storage.promises(scratch)

    def _classes(self) -> list[Check]:
        """Whether jobs of each class of the profile can ever run here."""
        checks, limits = [], site.time_limits()
        for kind in CLASSES:
            asked = self._asked() if kind == CLASS else self.profile
            said = foretell(asked, kind, Request(self.results.absolute(), None))
            ok, text = (None if said.fault in ("limit", "silent") else said.accepted), said.text
            # Most sites take a job that is longer than its partition allows, and never start it.
            names = str(asked.classes[kind].get("slurm_partition") or limits.default).split(",")
            longest = max((limits.minutes.get(name, math.inf) for name in names), default=math.inf)
            if ok and (minutes := asked.classes[kind]["timeout_min"]) > longest:
                ok = False
                text = f"it would wait for ever (PartitionTimeLimit): timeout_min = {minutes}, and partition"
                text += f" {', '.join(names)} allows {longest:g}"
            checks.append(Check(f"class {kind}", ok, text))
        return checks

    def _asked(self) -> Profile:
        """The profile with the nodes of the tiny job."""
        asked = dict(self.profile.classes[CLASS])
        if self.nodes > 1:
            asked |= {"nodes": self.nodes, "tasks_per_node": 1}
        return replace(self.profile, classes={**self.profile.classes, CLASS: asked})

    def _job(self, scratch: Path) -> list[Check]:
        code = snapshot.take(scratch)
        begun = time.monotonic()
        try:
            job = self._submit(scratch, code)
        except sbatch.SubmitError as error:
            return [Check("job", False, f"sbatch: {error}")]
        self.note(f"job {job} is submitted; waiting {duration(self.wait)} for its start")
        ended = False
        try:
            started = self._until(scratch / STARTED, job, begun + self.wait)
            if started is None:
                return [Check("job", False, self._why_not(job, scratch))]
            seen, waited = time.time(), time.monotonic() - begun
            write_json(scratch / SEEN, {"clock": seen})
            # The step alone, as preemption and the time limit signal it.
            subprocess.run(["scancel", "--signal=USR2", job], capture_output=True, timeout=30, check=False)
            self.note(f"job {job} has started on {started['host']}")
            facts = self._until(scratch / FACTS, job, time.monotonic() + LONGEST)
            if facts is None:
                return [Check("job", False, self._why_not(job, scratch))]
            ended = True
            node = (facts.get("scheduler") or {}).get("nodes") or facts["host"]
            text = f"{job} on {node}, started {duration(waited)} after it was submitted"
            apart = float(started["clock"]) - seen
            return [Check("job", True, text), *compare.job_checks(about_this_side(), code, facts, apart)]
        finally:
            self._end(job, ended)

    def _submit(self, scratch: Path, code: Path) -> str:
        folder, request = scratch / "submitit", Request(results=scratch, root=None)
        jobs = Jobs(self._asked(), CLASS, request, folder, code, f"bench-{scratch.name}")
        return jobs.submit_calls([Trial(str(scratch), self.num_bytes)])[0]

    def _until(self, path: Path, job: str, deadline: float) -> dict[str, Any] | None:
        """The file once it is there; None when time is up or the job has ended without it."""
        asked = time.monotonic()
        while True:
            # Reading the folder anew makes a network file system look again.
            if path.name in os.listdir(path.parent):  # noqa: PTH208
                return read_json(path)
            now = time.monotonic()
            if now > deadline:
                return None
            if now - asked > ASK:
                asked = now
                if (known := _ask(job)) is not None and not known.live and not path.exists():
                    return None
            time.sleep(POLL)

    def _why_not(self, job: str, scratch: Path) -> str:
        known = _ask(job)
        if known is None:
            return f"{job} was submitted and SLURM knows nothing of it"
        if known.waiting:
            return f"{job} did not start in {duration(self.wait)} ({known.reason or 'no reason given'}): cancelled"
        if known.live:
            return f"{job} runs on {known.node}, but what it writes is not seen here: {scratch} is not shared"
        log = scratch / "submitit" / f"{job}_0_log.err"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        if memory := [line for line in lines if _MEMORY.search(line)]:
            why = f"{memory[0]}: ask for more with mem_gb in the profile"
        else:
            why = lines[-1] if lines else f"it left no log: is {self.results.absolute()} on its nodes?"
        return f"{job} ended as {known.state} {known.exit_code} on {known.node or 'no node'}: {why}"

    def _end(self, job: str, ended: bool) -> None:
        """Have the job gone before its folder goes."""
        until = time.monotonic() + 30
        while time.monotonic() < until:
            if not ended:
                subprocess.run(["scancel", job], capture_output=True, timeout=30, check=False)
            if (known := _ask(job)) is not None and not known.live:
                return
            time.sleep(0.3)


def _ask(job: str) -> Job | None:
    try:
        return Word(max_age=0.0).job(job)
    except Unreachable:
        return None
