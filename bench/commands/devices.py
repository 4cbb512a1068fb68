"""Options that say on how many devices one cell is trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from bench.commands.options import typed
from bench.errors import UsageError
from bench.launch.distributed import Place, refuse_coupled, torchrun_place
from bench.launch.workers.share import MOST

if TYPE_CHECKING:
    from bench.launch.slurm.profile import Profile
    from bench.plan import Plan

F = TypeVar("F", bound=Callable[..., Any])
BATCH_NORMS = ("synchronised", "per-device")


@dataclass(frozen=True)
class Devices:
    """On how many devices a pretraining is computed.

    Attributes:
        each: of a node.
        nodes: machines.
        place: this process's, where torchrun has started it and the others.
    """

    each: int = 1
    nodes: int = 1
    place: Place | None = None

    @property
    def number(self) -> int:
        """Devices in all, each of them one process's."""
        return self.each * self.nodes if self.place is None else self.place.world_size


ONE = Devices()


def devices_options(function: F) -> F:
    """--devices, --nodes and --batch-norm."""
    for option in (
        click.option(
            "--batch-norm",
            type=click.Choice(BATCH_NORMS),
            default=BATCH_NORMS[0],
            show_default=True,
            help="On several devices: statistics of the whole batch, as on one, or of each device's share of it.",
        ),
        click.option(
            "--nodes",
            type=click.IntRange(1, MOST),
            default=1,
            metavar="N",
            help="Machines of a pretraining's job.",
        ),
        click.option(
            "--devices",
            type=click.IntRange(1, MOST),
            default=1,
            metavar="N",
            help="Train one pretraining on N devices (of each node): GPUs, or processes that share the processor.",
        ),
    ):
        function = option(function)
    return function


def devices_of(given: Mapping[str, Any], where: str) -> Devices:
    """On how many devices, by `devices_options` or by torchrun.

    Args:
        given: what was typed.
        where: "local" or "slurm".

    Raises:
        UsageError: the options contradict one another, or others.
    """
    place = torchrun_place()
    if place is not None:
        if where == "slurm":
            raise UsageError("torchrun starts processes here, and --slurm jobs: leave one out")
        for name in ("devices", "nodes"):
            if typed(name):
                raise UsageError(f"torchrun says how many processes there are: leave --{name} out")
    found = Devices(given["devices"], given["nodes"], place)
    if found.number == 1:
        return found
    flag = "torchrun" if place else f"--devices {found.each}" if found.each > 1 else f"--nodes {found.nodes}"
    if found.nodes > 1 and where == "local":
        raise UsageError(
            f"--nodes {found.nodes} is for --slurm; without a scheduler, torchrun starts processes on machines"
        )
    for name, other in (("jobs", "-j"), ("jobs_per_gpu", "--jobs-per-gpu")):
        if given[name] is not None:
            raise UsageError(
                f"{flag} has several processes train one cell, {other} one cell each: leave one out"
            )
    if given["seeds_together"] != 1:
        raise UsageError(
            f"{flag} has several processes train one seed, --seeds-together one process several: leave one out"
        )
    return found


def with_batch_norm(given: Mapping[str, Any], devices: Devices) -> tuple[str, ...]:
    """The settings that were typed, and what --batch-norm adds: where it changes numbers, it is part of a cell."""
    if given["batch_norm"] == BATCH_NORMS[0] or devices.number == 1:
        return given["pairs"]
    return (*given["pairs"], f"pretrain.batch_norm_devices={devices.number}")


def refuse_what_needs_one(plan: "Plan", devices: Devices, batch_norm: str, profile: "Profile | None") -> None:
    """Refuse what several devices cannot compute, or not as it was asked for.

    Args:
        plan: the cells.
        devices: what `devices_of` gave.
        batch_norm: of `BATCH_NORMS`.
        profile: of the jobs, whose pretrainings may have several tasks without --devices; None computes here.

    Raises:
        UsageError: a method's loss compares examples with one another; or batch norm is to be each device's, and how
            many there are is the profile's.
    """
    number = devices.number
    if profile is not None and number == 1:
        asked = profile.classes["pretrain"]
        each, nodes = int(asked["tasks_per_node"]), int(asked["nodes"])
        number = each * nodes
        if number > 1 and batch_norm != BATCH_NORMS[0]:
            raise UsageError(
                f"--batch-norm {batch_norm} needs to know on how many devices: the profile's pretrainings have"
                f" {number} tasks, so add --devices {each}" + (f" --nodes {nodes}" if nodes > 1 else "")
            )
    for group in plan.groups:
        refuse_coupled(group.pretrain.config["method"], number)


def has_followed(devices: Devices, idle: bool) -> bool:
    """Whether torchrun has started this process beside the one that owns the cells: it has followed that to its end.

    Args:
        devices: what `devices_of` gave.
        idle: nothing is computed.
    """
    if devices.place is None or devices.place.rank == 0:
        return False
    if not idle:
        from bench.devices.follow import follow

        follow(devices.place)
    return True
