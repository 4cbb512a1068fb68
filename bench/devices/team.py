"""The ranks of this process's cells, as rank 0 sees them: those that it started, or that a scheduler did.

They outlive a cell: after one that failed they are called for the next, and one that has died is started again where
it was started from here.
"""

import contextlib
import json
import queue
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.devices import calls
from bench.devices.follow import JOIN_SECONDS, introduce
from bench.errors import BenchError, RankFailed, RankLost, UsageError
from bench.launch.control import RunOptions, Stop
from bench.launch.distributed import NotJoined, Place, connect, gpu_of
from bench.launch.workers.process import Worker

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

    from bench.devices.share import Share

# Seconds in which it is learnt why a rank is gone.
PATIENCE = 10.0
COMMAND = (sys.executable, "-P", "-m", "bench.devices.follow")


@dataclass(frozen=True)
class Images:
    """Where the ranks read data sets.

    Attributes:
        root: folder of the data sets.
        skip_corrupt: leave out images that cannot be decoded.
        sides: data set -> the fewest pixels a side that the backbones of its cells can take.
    """

    root: Path | None
    skip_corrupt: bool
    sides: Mapping[str, int]


class Team:
    """Rank 0 and those that follow it; a context, whose end is theirs. They start when the first cell needs them.

    Args:
        images: what every rank reads.
        device: "cpu" or "cuda".
        here: the place that a scheduler gave this process, whose rank is 0; None has the others started here.
        size: processes in all, where they are started here.
        threads: of each process; None leaves it to torch, divided among those that are started here.
        note: told a line now and then.
    """

    def __init__(
        self,
        images: Images,
        device: str,
        *,
        here: Place | None = None,
        size: int = 0,
        threads: int | None = None,
        note: Callable[[str], None] = print,
    ) -> None:
        self.images, self.device, self.note = images, device, note
        self.started_here = here is None
        self.here = here or Place(0, 0, size, "127.0.0.1", 0)
        self.size = self.here.world_size
        self._threads = threads
        self._store: Store | None = None
        self._followers: dict[int, Worker] = {}
        self._events: queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]] = queue.SimpleQueue()
        self._dead: dict[int, str] = {}
        self._number = 0
        self._facts: dict[str, Any] = {}

    def threads(self, usual: int) -> int:
        """Threads of each process, of so many that a process by itself would have."""
        return self._threads or max(1, usual // self.size if self.started_here else usual)

    def in_force(self, options: RunOptions, usual_threads: int) -> RunOptions:
        """How each process is run: its part of the threads, and of the memory where all have the processor's."""
        room = options.data_bytes
        if room is None and self.started_here and self.device == "cpu":
            from bench.data.streaming import SHARE, SMALL
            from bench.memory import available_memory

            room = max(SMALL, int(SHARE * available_memory() / self.size))
        return replace(options, threads=self.threads(usual_threads), data_bytes=room)

    def facts(self) -> dict[str, Any]:
        """What a provenance says of the ranks, once all have come.

        Raises:
            NotJoined: some have not come in time.
            RankFailed, RankLost: one has died on the way.
            UsageError: GPUs were asked for, and one has none of its own.
        """
        if self._store is None:
            self._connect()
        assert self._store is not None
        self._start_missing(self._number + 1)
        if not self._facts:
            self._wait_for(lambda rank: f"rank {rank}")
            said = [json.loads(self._store.get(f"rank {rank}")) for rank in range(self.size)]
            nccl = self.device == "cuda"
            without = [f"rank {n} on {row['node']}" for n, row in enumerate(said) if row["backend"] != "nccl"]
            if nccl and without:
                # On the processor it would draw other flips and noise than the others do on theirs.
                raise UsageError(
                    f"{', '.join(without)} has no GPU of its own that NCCL can use: start a process a GPU, or add"
                    " --device cpu"
                )
            self._facts = {
                "world_size": self.size,
                "backend": "nccl" if nccl else "gloo",
                "nodes": list(dict.fromkeys(row["node"] for row in said)),
            }
        return self._facts

    def _connect(self) -> None:
        store = connect(self.here, JOIN_SECONDS)
        if self.started_here:
            self.here = replace(self.here, port=store.port)  # pyright: ignore[reportAttributeAccessIssue]
        introduce(store, self.here)
        self._store = store

    @contextlib.contextmanager
    def working(
        self, config: dict[str, Any], source: str, fingerprint: str, options: RunOptions, stop: Stop
    ) -> "Iterator[Share]":
        """Within the block all ranks train a cell, and this one is to do so too.

        Args:
            config: of the cell.
            source: its data set, as the user typed it.
            fingerprint: of the data that this rank has read.
            options: how the cell is run.
            stop: asked while the others are waited for; then the trainer asks it.

        Raises:
            Interrupted, OutOfTime, Preempted: it was asked to stop before all had come.
            RankFailed: another rank has failed.
            RankLost: another rank was killed, or is gone without a word.
        """
        from bench.devices.share import PeerGone

        facts = self.facts()
        assert self._store is not None
        self._number += 1
        images = self.images
        root = None if images.root is None else str(images.root.absolute())
        call = calls.Call(
            config,
            source,
            fingerprint,
            images.sides[source],
            root,
            images.skip_corrupt,
            facts["backend"],
            options,
        )
        self._store.set(f"cell {self._number}", call.text())
        all_came = False
        try:
            self._wait_for(lambda rank: f"came {self._number} {rank}", stop)
            all_came = True
        finally:
            calls.let_go(self._store, self._number, all_came)
        if facts["backend"] == "nccl":
            import torch

            torch.cuda.set_device(gpu_of(self.here) or 0)
        try:
            with calls.group(self._store, self._number, 0, self.size, facts["backend"]) as share:
                yield share
        except PeerGone as error:
            raise self._cause(str(error)) from None

    def _start_missing(self, first: int) -> None:
        """Start the followers that are not there; where a scheduler starts them, one that is gone is missed for good.

        Raises:
            RankLost: one is missed.
        """
        self._hear()
        if not self.started_here:
            if self._dead:
                raise RankLost(self._dead[min(self._dead)])
            return
        self._dead.clear()
        for rank in range(1, self.size):
            if rank not in self._followers:
                words = [str(n) for n in (rank, self.size, self.here.port, first)]
                command = [*COMMAND, *words]
                self._followers[rank] = Worker(rank, self._events, self.threads(_cores()), command)

    def _hear(self) -> None:
        """Take note of what the followers said, and of those that have died."""
        with contextlib.suppress(queue.Empty):
            while True:
                worker, message = self._events.get_nowait()
                if message is None:
                    worker.wait(1.0)
                    who = f"rank {worker.slot} of {self.size} (process {worker.pid}) {worker.end()}"
                    self._followers.pop(worker.slot, None)
                    self._dead[worker.slot] = who
                elif "note" in message:
                    self.note(f"rank {worker.slot}: {message['note']}")

    def _wait_for(self, key: Callable[[int], str], stop: Stop | None = None) -> None:
        """Wait until every follower has set a key, for as long as they live and nobody asks to stop."""
        store, begun = self._store, time.monotonic()
        assert store is not None
        missing = set(range(1, self.size))
        while missing := {rank for rank in missing if not store.check([key(rank)])}:
            self._hear()
            if (cause := self._known_cause()) is not None:
                raise cause
            if stop is not None:
                stop.raise_if_asked()
            if time.monotonic() - begun > JOIN_SECONDS and not self.started_here:
                names = ", ".join(map(str, sorted(missing)))
                raise NotJoined(f"waited {JOIN_SECONDS:.0f} s, and of {self.size} ranks {names} did not come")
            time.sleep(calls.POLL_SECONDS)

    def _known_cause(self) -> BenchError | None:
        """Why the cell cannot go on, as far as anybody has said so."""
        assert self._store is not None
        if (said := calls.failure(self._store, self._number)) is not None:
            return RankFailed(f"rank {said['rank']} of {self.size}: {said['error']}", said["trace"])
        if self._dead:
            text = self._dead[min(self._dead)]
            return RankLost(text) if " was killed by " in text else RankFailed(text)
        return None

    def _cause(self, text: str) -> BenchError:
        """Why a rank has left in the middle of a cell."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            self._hear()
            if (cause := self._known_cause()) is not None:
                return cause
            time.sleep(calls.POLL_SECONDS)
        if not self.started_here:
            self._dead[0] = f"a rank of {self.size} is gone without a word ({text})"
        return RankLost(f"a rank of {self.size} is gone without a word ({text})")

    def kill(self) -> None:
        """End those that were started here at once."""
        for worker in list(self._followers.values()):
            worker.kill()

    def __enter__(self) -> "Team":
        if not self.started_here:
            # The others wait for this one, even if it turns out to have nothing for them to do.
            self._connect()
        return self

    def __exit__(self, *_: object) -> None:
        if self._store is None:
            return
        with contextlib.suppress(RuntimeError):
            self._store.set(calls.END, "")
            end = time.monotonic() + PATIENCE
            waiting = set(range(1, self.size)) - self._dead.keys()
            while waiting and time.monotonic() < end and 0 not in self._dead:
                self._hear()
                waiting = {r for r in waiting - self._dead.keys() if not self._store.check([f"left {r}"])}
                time.sleep(calls.POLL_SECONDS)
        for worker in list(self._followers.values()):
            worker.wait(1.0)


def _cores() -> int:
    from bench.launch.device import num_cores

    return num_cores()
