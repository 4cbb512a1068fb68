"""One worker as its parent sees it: lines of JSON to it and from it."""

import collections
import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from bench.launch.workers.queue import Task
from bench.plan import Group
from bench.provenance import source_root

COMMAND = (sys.executable, "-P", "-m", "bench.launch.workers.worker")
# These come to all processes of a terminal, and it is the parent that answers them.
PARENTS_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGHUP") if hasattr(signal, name))


class Worker:
    """A worker; what it says is put into a queue as (worker, message), and at its end (worker, None).

    Args:
        slot: its place among the workers, which decides its GPU.
        events: where to put what it says.
        threads: its share of the processor; None is all.
        command: what to start.

    Attributes:
        task: the cell that it has been given.
        last: what its last cell was of.
        ready: whether it can be given one.
        pid: of its process.
    """

    def __init__(
        self,
        slot: int,
        events: "queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]]",
        threads: int | None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self.slot, self.task, self.ready = slot, None, False
        self.task: Task | None
        self.last: Group | None = None
        self._events = events
        self._said: collections.deque[str] = collections.deque(maxlen=1)
        environment = dict(os.environ)
        # The packages of this process and no others, wherever it was started.
        environment["PYTHONPATH"] = os.pathsep.join([str(source_root()), *filter(None, sys.path)])
        if threads is not None:
            environment["OMP_NUM_THREADS"] = str(threads)
        # Blocked from its first moment on, so that a Ctrl-C while it starts is not its end; it lets them in later.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PARENTS_SIGNALS)
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                text=True,
                errors="replace",
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.pid = self._process.pid
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Say something to it; one that has died does not hear it, and its end is put into the queue."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def dismiss(self) -> None:
        """Let it end: nothing more will be said to it."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError, ValueError):
            self._process.stdin.close()

    def kill(self) -> None:
        """End it at once."""
        with contextlib.suppress(OSError):
            self._process.kill()

    def wait(self, seconds: float) -> None:
        """Wait for its end; after so many seconds it is killed."""
        self.dismiss()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            self._process.wait()
        self._listener.join(1.0)

    def end(self) -> str:
        """How it ended, for a person."""
        code = self._process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            why = " (out of memory?)" if name == "SIGKILL" else ""
            return f"was killed by {name}{why}"
        last = f": {self._said[-1]}" if self._said else ""
        return f"ended with exit code {code}{last}"

    def _listen(self) -> None:
        assert self._process.stdout is not None
        errors = threading.Thread(target=self._hear_errors, daemon=True)
        errors.start()
        with self._process.stdout as lines:
            for line in lines:
                try:
                    message = json.loads(line)
                except ValueError:
                    # Its last line, cut short, or what something has printed.
                    continue
                if isinstance(message, dict):
                    self._events.put((self, message))
        self._process.wait()
        errors.join(1.0)
        self._events.put((self, None))

    def _hear_errors(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                if text := line.rstrip():
                    self._said.append(text)
                    self._events.put((self, {"note": text}))
