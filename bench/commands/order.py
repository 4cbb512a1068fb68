"""What a command line asks for: cells, and how they are computed or handed on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from bench.commands.devices import ONE, Devices
from bench.launch.workers.share import Jobs
from bench.plan import Plan


def _nothing(_: Mapping[str, Any]) -> None:
    pass


@dataclass(frozen=True)
class Order:
    """What is to be computed, and how.

    Attributes:
        plan: the cells.
        results: the results folder.
        root: folder of the data sets.
        skip_corrupt: leave out images that cannot be decoded.
        device: "auto", "cpu" or "cuda".
        threads: of a cell; None leaves it to the device or the profile.
        checkpoint_every: steps between two checkpoints; None leaves it to the clock.
        budget: seconds after which to save and stop.
        force: compute what is done again.
        retry_failed: compute what failed again.
        fail_fast: end at the first failure.
        steal: take cells whose owner cannot be known.
        exclude: nodes that get none of the jobs.
        weights: evaluation -> path of the file of weights that it needs.
        speed: "auto" or "plain", see `bench.speed.choose`.
        precision: "auto", "fp32" or "bf16".
        record: writes down what is asked for and `how`; called when the results folder is known to be usable.
        jobs: how many processes share the cells; None is this one alone.
        measure: seconds that a dry run may try cells for; 0 leaves aside what was measured before, too.
        seeds_together: see `RunOptions`.
        data_bytes: likewise.
        feature_bytes: of memory for features that are computed once; None is as usual, 0 none, in a file neither.
        devices: on how many a pretraining is computed.
    """

    plan: Plan
    results: Path
    root: Path | None = None
    skip_corrupt: bool = False
    device: str = "auto"
    threads: int | None = None
    checkpoint_every: int | None = None
    budget: float | None = None
    force: bool = False
    retry_failed: bool = False
    fail_fast: bool = False
    steal: bool = False
    exclude: tuple[str, ...] = ()
    weights: Mapping[str, str] = field(default_factory=dict)
    speed: str = "auto"
    precision: str = "auto"
    record: Callable[[Mapping[str, Any]], object] = _nothing
    jobs: Jobs | None = None
    measure: float = 0.0
    seeds_together: int | Literal["auto"] = 1
    data_bytes: int | None = None
    feature_bytes: int | None = None
    devices: Devices = ONE

    @property
    def how(self) -> dict[str, Any]:
        """What was typed that is part of no cell and that a cell that is run again has again, by its flag's name."""
        usual = {"device": "auto", "speed": "auto", "precision": "auto"}
        typed = {
            "device": self.device,
            "speed": self.speed,
            "precision": self.precision,
            "threads": self.threads,
            "checkpoint_every": self.checkpoint_every,
            "data_memory": self.data_bytes,
            "feature_memory": self.feature_bytes,
        }
        return {name: value for name, value in typed.items() if value != usual.get(name)}
