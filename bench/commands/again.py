"""Cells once more, each by the way it was run before. `bench retry` chooses them."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.commands.computing import compute
from bench.commands.devices import Devices
from bench.commands.order import Order
from bench.commands.words import Voice
from bench.errors import BenchError, Interrupted, RecordError, UsageError
from bench.files import read_json
from bench.launch.slurm.profile import Profile, from_facts, load_profile
from bench.launch.workers.share import Jobs
from bench.plan import Cell, Group, Plan, pretraining
from bench.status import Standing


@dataclass(frozen=True)
class Overrides:
    """What was typed, which wins over how a cell was run before.

    Attributes:
        executor: "local" or "slurm"; None is as before.
        profile: name or file; None is as before.
        root: folder of the data sets; None is as before.
        steal: take cells whose owner cannot be known.
        exclude: nodes that get none of the jobs.
        jobs: processes that share the cells that run here; None is this one alone.
        device: "auto", "cpu" or "cuda"; None is as before.
    """

    executor: str | None = None
    profile: str | None = None
    root: Path | None = None
    steal: bool = False
    exclude: tuple[str, ...] = ()
    jobs: Jobs | None = None
    device: str | None = None


@dataclass(frozen=True)
class Way:
    """How a cell was run.

    Attributes:
        slurm: as a job.
        profile: JSON of the profile's facts; "" for the default one.
        root: folder of the data sets.
        skip_corrupt: leave out images that cannot be decoded.
        device: "auto", "cpu" or "cuda".
        threads: of a cell, as typed.
        checkpoint_every: steps.
        weights: evaluations and the paths of the files of weights that they need.
        speed: "auto" or "plain".
        precision: "auto", "fp32" or "bf16".
        devices: of each node, on which a pretraining is computed.
        nodes: likewise.
        data_bytes: of a device's memory that images may take.
        feature_bytes: of memory that features may take.
    """

    slurm: bool
    profile: str
    root: str | None
    skip_corrupt: bool
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: int | None = None
    weights: tuple[tuple[str, str], ...] = ()
    speed: str = "auto"
    precision: str = "auto"
    devices: int = 1
    nodes: int = 1
    data_bytes: int | None = None
    feature_bytes: int | None = None


def _way(standing: Standing, overrides: Overrides) -> Way:
    asked, handed = standing.asked, standing.handed
    root = asked.root if asked is not None else None
    if overrides.root is not None:
        root = str(overrides.root.absolute())
    skip = asked.skip_corrupt if asked is not None else False
    given = asked.selection.get("weights", {}) if asked is not None else {}
    weights = tuple((name, str(file["path"])) for name, file in given.items())
    if handed is None or overrides.executor == "local":
        how = asked.how if asked is not None else {}
        # What fits a node of a cluster says nothing of this machine, nor this machine of a node.
        here = how if handed is None and overrides.executor != "slurm" else {}
        return Way(
            overrides.executor == "slurm",
            "",
            root,
            skip,
            overrides.device or here.get("device", "auto"),
            here.get("threads"),
            how.get("checkpoint_every"),
            weights,
            how.get("speed", "auto"),
            how.get("precision", "auto"),
            # On any number of devices a cell is the same, unless it says on how many it is not.
            pretraining(standing.cell.config)["train"].get("batch_norm_devices", 1),
            data_bytes=here.get("data_memory"),
            feature_bytes=here.get("feature_memory"),
        )
    dispatch = handed.dispatch
    try:
        pack = read_json(dispatch.pack_path(handed.pack))
    except (FileNotFoundError, RecordError):
        # Cleaned away: how exactly it was run is not known any more.
        pack = {}
    facts = json.dumps(dispatch.profile, sort_keys=True) if overrides.profile is None else ""
    return Way(
        True,
        facts,
        root,
        skip,
        overrides.device or str(pack.get("device") or "auto"),
        dispatch.threads,
        pack.get("checkpoint_every_steps"),
        weights,
        str(pack.get("speed") or "auto"),
        str(pack.get("precision") or "auto"),
        int(pack.get("devices") or 1),
        int(pack.get("nodes") or 1),
    )


def plans(chosen: Iterable[Standing], known: Mapping[str, Standing], overrides: Overrides) -> dict[Way, Plan]:
    """The cells to run, by the way in which they are run.

    A probe or an evaluation brings along its pretraining, which is computed unless it is done or under way; it goes
    the way of that pretraining.

    Args:
        chosen: the cells.
        known: all cells by id.
        overrides: what was typed.

    Raises:
        UsageError: the pretraining of a cell is not known any more.
    """
    groups: dict[str, tuple[Standing, dict[str, Cell]]] = {}
    for standing in chosen:
        config = standing.cell.config
        first = config.get("pretrain_id", standing.id)
        if first not in groups:
            groups[first] = known.get(first) or _unknown(standing), {}
        if first != standing.id:
            groups[first][1][standing.id] = standing.cell
    found: dict[Way, list[Group]] = {}
    wanted = {standing.id: standing for standing in chosen}
    for first, (pretrain, dependents) in groups.items():
        done = pretrain.state == "done" and first not in wanted
        leader = known[next(iter(dependents))] if done and dependents else pretrain
        group = Group(pretrain.cell, tuple(dependents.values()))
        found.setdefault(_way(leader, overrides), []).append(group)
    return {way: Plan(tuple(groups)) for way, groups in found.items()}


def _unknown(one: Standing) -> Standing:
    pretrain = one.cell.config["pretrain_id"]
    raise UsageError(
        f"{one.cell.label}: nothing is known of its pretraining {pretrain}: ask for it with `bench run`"
    )


def _profile(way: Way, overrides: Overrides) -> Profile:
    if overrides.profile is not None or not way.profile:
        return load_profile(overrides.profile)
    return from_facts(json.loads(way.profile))


class _Collected(Voice):
    """Keeps the JSON objects of several runs, to print them as one."""

    def __init__(self, as_json: bool) -> None:
        super().__init__(as_json)
        self.objects: list[Mapping[str, Any]] = []

    def object(self, value: Mapping[str, Any]) -> None:
        """Keep it."""
        self.objects.append(value)


def run_again(results: Path, ways: Mapping[Way, Plan], overrides: Overrides, say: Voice) -> int:
    """Run plans each by its way, jobs first; gives the exit code.

    Raises:
        UsageError: nodes are left out and no cell is run by SLURM, processes are to share and no cell is one
            process's here, or a way cannot be gone.
    """
    for flag, value in (("--exclude-node", overrides.exclude), ("--profile", overrides.profile)):
        if value and not any(way.slurm for way in ways):
            raise UsageError(
                f"{flag} is for jobs, and these cells run here: --executor slurm sends them to SLURM"
            )
    if overrides.jobs is not None and all(way.slurm or way.devices > 1 for way in ways):
        flag = "-j" if overrides.jobs.per_gpu is None else "--jobs-per-gpu"
        if all(way.slurm for way in ways):
            raise UsageError(
                f"{flag} is for cells that run here, and these run as jobs: --executor local has them run here"
            )
        raise UsageError(
            f"{flag} has processes here train a cell each, and these are trained by several together, or as jobs:"
            " leave it out"
        )
    profiles = {way: _profile(way, overrides) for way in ways if way.slurm}
    voice, codes = _Collected(say.as_json), [0]
    for way, plan in sorted(ways.items(), key=lambda item: not item[0].slurm):
        # Several devices are a team of processes already.
        shared = None if way.slurm or way.devices > 1 else overrides.jobs
        # Processes for each GPU are not for the processor, whatever was typed then.
        gpus = shared is not None and shared.per_gpu is not None
        order = Order(
            plan,
            results,
            None if way.root is None else Path(way.root),
            way.skip_corrupt,
            "auto" if gpus and way.device == "cpu" else way.device,
            # A number for one process is none for each of several.
            None if shared else way.threads,
            way.checkpoint_every,
            retry_failed=True,
            steal=overrides.steal,
            exclude=overrides.exclude,
            weights=dict(way.weights),
            speed=way.speed,
            precision=way.precision,
            jobs=shared,
            data_bytes=way.data_bytes,
            feature_bytes=way.feature_bytes,
            devices=Devices(way.devices, way.nodes),
        )
        try:
            codes.append(_run(order, profiles.get(way), voice))
        except BenchError as error:
            if len(ways) == 1:
                raise
            say(f"error: {error}")
            codes.append(error.exit_code)
        if codes[-1] == Interrupted.exit_code:
            # A signal is for all of them: the next line goes on from here.
            break
    say.object({"runs": voice.objects, "exit_code": max(codes)})
    return max(codes)


def _run(order: Order, profile: Profile | None, say: Voice) -> int:
    if profile is None:
        return compute(order, say)
    from bench.commands.dispatching import dispatch

    return dispatch(order, profile, say)
