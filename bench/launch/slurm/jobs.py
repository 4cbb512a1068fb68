"""One array of jobs as submitit submits it: its parameters, its script, the ids that SLURM gives."""

import contextlib
import io
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.launch.slurm import sbatch, start
from bench.launch.slurm.profile import Profile
from bench.scheduler import Unreachable, Word


@dataclass(frozen=True)
class Request:
    """How the cells are to be run, as it was typed.

    Attributes:
        results: the results folder.
        root: folder of the data sets.
        argv: the command line.
        skip_corrupt: leave out images that cannot be decoded.
        device: "auto", "cpu" or "cuda".
        threads: of a cell; None takes the processors of its class.
        checkpoint_every_steps: None leaves it to the clock.
        retry_failed: compute what failed earlier.
        steal: take cells whose owner cannot be known.
        exclude: nodes that get none of the jobs.
        weights: evaluation -> path of the file of weights that it needs.
        speed: "auto" or "plain", see `bench.speed.choose`.
        precision: "auto", "fp32" or "bf16".
        devices: of each node, on which a pretraining is computed; 1 leaves it to the profile.
        nodes: likewise.
    """

    results: Path
    root: Path | None
    argv: Sequence[str] = ()
    skip_corrupt: bool = False
    device: str = "auto"
    threads: int | None = None
    checkpoint_every_steps: int | None = None
    retry_failed: bool = False
    steal: bool = False
    exclude: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    speed: str = "auto"
    precision: str = "auto"
    devices: int = 1
    nodes: int = 1


@dataclass(frozen=True)
class Jobs:
    """An array to submit; a single job is an array of one.

    Attributes:
        profile: what the cluster wants to be told.
        kind: class of resources.
        request: how the cells are run.
        folder: where submitit keeps its files and the jobs write their logs.
        code: folder of the source that they run.
        name: in SLURM.
        dependency: as sbatch writes it; "" for none.
    """

    profile: Profile
    kind: str
    request: Request
    folder: Path
    code: Path
    name: str
    dependency: str = ""

    def submit(self, pack_files: Sequence[Path]) -> list[str]:
        """Submit a job for each pack.

        Returns:
            Ids of the jobs, "1200_5" or "1200", in the order of the packs.

        Raises:
            SubmitError: sbatch did not take them.
        """
        from bench.launch.slurm.job import CellsJob

        return self.submit_calls([CellsJob(str(path.absolute())) for path in pack_files])

    def submit_calls(self, calls: Sequence[Any]) -> list[str]:
        """Submit a job for each callable, which submitit pickles; see `submit`."""
        with sbatch.cleaned(parameters(self.profile, self.kind, self.request)):
            executor = self._executor()
            from submitit.core.utils import FailedJobError, FailedSubmissionError

            try:
                # submitit prints what it raises.
                with contextlib.redirect_stderr(io.StringIO()), executor.batch():
                    jobs = [executor.submit(call) for call in calls]
            except (FailedJobError, FailedSubmissionError) as error:
                raise sbatch.SubmitError(str(error)) from None
            return [job.job_id for job in jobs]

    def script(self, num_tasks: int) -> str:
        """The batch script that an array of so many tasks would have."""
        with sbatch.cleaned(parameters(self.profile, self.kind, self.request)):
            inner = self._executor()._executor
            if num_tasks > 1:
                inner.parameters["map_count"] = num_tasks
            return inner._make_submission_file_text(inner._submitit_command_str, "")

    def _executor(self) -> Any:
        # In a clean environment: submitit reads some of it when it is imported.
        from submitit import AutoExecutor

        table = self.profile.classes[self.kind]
        executor = AutoExecutor(
            self.folder,
            cluster="slurm",
            slurm_max_num_timeout=table["slurm_max_num_timeout"],
            slurm_python=start.command(sys.executable, self.code),
        )
        # The site's lines come first, so that ours find its programs.
        own = table.get("slurm_setup") or []
        setup = [*own, *self.profile.setup, *start.setup(self.code, self.request.results)]
        more = {"slurm_dependency": self.dependency} if self.dependency else {}
        asked = parameters(self.profile, self.kind, self.request)
        executor.update_parameters(**asked | more | {"name": self.name, "slurm_setup": setup})
        return executor


def parameters(profile: Profile, kind: str, request: Request) -> dict[str, Any]:
    """Submitit's parameters of a class of jobs, all but name and dependency."""
    given = dict(profile.classes[kind])
    given.pop("slurm_max_num_timeout")
    exclude = [part for part in (given.get("slurm_exclude"), *request.exclude) if part]
    if exclude:
        given["slurm_exclude"] = ",".join(exclude)
    if given.get("slurm_exclusive") is False:
        del given["slurm_exclusive"]
    if kind == "pretrain" and request.devices * request.nodes > 1:
        # A task a device.
        given |= {"nodes": request.nodes, "tasks_per_node": request.devices}
        if given.get("gpus_per_node"):
            given["gpus_per_node"] = request.devices
    more = dict(given.get("slurm_additional_parameters") or {})
    # A job that is preempted comes back; one whose pretraining failed leaves the queue.
    more |= {"requeue": True, "kill-on-invalid-dep": "yes"}
    return {**given, "slurm_additional_parameters": more}


def foretell(profile: Profile, kind: str, request: Request) -> sbatch.Forecast:
    """What SLURM says to a job of a class; nothing is submitted, nothing is written below the results."""
    code = Path(__file__).parent.parent.parent.parent
    jobs = Jobs(profile, kind, request, request.results / "slurm", code, f"bench-dry-run-{kind}")
    return sbatch.forecast(jobs.script(1), profile.classes[kind])


def cancel_orphans(name: str) -> bool:
    """Cancel an array whose id never reached us: submitit has not put its work into place.

    Returns:
        Whether SLURM could be asked.
    """
    try:
        jobs = {job.id for job in Word(max_age=0.0).by_name(name) if job.name == name and job.live}
        for job in jobs:
            subprocess.run(["scancel", job], capture_output=True, timeout=30, check=True)
    except (Unreachable, OSError, subprocess.SubprocessError):
        return False
    return True
