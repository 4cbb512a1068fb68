"""A worker: computes the cells that its parent names, one after another; torch is imported once for all of them.

It reads lines of JSON: {"look": device} asks what there is, {"setup": ...} how cells are to be run, {"task": ...} has
one computed, {"stop": reason} asks to save and stop. The end of its input, which is also its parent's death, has it
save and end. It claims its cells itself, so that they are free when it dies.
"""

import json
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.importing import importing
from bench.launch.control import RunOptions, Stop
from bench.launch.device import num_cores, resolve_device
from bench.launch.local import LocalRunner
from bench.launch.outcome import BenchError, Outcome, Trainer, one_line
from bench.launch.trainer import TorchTrainer
from bench.launch.workers import messages
from bench.launch.workers.process import PARENTS_SIGNALS
from bench.launch.workers.share import gpu_names
from bench.plan import Cell
from bench.records import Once

if TYPE_CHECKING:
    from bench.data.arrays import Dataset


class Channel:
    """Lines to the parent; as a display it tells what a person would see."""

    def __init__(self, stream: Any, memory: Callable[[], int]) -> None:
        self._stream, self._memory, self._lock = stream, memory, threading.Lock()

    def send(self, **message: Any) -> None:
        """Say something; a parent that is gone is not told."""
        try:
            with self._lock:
                self._stream.write(json.dumps(message) + "\n")
                self._stream.flush()
        except OSError:
            # The end of the input says the same.
            pass

    def cell_started(self, cell: Cell, number: int, total: int) -> None:  # noqa: ARG002
        """See `bench.launch.outcome.Display`."""
        self.send(started=cell.id)

    def cell_ended(self, outcome: Outcome, number: int, total: int) -> None:
        """See `bench.launch.outcome.Display`; a task's outcomes are told at its end."""

    def step(self, step: int, total: int, images_per_second: float, values: dict[str, float]) -> None:
        """See `bench.launch.outcome.Display`."""
        self.send(step=[step, total, images_per_second, values], memory=self._memory())

    def row(self, row: dict[str, Any]) -> None:
        """See `bench.launch.outcome.Display`."""
        self.send(row=row)

    def note(self, text: str) -> None:
        """See `bench.launch.outcome.Display`."""
        self.send(note=text)


def look(device: str) -> dict[str, Any]:
    """What there is here, as `bench.launch.workers.share.Machine` has it.

    Raises:
        UsageError: no such device.
    """
    import psutil

    found, name = resolve_device(device)
    facts: dict[str, Any] = {"device": found, "name": name, "gpus": (), "free": (), "cores": num_cores()}
    facts["memory"] = psutil.virtual_memory().available
    if found == "cuda":
        import torch

        count = torch.cuda.device_count()
        facts["gpus"] = gpu_names(count)
        facts["free"] = [torch.cuda.mem_get_info(k)[0] for k in range(count)]
    return facts


def warm_up() -> None:
    """Import what computes cells, while the parent still reads the data."""
    with importing():
        import bench.evaluate
        import bench.probe
        import bench.train  # noqa: F401


def gpu_memory() -> int:
    """Bytes of the GPU that the running cell has had at once so far; 0 on the processor."""
    import torch

    return int(torch.cuda.max_memory_allocated()) if torch.cuda.is_initialized() else 0


class Datasets:
    """The data sets of the cells, each read when it is first needed."""

    def __init__(self, root: str | None, skip_corrupt: bool, sides: Mapping[str, int]) -> None:
        self._root = None if root is None else Path(root)
        self._skip_corrupt, self._sides = skip_corrupt, sides
        self._loaded: dict[str, Dataset] = {}

    def __call__(self, name: str) -> "Dataset":
        """The data set.

        Raises:
            DataError: it is missing or broken.
        """
        if name not in self._loaded:
            from bench.data import registry

            side = self._sides[name]
            self._loaded[name] = registry.load(name, self._root, self._skip_corrupt, min_side=side)
        return self._loaded[name]


class Runners:
    """A runner for each task, as the setup has it."""

    def __init__(
        self,
        setup: Mapping[str, Any],
        channel: Channel,
        stop: Stop,
        trainer: Trainer,
        see: Callable[[str], dict[str, Any]],
        load: Any = None,
    ) -> None:
        if setup["pin"] is not None:
            # Before anything here has asked CUDA for its devices.
            os.environ["CUDA_VISIBLE_DEVICES"] = setup["pin"]
        # A record names the command that a person typed.
        sys.argv = list(setup["argv"])
        self._setup, self._channel, self._stop, self._trainer = setup, channel, stop, trainer
        self._device, self._name = setup["machine"]
        if self._device == "cuda":
            # GPUs of one machine may differ.
            self._name = see("cuda")["name"]
        self._load = load or Datasets(setup["root"], setup["skip_corrupt"], setup["sides"])
        self._broken = Once(channel.note)

    def runner(self, jobs: Mapping[str, Any]) -> LocalRunner:
        """A runner; `jobs` is what its records say of the other workers."""
        setup = self._setup
        return LocalRunner(
            Path(setup["results"]),
            self._load,
            self._channel,
            self._stop,
            self._device,
            self._name,
            RunOptions(**setup["options"], jobs=jobs),
            forget=setup["forget"],
            forgive=setup["forgive"],
            steal=setup["steal"],
            trainer=self._trainer,
            on_broken=self._broken,
        )


def _stdout_to_parent() -> Any:
    """The pipe to the parent; what a library prints goes to standard error instead."""
    stream = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return stream


def _listen(tasks: "queue.SimpleQueue[dict[str, Any] | None]", stop: Stop) -> None:
    for line in sys.stdin:
        message = json.loads(line)
        if "stop" in message:
            stop.request(message["stop"])
        else:
            tasks.put(message)
    stop.request("interrupt")
    tasks.put(None)


def serve(
    trainer: Trainer | None = None,
    prepare: Callable[[], None] = warm_up,
    memory: Callable[[], int] = gpu_memory,
    see: Callable[[str], dict[str, Any]] = look,
    load: Any = None,
) -> int:
    """Compute what the parent names until there is no more.

    Args:
        trainer: computes a cell.
        prepare: imports what that takes.
        memory: see `gpu_memory`.
        see: see `look`.
        load: data set by name; None reads it as the setup has it.

    Returns:
        The exit code.
    """
    channel, stop = Channel(_stdout_to_parent(), memory), Stop()
    for number in PARENTS_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PARENTS_SIGNALS)
    # Sent to this process alone, as `bench cancel` does: then the parent is told, and all stop.
    signal.signal(signal.SIGTERM, lambda *_: stop.request("interrupt"))
    tasks: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, stop), daemon=True).start()
    from models.registry import load_plugins

    load_plugins()
    prepare()
    runners: Runners | None = None
    while (message := tasks.get()) is not None:
        try:
            if "look" in message:
                channel.send(saw=see(message["look"]))
            elif "setup" in message:
                runners = Runners(message["setup"], channel, stop, trainer or TorchTrainer(), see, load)
                channel.send(ready=True)
            else:
                assert runners is not None
                _compute(message, runners, channel, stop)
        except BenchError as error:
            channel.send(refused=one_line(error), code=error.exit_code)
    return 0


def _compute(message: Mapping[str, Any], runners: Runners, channel: Channel, stop: Stop) -> None:
    summary = runners.runner(message["jobs"]).run(messages.as_plan(message["task"]))
    outcomes = [messages.of_outcome(outcome) for outcome in summary.outcomes.values()]
    channel.send(ended=outcomes, stopped=stop.check())


if __name__ == "__main__":
    sys.exit(serve())
