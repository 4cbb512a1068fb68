"""What a profile may ask of submitit: its own parameter names, their types, and what would break requeueing."""

import difflib
import functools
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bench.errors import UsageError

# A generic name of submitit's -> its name among those of SLURM, where the two say the same.
_SAME = {
    "slurm_job_name": "name",
    "slurm_time": "timeout_min",
    "slurm_ntasks_per_node": "tasks_per_node",
}
# Names that are set here and nowhere else -> why.
_OURS = {
    "name": "jobs are named so that a submission is found again by its name",
    "slurm_dependency": "a job waits for the pretrainings that it needs",
    "slurm_python": "jobs run the copy of the source made at submission",
    "slurm_map_count": "the packs of a class are one array",
}
# Options of sbatch that a profile's slurm_additional_parameters must leave alone -> why.
_NOT_ADDITIONAL = {
    "requeue": "requeueing is always on",
    "no-requeue": "a job that is preempted or runs out of time would be lost instead of going on",
    "signal": "slurm_signal_delay_s sets it; another signal would not be understood as a warning",
    "open-mode": "the log of a requeued job is appended to",
    "array": _OURS["slurm_map_count"],
    "dependency": _OURS["slurm_dependency"],
    "kill-on-invalid-dep": "a job whose pretraining failed must leave the queue",
    "job-name": _OURS["name"],
    "output": "`bench logs` looks for it where submitit puts it",
    "error": "`bench logs` looks for it where submitit puts it",
    "time": "write timeout_min",
    "nodes": "write nodes",
    "ntasks": "write nodes and tasks_per_node",
    "wait": "nothing stays behind to wait",
    "wrap": "submitit writes the script",
    "parsable": "submitit reads what sbatch prints",
    "test-only": "--dry-run asks that",
    "export": "[bench] environment sets variables; without the others a job may not find its programs",
}
_KINDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def nearest(name: str, allowed: Iterable[str]) -> str:
    """A question after the nearest allowed name, for an error; "" where none is near."""
    near = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}? " if near else ""


@functools.cache
def types_of_parameters() -> dict[str, Any]:
    """Every parameter of submitit's AutoExecutor that means something on SLURM, and its type."""
    from submitit import AutoExecutor, SlurmExecutor
    from submitit.slurm import slurm

    generic = dict(AutoExecutor._typed_parameters())
    hints = typing.get_type_hints(slurm._make_sbatch_string)
    own = {f"slurm_{name}": hints[name] for name in sorted(SlurmExecutor._valid_parameters())}
    renamed = {f"slurm_{name}": kind for name, kind in generic.items()}
    return {**generic, **own, **renamed, "slurm_max_num_timeout": int}


def _fits(value: Any, hint: Any) -> bool:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint) if part is not type(None))
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if origin is dict:
        return isinstance(value, dict)
    if origin is not None:
        return isinstance(value, list) and all(isinstance(part, str) for part in value)
    return hint is Any or isinstance(value, hint)


def _wanted(hint: Any) -> str:
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        parts = [_wanted(part) for part in typing.get_args(hint) if part is not type(None)]
        return " or ".join(dict.fromkeys(parts))
    if origin is dict:
        return "a table"
    return _KINDS.get(hint, "a list of texts" if origin is not None else "such a value")


def check(name: str, value: Any, where: str) -> tuple[str, Any]:
    """A parameter of a profile, checked by itself; where submitit has two names for one thing, the generic one.

    Args:
        name: as the profile writes it.
        value: as TOML reads it.
        where: file and table, for the error.

    Raises:
        UsageError: unknown, of another type, set by us, or one that breaks requeueing; the line says why.
    """
    known = types_of_parameters()
    bare = name.removeprefix("slurm_")
    if name not in known and name not in _OURS:
        near = nearest(name, known) or nearest(f"slurm_{name}", known)
        raise UsageError(f"{where}: unknown parameter {name!r}: {near}submitit's own names are allowed")
    generic = _SAME.get(name) or (bare if bare in known else name)
    if generic in _OURS:
        raise UsageError(f"{where}: {name} is set by bench: {_OURS[generic]}")
    if not _fits(value, known[name]):
        raise UsageError(f"{where}: {name} = {value!r}: it must be {_wanted(known[name])}")
    if generic == "slurm_additional_parameters":
        _check_additional(value, where)
    elif isinstance(value, int | float) and not isinstance(value, bool) and value < 0:
        raise UsageError(f"{where}: {name} = {value!r}: it must not be negative")
    if generic in ("timeout_min", "nodes", "tasks_per_node", "cpus_per_task", "slurm_array_parallelism"):
        if value < 1:
            raise UsageError(f"{where}: {name} = {value!r}: it must be at least 1")
    elif generic == "slurm_use_srun" and not value:
        raise UsageError(
            f"{where}: slurm_use_srun = false breaks requeueing: without srun the warning before a preemption"
            " or a timeout reaches the shell and not the job, which is then killed unsaved"
        )
    elif generic == "slurm_num_gpus":
        raise UsageError(f"{where}: slurm_num_gpus is submitit's old name: write gpus_per_node")
    return generic, value


def _check_additional(value: Mapping[str, Any], where: str) -> None:
    for name, content in value.items():
        option = name.replace("_", "-")
        if option in _NOT_ADDITIONAL:
            raise UsageError(
                f"{where}: slurm_additional_parameters: {name} is not for a profile: {_NOT_ADDITIONAL[option]}"
            )
        if not isinstance(content, str | int | float):
            raise UsageError(
                f"{where}: slurm_additional_parameters: {name} = {content!r}: write a text or a number"
            )


def check_class(table: Mapping[str, Any], kind: str, where: Callable[..., str]) -> None:
    """What the parameters of one class of resources must be to one another.

    Args:
        table: its parameters, defaults and [all] included.
        kind: "pretrain", "probe" or "doctor".
        where: gives file and table of the keys that are wrong, for the error.

    Raises:
        UsageError: they contradict one another, or a cell would be run by several tasks at once.
    """
    minutes, delay = table["timeout_min"], table["slurm_signal_delay_s"]
    if minutes * 60 <= delay:
        raise UsageError(
            f"{where('slurm_signal_delay_s', 'timeout_min')}: slurm_signal_delay_s = {delay} is not less than"
            f" timeout_min = {minutes} ({minutes * 60} s): a job would be asked to save as soon as it starts"
        )
    if kind == "probe":
        for name in ("nodes", "tasks_per_node"):
            if table[name] > 1:
                raise UsageError(
                    f"{where(name)}: {name} = {table[name]}: a probe is one process, and each task would be another;"
                    " [pretrain] may have a task a device"
                )
    if "slurm_cpus_per_gpu" in table and "slurm_gpus_per_task" not in table:
        raise UsageError(
            f"{where('slurm_cpus_per_gpu')}: slurm_cpus_per_gpu needs slurm_gpus_per_task instead of gpus_per_node;"
            " or write cpus_per_task"
        )
