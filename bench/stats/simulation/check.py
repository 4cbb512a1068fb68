"""The whole check: every interval, test and verdict of `bench.stats` against synthetic studies, from one seed."""

import functools
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from bench.stats.simulation import coverage, plans, tables, verdicts
from bench.stats.simulation.findings import Finding
from bench.stats.simulation.synthetic import Setting

Experiment = Callable[[np.random.Generator, int], list[Finding]]


@dataclass(frozen=True)
class Task:
    """One experiment in one setting.

    Attributes:
        name: unique; with the check's seed it keys the stream of random numbers, so that no task's result depends on
            which others are run, or on which process runs it.
        run: draws the studies and counts.
    """

    name: str
    run: Experiment

    def __call__(self, studies: int, seed: int) -> list[Finding]:
        """Simulate so many studies."""
        # Small matrices: several threads would wait for one another, and for whatever else the machine does.
        with threadpool_limits(1):
            return self.run(np.random.default_rng([seed, zlib.crc32(self.name.encode())]), studies)


def tasks() -> list[Task]:
    """All of them, the order of the report's."""
    return [
        *(_task(coverage.same_images, seeds=n) for n in coverage.SEEDS),
        *(_task(coverage.other_images, seeds=n, images=1340) for n in coverage.SEEDS),
        *(
            _task(coverage.one_accuracy, images=e, accuracy=a)
            for e in (1340, 10_000)
            for a in (0.02, 0.13, 0.3)
        ),
        *(_task(coverage.components, seeds=5, probes=p) for p in (1, 2)),
        *(_task(verdicts.marking, rows=r, seeds=n) for r, n in ((2, 3), (9, 3), (9, 5), (9, 10))),
        *(_task(verdicts.baseline, setting=Setting(0.01, n, 1340)) for n in (2, 3, 5)),
        *(_task(verdicts.at_the_margin, setting=Setting(0.005, n, 10_000)) for n in (2, 3, 5)),
        *(_task(tables.tables, seeds=n, images=e) for n in (3, 5) for e in (1340, 10_000)),
        *(
            _task(plans.plans, setting=Setting(sd, 3, images), difference=d)
            for sd, images, d in ((0.01, 10_000, 0.02), (0.02, 1340, 0.04), (0.01, 1340, 0.02))
        ),
    ]


def run(
    studies: int, seed: int, jobs: int = 1, tell: Callable[[Task], None] = lambda _: None
) -> list[Finding]:
    """What every task finds, in their order.

    Args:
        studies: simulated in each task.
        seed: of all random numbers.
        jobs: processes; they change how long it takes and nothing else.
        tell: is called with each task that is done.
    """
    todo = tasks()
    found: dict[str, list[Finding]] = {}
    if jobs == 1:
        for task in todo:
            found[task.name] = task(studies, seed)
            tell(task)
    else:
        with ProcessPoolExecutor(jobs) as pool:
            # Most of the work stands last: begun in order it would leave processes idle at the end.
            begun = {pool.submit(task, studies, seed): task for task in reversed(todo)}
            for done in as_completed(begun):
                found[begun[done].name] = done.result()
                tell(begun[done])
    return [finding for task in todo for finding in found[task.name]]


def _task(experiment: Callable[..., list[Finding]], **arguments) -> Task:
    words = ", ".join(f"{key}={value}" for key, value in arguments.items())
    return Task(f"{experiment.__name__}({words})", functools.partial(experiment, **arguments))
