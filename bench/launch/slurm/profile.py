"""A profile: what a cluster wants to be told, a TOML file of submitit's own parameter names.

    [bench]                 # how cells become jobs
    pack_minutes = 30       # short cells are packed into jobs of about so long; 0: one pretraining a job
    setup = ["module load cuda"]
    [all]                   # every class of resources
    slurm_partition = "gpu"
    timeout_min = 240
    [pretrain]              # this class alone; the others are [probe] and [doctor]
    gpus_per_node = 1

A profile may be empty.
"""

import os
import re
import shlex
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import bench
from bench.errors import UsageError, choice_error
from bench.launch.slurm import parameters
from bench.selection import parse_duration

CLASSES = ("pretrain", "probe", "doctor")
DEFAULT = "default"
# What a class gets where neither the profile nor the site says anything.
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {
        "timeout_min": 240,
        "nodes": 1,
        "tasks_per_node": 1,
        "cpus_per_task": 4,
        # A preemption of a young job counts as a timeout: too few of them would end a job for good.
        "slurm_max_num_timeout": 10_000,
        # submitit's own would let no more than 256 tasks of an array run at once.
        "slurm_array_parallelism": 10_000,
        # The time to save, and a minute.
        "slurm_signal_delay_s": 120,
    }
)
_DOCTOR: Mapping[str, Any] = MappingProxyType({"timeout_min": 10, "cpus_per_task": 1})


@dataclass(frozen=True)
class Options:
    """The table [bench] of a profile.

    Attributes:
        pack_minutes: predicted length of a job into which short cells are packed; 0 packs none.
        split_probes: probes and evaluations in jobs of their own, which wait for the pretraining's.
        setup: lines of shell before the cells start.
        environment: variables of the jobs.
        max_queued: at most so many jobs of ours in the queue at once; 0 leaves it to the site.
        max_restarts: how often a job may be requeued; None is for ever.
        submit_wait: how long to try again where the site refuses more jobs or does not answer.
    """

    pack_minutes: float = 30.0
    split_probes: bool = False
    setup: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    max_queued: int = 0
    max_restarts: int | None = None
    submit_wait: str = "10m"

    @property
    def submit_wait_s(self) -> float:
        """Seconds of `submit_wait`."""
        return 0.0 if self.submit_wait in ("0", "0s") else parse_duration(self.submit_wait)


@dataclass(frozen=True)
class Profile:
    """A profile, checked.

    Attributes:
        name: as it was asked for; "" for none.
        path: of its file; None for none.
        tables: what the file holds, as it is kept in dispatch.json.
        options: its table [bench].
        classes: class of resources -> submitit's parameters, defaults and [all] included.
    """

    name: str
    path: Path | None
    tables: Mapping[str, Any]
    options: Options
    classes: Mapping[str, Mapping[str, Any]]

    def threads(self, kind: str) -> int:
        """Threads of a cell of a class: the processors that its job gets."""
        return int(self.classes[kind]["cpus_per_task"])

    @property
    def setup(self) -> list[str]:
        """Lines of shell for every job: variables, then what the profile says."""
        values = self.options.environment.items()
        return [f"export {name}={shlex.quote(value)}" for name, value in values] + list(self.options.setup)

    def facts(self) -> dict[str, Any]:
        """As JSON; `from_facts` reads it."""
        path = None if self.path is None else str(self.path)
        return {"name": self.name, "path": path, "tables": dict(self.tables)}

    def __str__(self) -> str:
        return f"profile {self.path}" if self.path else "no profile: bench's defaults"


def from_facts(facts: Mapping[str, Any]) -> Profile:
    """The profile of an earlier dispatch, even if its file has changed or gone since.

    Raises:
        UsageError: it is none.
    """
    path = facts.get("path")
    return _checked(
        str(facts.get("name", "")), None if path is None else Path(path), facts.get("tables") or {}
    )


def load_profile(name: str | None) -> Profile:
    """Find, read and check a profile.

    Args:
        name: of a profile or its file; None takes the profile "default" where there is one.

    Raises:
        UsageError: there is no such file, or something in it is not as it must be; one line that names the file.
    """
    if name is None:
        path = _find(DEFAULT)
        return _checked("", None, {}) if path is None else _read(DEFAULT, path)
    given = Path(os.path.expanduser(name))  # noqa: PTH111
    if name.endswith(".toml") or name.startswith((".", "/", "~")):
        return _read(name, given)
    path = _find(name)
    if path is None:
        where = ", ".join(str(folder) for folder in _folders())
        known = known_profiles()
        if not known:
            raise UsageError(f"no profile {name!r}: looked for {name}.toml in {where}")
        raise UsageError(f"{choice_error('profile', name, known)}; looked for {name}.toml in {where}")
    return _read(name, path)


def _folders() -> list[Path]:
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    checkout = Path(bench.__file__).parent.parent / "slurm"
    return [checkout, Path(), config / "bench" / "profiles"]


def _find(name: str) -> Path | None:
    places = [folder / f"{name}.toml" for folder in _folders()]
    # The development cluster's lies beside the programs that start it.
    places.insert(1, _folders()[0] / name / "profile.toml")
    return next((place for place in places if place.is_file()), None)


def known_profiles() -> list[str]:
    """Names of the profiles that are found by name."""
    # Not every TOML file of the working folder is a profile.
    checkout, _, config = _folders()
    names = [path.stem for folder in (checkout, config) for path in sorted(folder.glob("*.toml"))]
    names += [path.parent.name for path in sorted(checkout.glob("*/profile.toml"))]
    return list(dict.fromkeys(names))


def _read(name: str, path: Path) -> Profile:
    try:
        tables = tomllib.loads(path.read_text())
    except FileNotFoundError:
        raise UsageError(f"profile {path} is not there") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"profile {path} is not TOML: {error}") from None
    except OSError as error:
        raise UsageError(f"profile {path} cannot be read: {error.strerror or error}") from None
    return _checked(name, path.absolute(), tables)


def _checked(name: str, path: Path | None, tables: Mapping[str, Any]) -> Profile:
    where = f"profile {path}" if path else "the profile of an earlier dispatch"
    allowed = ("bench", "all", *CLASSES)
    for table, content in tables.items():
        if table not in allowed:
            raise UsageError(f"{where}: {choice_error('table', table, allowed)}")
        if not isinstance(content, dict):
            raise UsageError(f"{where}: {table} = {content!r}: write a table, [{table}]")
    own = {
        table: dict(
            parameters.check(key, value, f"{where}: [{table}]")
            for key, value in tables.get(table, {}).items()
        )
        for table in ("all", *CLASSES)
    }
    classes = {}
    for kind in CLASSES:
        base = {**DEFAULTS, **(_DOCTOR if kind == "doctor" else {})}
        # The doctor's job is short wherever the cells' are long.
        shared = {k: v for k, v in own["all"].items() if kind != "doctor" or k not in _DOCTOR}
        merged = {**base, **shared, **own[kind]}
        if kind == "doctor":
            merged["slurm_signal_delay_s"] = min(merged["slurm_signal_delay_s"], merged["timeout_min"] * 30)
        parameters.check_class(
            merged, kind, lambda *keys, kind=kind: f"{where}: {_table_of(keys, own, kind)}"
        )
        classes[kind] = MappingProxyType(merged)
    return Profile(
        name, path, MappingProxyType(dict(tables)), _options(tables.get("bench", {}), where), classes
    )


def _table_of(keys: tuple[str, ...], own: Mapping[str, Mapping[str, Any]], kind: str) -> str:
    """Where a person finds what is wrong with a class: its own table, unless it has the keys from [all]."""
    mine = any(key in own[kind] for key in keys) or not any(key in own["all"] for key in keys)
    return f"[{kind}]" if mine else f"[all], for {kind}"


def _options(table: Mapping[str, Any], where: str) -> Options:
    where = f"{where}: [bench]"
    known = [f.name for f in fields(Options)]
    for key in table:
        if key not in known:
            raise UsageError(
                f"{where}: unknown option {key!r}: {parameters.nearest(key, known)}allowed: {', '.join(known)}"
            )
    given = dict(table)

    def number(key: str, kinds: type | tuple[type, ...], what: str) -> None:
        value: Any = given.get(key, 0)
        if isinstance(value, bool) or not isinstance(value, kinds) or not value >= 0:
            raise UsageError(f"{where}: {key} = {value!r}: it must be {what}, not negative")

    number("pack_minutes", (int, float), "a number of minutes")
    number("max_queued", int, "a whole number")
    number("max_restarts", int, "a whole number")
    if not isinstance(given.get("split_probes", False), bool):
        raise UsageError(f"{where}: split_probes = {given['split_probes']!r}: it must be true or false")
    setup = given.get("setup", [])
    if not isinstance(setup, list) or not all(isinstance(line, str) for line in setup):
        raise UsageError(f"{where}: setup = {setup!r}: it must be a list of lines")
    environment = given.get("environment", {})
    if not isinstance(environment, dict):
        raise UsageError(f"{where}: environment = {environment!r}: it must be a table of texts")
    for key, value in environment.items():
        if not re.fullmatch(r"[A-Za-z_]\w*", key) or not isinstance(value, str):
            raise UsageError(f'{where}: environment: {key} = {value!r}: write NAME = "text"')
    if any("SUBMITIT_PREEMPT_SIGNAL" in text for text in (*environment, *setup)):
        raise UsageError(
            f"{where}: SUBMITIT_PREEMPT_SIGNAL breaks requeueing: jobs wait for USR2 and would be killed unsaved"
        )
    wait = given.get("submit_wait", "10m")
    if not isinstance(wait, str):
        raise UsageError(f'{where}: submit_wait = {wait!r}: write "10m", "90s" or "0"')
    try:
        options = Options(**{**given, "setup": tuple(setup), "environment": MappingProxyType(environment)})
        _ = options.submit_wait_s
    except UsageError as error:
        raise UsageError(f"{where}: submit_wait: {error}") from None
    return options
