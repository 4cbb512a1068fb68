"""A rank that follows rank 0: it trains the cells that it is called for, owns nothing and writes nothing.

It ends when rank 0 says so or is gone. `python -m bench.devices.follow RANK WORLD_SIZE PORT FIRST` is one that rank
0 has started on its own machine.
"""

import os
import signal
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.devices import calls
from bench.importing import importing
from bench.launch.distributed import NotJoined, Place, connect, gpu_of

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

    from bench.data.arrays import Dataset

JOIN_SECONDS = 300.0
# Rank 0 answers them; whoever asks all processes of a terminal or a job to leave still finds the others following it.
LEADERS_SIGNALS = ("SIGINT", "SIGHUP", "SIGTERM", "SIGUSR2")


class NoAttempt:
    """Takes what a trainer writes down, and keeps none of it."""

    def note(self, text: str) -> None:
        """Rank 0 says the same."""

    def log(self, row: dict[str, Any]) -> None:
        """Rank 0 has the same."""

    def save_checkpoint(self, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        """Rank 0 saves the same."""

    def load_checkpoint(self) -> None:
        """Rank 0 reads it, and tells."""


def leave_signals_to_rank_0() -> None:
    """Have this process not hear what rank 0 answers."""
    for name in LEADERS_SIGNALS:
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [getattr(signal, name) for name in LEADERS_SIGNALS])


def follow(here: Place, first: int = 1, timeout: float = JOIN_SECONDS) -> None:
    """Train what rank 0 calls for, until it says that this is all, or is gone.

    Args:
        here: this process's place.
        first: number of the first cell.
        timeout: seconds in which rank 0 must be reached.

    Raises:
        NotJoined: it was not.
    """
    leave_signals_to_rank_0()
    store = connect(here, timeout)
    data = _Data()
    try:
        introduce(store, here)
        for number in count(first):
            call = calls.wait_for(store, number)
            if call is None:
                store.set(f"left {here.rank}", "")
                return
            _train(store, here, number, call, data)
    except RuntimeError as error:
        # Of the store: rank 0 is gone, and knows why.
        print(f"rank {here.rank}: rank 0 is gone: {str(error).splitlines()[0]}", file=sys.stderr)


def introduce(store: "Store", here: Place) -> None:
    """Say that a rank is there, on which machine, and which backend it can use."""
    import json
    import platform

    import torch.distributed as dist

    backend = "nccl" if dist.is_nccl_available() and gpu_of(here) is not None else "gloo"
    store.set(f"rank {here.rank}", json.dumps({"node": platform.node(), "backend": backend}))


def _train(store: "Store", here: Place, number: int, call: calls.Call, data: "_Data") -> None:
    from bench.devices.share import PeerGone
    from bench.errors import DataError, Interrupted, OutOfTime, Preempted
    from bench.launch.control import Stop

    with importing():
        from bench.train import pretrain

    try:
        if call.backend == "nccl":
            import torch

            torch.cuda.set_device(gpu_of(here) or 0)
        images = data.load(call)
        if images.fingerprint != call.fingerprint:
            raise DataError(f"{call.source}: this rank reads other images than rank 0")
        store.set(f"came {number} {here.rank}", "")
        if not calls.goes_on(store, number):
            return
        with calls.group(store, number, here.rank, here.world_size, call.backend) as share:
            pretrain(
                call.config,
                images,
                NoAttempt(),  # pyright: ignore[reportArgumentType]
                device="cuda" if call.backend == "nccl" else "cpu",
                stop=Stop(),
                progress=lambda *_: None,
                options=call.options,
                share=share,
            )
    except (PeerGone, Interrupted, OutOfTime, Preempted):
        # Whoever is gone has said why, or cannot; and why all stop is for rank 0 to say.
        return
    except Exception as error:
        calls.say_failed(store, number, here.rank, error)


class _Data:
    """The data set of the newest cell, read once for all of its seeds."""

    def __init__(self) -> None:
        self._key: tuple[Any, ...] | None = None
        self._held: Dataset | None = None

    def load(self, call: calls.Call) -> "Dataset":
        key = (call.source, call.root, call.skip_corrupt, call.side)
        if self._held is None or key != self._key:
            from bench.data import registry

            self._held = None
            root = None if call.root is None else Path(call.root)
            self._held = registry.load(call.source, root, call.skip_corrupt, min_side=call.side)
            self._key = key
        return self._held


def main(words: list[str]) -> int:
    """Follow the rank 0 that has started this process."""
    # Rank 0 reads messages from standard output: what a method or a library prints is no message.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    from models.registry import load_plugins

    load_plugins()
    rank, world_size, port, first = map(int, words)
    try:
        follow(Place(rank, rank, world_size, "127.0.0.1", port), first)
    except NotJoined as error:
        print(error, file=sys.stderr)
        return 1
    # What is left of a broken group may wait for those that are gone.
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
