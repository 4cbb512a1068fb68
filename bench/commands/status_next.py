"""What `bench status` says is to be typed next."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.asked import Asked
from bench.commands.memory_options import MEMORIES
from bench.evaluations import registry as evaluations
from bench.plan import Selection
from bench.status import UNDER_WAY, Survey
from models import registry as methods


def next_line(survey: Survey, selection: Sequence[str]) -> str:
    """What to type next.

    Args:
        survey: the cells.
        selection: words of the command line that select them.
    """
    place = [] if survey.results == Path("results") else ["--results", str(survey.results)]
    if survey.unread:
        # Whatever is begun anew may be in a job already.
        return shlex.join(["bench", "status", *selection, *place])
    if survey.of("failed", "lost", "skipped", "stopped"):
        return shlex.join(["bench", "retry", *selection, *place])
    if survey.of(*UNDER_WAY):
        return shlex.join(["bench", "status", *selection, "--watch", *place])
    if not survey.cells:
        return shlex.join(["bench", "run", *place])
    new = [one.asked for one in survey.of("new") if one.asked is not None]
    if new:
        verb = "probe" if list(new[-1].selection.get("methods", ())) == [methods.GIVEN.name] else "run"
        jobs = _job_words(survey)
        return shlex.join(["bench", verb, *run_words(new[-1], here=not jobs), *jobs, *place])
    return shlex.join(["bench", "report", *place])


def _job_words(survey: Survey) -> list[str]:
    """The flags by which the newest submission went to SLURM; none where there was none.

    `bench retry` would run a cell that was never in a job in this process, perhaps on a login node.
    """
    if not survey.dispatches:
        return []
    newest = survey.dispatches[-1]
    path, threads = newest.profile.get("path"), newest.threads
    words = ["--slurm", *(["--profile", str(path)] if path else [])]
    return [*words, *(["--threads", str(threads)] if threads else [])]


def run_words(one: Asked, here: bool = True) -> list[str]:
    """The flags of `bench run` by which a cell was asked for.

    Args:
        one: the cell.
        here: with those that are of the machine on which they were typed.
    """
    words = [*(one.flags or _selection_words(one.selection)), *(["--data", one.root] if one.root else [])]
    words += ["--skip-corrupt"] if one.skip_corrupt else []
    for name, value in one.how.items():
        if name in ("device", "threads", *MEMORIES) and not here:
            continue
        text = f"{value >> 20}M" if name in MEMORIES else str(value)
        words += [f"--{name.replace('_', '-')}", text]
    return words


def _selection_words(asked: Mapping[str, Any]) -> list[str]:
    default = Selection((), ())
    seeds = list(asked["seeds"])
    count = seeds == list(range(len(seeds)))
    everything = list(asked["methods"]) == list(methods.METHODS)
    words = ["-m", "all" if everything else ",".join(asked["methods"]), "-d", ",".join(asked["datasets"])]
    if given := asked.get("given"):
        # `bench probe` has no methods to choose from.
        own = list(asked["methods"]) == [methods.GIVEN.name]
        words = (
            ["--backbone-from", given["typed"], *words[2:]] if own else [*words, "--weights", given["typed"]]
        )
    words += [
        "-s",
        str(len(seeds)) if count else ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else ""),
    ]
    if tuple(asked["probes"]) != default.probes:
        words += ["--probes", ",".join(asked["probes"])]
    # What was asked for before there were evaluations had none.
    mine, weights = tuple(asked.get("evaluations") or ()), asked.get("weights") or {}
    if mine != evaluations.choose((), weights):
        words += ["--evaluate", ",".join(mine) or evaluations.NONE]
    for name, file in weights.items():
        if name == "backbone":
            continue
        words += [f"--{name}-weights", file["path"], f"--{name}-weights-sha256", file["sha256"]]
    for name in ("pretrain_on", "probe_seeds", "backbone", "preset", "protocol"):
        if asked[name] != getattr(default, name):
            words += [f"--{name.replace('_', '-')}", str(asked[name])]
    # What was asked for before there was this wish had not made it.
    words += ["--drop-leaks"] if asked.get("drop_leaks") else []
    for key, value in asked["settings"].items():
        words += ["--set", f"{key}={value}"]
    return words
