"""What a whole plan will take: what is not known is measured on miniatures; then time, devices, money. No torch."""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from bench.estimate import DeviceKind, Estimator, make_estimator
from bench.evaluations.registry import EVALUATIONS
from bench.launch.device import num_cores, processor_name
from bench.launch.workers.queue import Queue, Task
from bench.launch.workers.share import Jobs, Machine, num_workers, threads_each
from bench.micro.asking import Answer, ask
from bench.micro.kept import Place, keep, kept, place
from bench.micro.left import leaving
from bench.plan import Cell, Group, Plan
from bench.probe_speed import ProbeSpeed, choose_probe
from bench.records import Run
from bench.speed import changing_bits, choose, without_c

# Until a process has imported what cells need, where that was not measured.
START_SECONDS = 5.0
# Nodes of a driver that answer without torch whether there is a GPU: NVIDIA's and AMD's.
GPUS = (Path("/dev/nvidiactl"), Path("/dev/kfd"))


@dataclass(frozen=True)
class Way:
    """How the cells would be computed.

    Attributes:
        device: "auto", "cpu" or "cuda".
        threads: of a cell, as typed.
        speed: as wished.
        precision: as wished.
        weights: evaluation -> path of its file of weights.
        jobs: how many processes share the cells; None is one.
    """

    device: str = "auto"
    threads: int | None = None
    speed: str = "auto"
    precision: str = "auto"
    weights: Mapping[str, str] | None = None
    jobs: Jobs | None = None

    @property
    def threads_each(self) -> int | None:
        """Of a cell; None is torch's choice."""
        return self.threads if self.jobs is None else threads_each(self.jobs, self.threads)

    def place(self, kind: DeviceKind) -> Place:
        """Where and how its measurements are taken."""
        return place(kind, self.threads_each, self.speed, self.precision)


def device_kind_here(name: str) -> DeviceKind:
    """Whether this machine would take a GPU, as far as that is known without torch."""
    return "gpu" if name == "cuda" or (name == "auto" and any(node.exists() for node in GPUS)) else "cpu"


def _device(kind: DeviceKind) -> str:
    return "cuda" if kind == "gpu" else "cpu"


def _probe_speed(way: Way, kind: DeviceKind) -> ProbeSpeed:
    return choose_probe(_device(kind), way.speed, way.precision)


def computed_alike(way: Way, kind: DeviceKind) -> Callable[[Run], bool]:
    """Whether a finished run was computed as cells will be here: same switches and threads, and processor."""
    pretrain = choose(_device(kind), way.speed, way.precision)
    probe = _probe_speed(way, kind)
    threads, name = way.threads_each, processor_name()

    def alike(run: Run) -> bool:
        told = run.provenance
        if threads is not None and told.get("threads") != threads:
            return False
        if kind == "cpu" and told.get("device") != name:
            return False
        if run.config["kind"] == "evaluate":
            return True
        wished = pretrain if run.config["kind"] == "pretrain" else probe
        # Without a compiler those in C are off, whatever was wished.
        wishes = [changing_bits(one.as_json()) for one in (wished, without_c(wished))]
        return changing_bits(told.get("speed") or {}) in wishes

    return alike


@dataclass(frozen=True)
class Measured:
    """What was done about cells of which nothing was known.

    Attributes:
        wanted: kinds of cells to measure.
        now: of them, those that were.
        answer: what the miniatures told; None where none were run.
    """

    wanted: int = 0
    now: int = 0
    answer: Answer | None = None


def estimator_here(
    results: Path, plan: Plan, todo: list[Cell], way: Way, known: Iterable[Run], kind: DeviceKind
) -> Estimator:
    """One that has looked for finished cells that were computed as these will be."""
    alike = computed_alike(way, kind)
    estimator = make_estimator(results, todo, kind, located=plan.located, known=known, alike=alike)
    ids = {cell.id for cell in todo if cell.kind == "probe"}
    groups = sum(any(cell.id in ids for cell in group.dependents) for group in plan.groups)
    if way.jobs is None or _workers(way, kind, len(todo)) <= groups:
        # Of fewer pretrainings than processes one has its probes in several, which have no features in common.
        estimator.before = leaving(todo, _probe_speed(way, kind))
    return estimator


def _gpus(kind: DeviceKind) -> int:
    return len(list(Path("/dev").glob("nvidia[0-9]*"))) or 1 if kind == "gpu" else 0


def _workers(way: Way, kind: DeviceKind, cells: int) -> int:
    """Processes that share so many cells."""
    if way.jobs is None:
        return 1
    gpus = _gpus(kind)
    machine = Machine(
        gpus=tuple(map(str, range(gpus))), cores=num_cores(), memory=psutil.virtual_memory().available
    )
    return min(num_workers(way.jobs, machine) if gpus or way.jobs.per_gpu is None else 1, cells)


def recall(estimator: Estimator, todo: list[Cell], where: Place, *, anywhere: bool = False) -> None:
    """Have an estimator know what was measured before; see `bench.micro.kept.kept`."""
    keys = {estimator.signature_key(cell) for cell in todo}
    estimator.measured |= kept(where, keys, anywhere=anywhere)
    estimator.calibrate(todo)


def measure(
    estimator: Estimator,
    todo: list[Cell],
    way: Way,
    seconds: float,
    say: Callable[[str], None],
    asking: Callable[..., Answer] | None = None,
) -> Measured:
    """Have an estimator know what miniatures tell: those of earlier runs, and new ones of what nothing else tells.

    Args:
        estimator: knows of finished cells.
        todo: the cells that will be run.
        way: how.
        seconds: for the new ones.
        say: told before they begin.
        asking: runs them; None is `bench.micro.asking.ask`.
    """
    where = way.place(estimator.kind)
    recall(estimator, todo, where)
    rows = _wanted(estimator, todo)
    if not rows:
        return Measured()
    say(f"measuring {len(rows)} kinds of cells for {seconds:.0f} s (--no-measure leaves that out)")
    options = {"threads": way.threads_each, "speed": way.speed, "precision": way.precision}
    request = {
        "device": way.device,
        "options": {**options, "weights": dict(way.weights or {})},
        "cells": rows,
    }
    answer = (asking or ask)(request, seconds, threads=way.threads_each)
    for key, measurement in answer.measured.items():
        keep(where, key, measurement)
    estimator.measured |= answer.measured
    estimator.fresh |= answer.measured.keys()
    estimator.calibrate(todo)
    return Measured(len(rows), len(answer.measured), answer)


def _wanted(estimator: Estimator, todo: list[Cell]) -> list[dict[str, Any]]:
    """A `bench.micro.miniatures.Wanted` for each signature of which nothing is known, the costliest first."""
    rows: dict[str, dict[str, Any]] = {}
    for cell in todo:
        row = EVALUATIONS.get(cell.config.get("evaluation", ""))
        if estimator.finished(cell) or (row is not None and row.weights):
            # Somebody else's network is not run for seconds only.
            continue
        key = estimator.signature_key(cell)
        if key in estimator.measured:
            continue
        images = estimator.images(cell)
        train = images.train if cell.kind == "pretrain" else images.pool
        new = {"key": key, "config": cell.config, "train": train, "test": images.test}
        rows.setdefault(key, {**new, "classes": images.classes, "share": 0.0})
        rows[key]["share"] += replace(estimator.predict(cell), memory=None).seconds
    return sorted(rows.values(), key=lambda row: -row["share"])


def makespan(plan: Plan, todo: Iterable[Cell], seconds: Callable[[Cell], float], workers: int) -> float:
    """Seconds until workers that do not slow one another have computed all, in the order of `SharedRunner`.

    It expects what these seconds are: where it knows less than was measured here, it may hand out in another order.
    """
    ids = {cell.id for cell in todo}
    queue = Queue(lambda cell: seconds(cell) if cell.id in ids else 0.0)

    def follow(group: Any) -> None:
        for cell in group.dependents:
            if cell.id in ids:
                queue.add(Task(group, cell))

    for group in plan.groups:
        if group.pretrain.id in ids:
            queue.add(Task(group, group.pretrain))
        else:
            follow(group)
    now, number = 0.0, 0
    # What the last cell of each worker that has none was of.
    idle: list[Group | None] = [None] * workers
    running: list[tuple[float, int, Task]] = []
    while len(queue) or running:
        while idle and (task := queue.next(idle[-1])) is not None:
            idle.pop()
            heapq.heappush(running, (now + seconds(task.cell), number, task))
            number += 1
        now, _, done = heapq.heappop(running)
        idle.append(done.group)
        if done.first:
            follow(done.group)
    return now


@dataclass(frozen=True)
class Whole:
    """A plan's totals.

    Attributes:
        work: seconds of all cells, one after another.
        wall: seconds from the start of the command to its end.
        workers: that share the cells.
        devices: that are held all the while.
        memory: bytes at the peak of the cell that takes most; None where none is known.
    """

    work: float
    wall: float
    workers: int
    devices: int
    memory: int | None

    @property
    def device_hours(self) -> float:
        """Hours, times devices."""
        return self.wall * self.devices / 3600


def whole(plan: Plan, todo: list[Cell], way: Way, estimator: Estimator) -> Whole:
    """The totals of cells that are computed here."""
    predictions = {cell.id: estimator.predict(cell) for cell in todo}
    work = sum(one.seconds for one in predictions.values())
    memory = max((one.memory for one in predictions.values() if one.memory), default=None)
    if not todo:
        return Whole(0.0, 0.0, 1, 1, None)
    workers = _workers(way, estimator.kind, len(todo))
    starts = [one.start for one in estimator.measured.values() if one.start]
    start = max(starts, default=START_SECONDS)
    wall = start + makespan(plan, todo, lambda cell: predictions[cell.id].seconds, workers)
    return Whole(work, wall, workers, min(workers, _gpus(estimator.kind)) or 1, memory)
