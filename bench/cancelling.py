"""What it takes to stop cells: jobs to cancel, cells that jobs are to leave out, processes to ask. No torch."""

import os
import signal
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field

from bench import scheduler
from bench.claims import Owner
from bench.errors import BenchError
from bench.files import flush_folder
from bench.status import UNDER_WAY, Handed, Standing, Survey


@dataclass
class Cancellation:
    """What is to be stopped, and how.

    Attributes:
        jobs: jobs none of whose cells is still wanted, with those of their cells that were chosen.
        marks: cells of jobs that have others to do: these leave them out when they come to them.
        running: of `marks`, those that run just now, which a mark does not stop.
        processes: on this machine, with their cells; each saves and stops, and begins no other cell.
        out_of_reach: cells that run where nothing here can stop them.
        unknown: cells of which it cannot be known whether they run.
    """

    jobs: dict[str, list[Standing]] = field(default_factory=dict)
    marks: list[Standing] = field(default_factory=list)
    running: list[Standing] = field(default_factory=list)
    processes: dict[Owner, list[Standing]] = field(default_factory=dict)
    out_of_reach: list[Standing] = field(default_factory=list)
    unknown: list[Standing] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether there is nothing that can be stopped from here."""
        return not (self.jobs or self.marks or self.processes)


def plan_cancellation(everything: Survey, chosen: Iterable[str]) -> Cancellation:
    """How the chosen cells are stopped.

    Args:
        everything: all cells, as a job may hold others than those that were chosen.
        chosen: ids; what is not under way is passed over.
    """
    mine = {id for id in chosen if everything.cells[id].state in UNDER_WAY}
    found = Cancellation()
    for id in everything.cells:
        if id in mine:
            _place(everything, everything.cells[id], mine, found)
    return found


def _place(everything: Survey, one: Standing, mine: set[str], found: Cancellation) -> None:
    if not one.sure:
        found.unknown.append(one)
        return
    owner = one.trace.owner if one.state == "running" else None
    inside = owner is not None and one.job is not None and owner.job == one.job.id
    if owner is not None and not inside:
        if not owner.job and owner.host == socket.gethostname():
            found.processes.setdefault(_process(owner, found), []).append(one)
        else:
            found.out_of_reach.append(one)
    # Its job would begin it again once nobody else runs it.
    if one.job is not None and one.handed is not None:
        handed = one.handed
        if any(_still_wanted(everything, id, handed) for id in handed.pack.cells if id not in mine):
            found.marks.append(one)
            found.running += [one] if inside else []
        else:
            found.jobs.setdefault(one.job.array_id, []).append(one)


def _still_wanted(everything: Survey, id: str, handed: Handed) -> bool:
    """Whether a job has another cell to do yet, as far as anybody knows."""
    other = everything.cells.get(id)
    if other is None:
        return True
    # Its newest job may be another one.
    same = other.handed is not None and other.handed.pack is handed.pack
    return same and (other.state in UNDER_WAY or not other.sure)


def _process(owner: Owner, found: Cancellation) -> Owner:
    """One owner a process: each claim has a token of its own."""
    return next(
        (one for one in found.processes if (one.pid, one.started) == (owner.pid, owner.started)), owner
    )


def carry_out(what: Cancellation) -> list[str]:
    """Stop them.

    Returns:
        A line for everything that could not be stopped.
    """
    problems = []
    # The marks first: a job that comes back all the same finds them.
    for one in [*what.marks, *(cell for cells in what.jobs.values() for cell in cells)]:
        try:
            _mark(one)
        except OSError as error:
            problems.append(f"{one.cell.label} could not be marked as cancelled: {error.strerror or error}")
    if what.jobs:
        try:
            scheduler.cancel(what.jobs)
        except BenchError as error:
            problems.append(f"jobs could not be cancelled: {error}")
    for owner in what.processes:
        try:
            # Looked at once more: the number may be another process's by now.
            if owner.alive():
                os.kill(owner.pid, signal.SIGTERM)
        except OSError as error:
            problems.append(f"{owner} could not be asked to stop: {error.strerror or error}")
    return problems


def _mark(one: Standing) -> None:
    assert one.handed is not None
    path = one.handed.dispatch.cancelled_path(one.id)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    flush_folder(path.parent)
