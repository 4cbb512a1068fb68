"""What the doctor's job found, held against the login node's side."""

from pathlib import Path
from typing import Any

from bench.doctor import Check
from bench.launch.slurm.storage import show_speed
from bench.provenance import hash_source
from bench.time_left import duration

SOON, APART = 2.0, 5.0


def folder_checks(side: str, speed: dict[str, Any], promises: dict[str, str | None]) -> list[Check]:
    """Checks of a folder as one side sees it.

    Args:
        side: "login node" or "job".
        speed: what `storage.speed` gave.
        promises: what `storage.promises` gave.
    """
    checks = [Check(f"write, {side}", True, show_speed(speed))]
    for name, problem in promises.items():
        # Where there are no hard links, files are made exclusively instead.
        need = None if name == "hard link" else False
        checks.append(Check(f"{name}, {side}", need if problem else True, problem or "works"))
    return checks


def job_checks(here: dict[str, Any], code: Path, there: dict[str, Any], apart: float) -> list[Check]:
    """Checks of what a job found.

    Args:
        here: what `trial.about_this_side` gave on the login node.
        code: the copy of the source that the job was to run.
        there: the job's facts.
        apart: the job's clock less this one's, in seconds, the way of a file in between included.
    """
    checks = [_versions(here, there), _source(code, there), _gpus(there["gpus"])]
    found = there["storage"]
    if found.get("problem"):
        checks.append(Check("write, job", False, found["problem"]))
    else:
        checks += folder_checks("job", found, found["promises"])
    checks += [_shared(there), _clock(there, apart), _signals(there), _requeue(there)]
    return checks + ([_group(there["group"])] if there.get("group") else [])


def _versions(here: dict[str, Any], there: dict[str, Any]) -> Check:
    mine, other = here["versions"], there["versions"]
    differ = [
        f"{name} {mine[name]} here, {other.get(name)} there" for name in mine if mine[name] != other.get(name)
    ]
    if differ:
        return Check("versions", False, f"{'; '.join(differ)} (there: {there['python']})")
    return Check(
        "versions", True, ", ".join(f"{k} {v}" for k, v in mine.items()) + ": the same on both sides"
    )


def _source(code: Path, there: dict[str, Any]) -> Check:
    if Path(there["from"]) != code or there["source"] != hash_source(code):
        return Check("source", False, f"the job runs {there['from']}, not the copy made for it")
    return Check("source", True, f"{there['source']}: the job runs the copy made for it")


def _gpus(found: dict[str, Any]) -> Check:
    given, names = found.get("given"), found["names"]
    if found.get("problem"):
        return Check("GPUs", False, f"torch fails on a GPU: {found['problem']}")
    if not names:
        asked = f"SLURM gave {given}, torch sees none" if given else "none asked for, torch sees none"
        return Check("GPUs", None, f"{asked}: cells would run on the processor")
    return Check("GPUs", True, f"torch sees {', '.join(names)} (CUDA {found.get('cuda')})")


def _shared(there: dict[str, Any]) -> Check:
    seconds = there["round_trip"]
    if seconds is None:
        return Check("shared folder", False, "the job does not see what the login node writes")
    text = f"a file there and one back took {duration(seconds)}"
    # Claims and checkpoints stand a slow one: nobody waits for a file of another machine.
    return Check("shared folder", True if seconds < SOON else None, text)


def _clock(there: dict[str, Any], apart: float) -> Check:
    blur = there["round_trip"] or 0.0
    text = f"apart by {abs(apart):.1f} s, give or take {blur:.1f} s"
    # No decision of ours compares two clocks; a person who reads two logs does.
    return Check("clocks", True if abs(apart) <= blur + APART else None, text)


def _signals(there: dict[str, Any]) -> Check:
    seconds = there["signal_after"]
    if seconds is None:
        text = (
            "SIGUSR2 does not reach the job: what a preempted job did since its last checkpoint is done again"
        )
        return Check("signals", None, text)
    return Check("signals", True, f"SIGUSR2 reached the job in {duration(seconds)}")


def _requeue(there: dict[str, Any]) -> Check:
    problem = there["requeue"]
    if problem:
        return Check("requeue", None, f"{problem}: after a preemption or time limit, `bench retry`")
    return Check("requeue", True, "the job may requeue itself")


def _group(found: dict[str, Any]) -> Check:
    if found["problem"]:
        return Check("group", False, found["problem"])
    text = (
        f"{found['ranks']} ranks on {found['nodes']} joined gloo and added up in {duration(found['seconds'])}"
    )
    return Check("group", True, text)
