"""Has miniatures run in a process of its own, within a budget of seconds, and keeps what they tell. No torch."""

import contextlib
import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from bench.micro.measurement import Measurement
from bench.provenance import source_root

COMMAND = (sys.executable, "-P", "-m", "bench.micro.budget")
# To import torch, from a slow file system too, and to end the miniature that is running when the time is up.
START_SECONDS, GRACE_SECONDS = 120.0, 30.0


@dataclass
class Answer:
    """What the miniatures told.

    Attributes:
        measured: by key.
        failed: key -> why it could not be measured.
        device: what it calls itself.
        start_seconds: until torch and what cells need were imported.
        seconds: spent on miniatures.
        why: they ended early, if they did.
    """

    measured: dict[str, Measurement] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    device: str = ""
    start_seconds: float = 0.0
    seconds: float = 0.0
    why: str = ""


def ask(
    request: Mapping[str, Any],
    seconds: float,
    *,
    threads: int | None = None,
    command: Sequence[str] = COMMAND,
    heard: Callable[[str, Measurement], None] = lambda *_: None,
) -> Answer:
    """Run miniatures.

    Args:
        request: "cells", "device" and "options", as `bench.micro.budget` reads them.
        seconds: to spend on them once torch is imported.
        threads: of a cell; None is torch's choice.
        command: that starts the process.
        heard: told of each measurement.
    """
    environment = dict(os.environ)
    # The packages of this process and no others, wherever it was started.
    environment["PYTHONPATH"] = os.pathsep.join([str(source_root()), *filter(None, sys.path)])
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    begun = ready = time.monotonic()
    answer = Answer()
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    with (
        # This process's, so that it is gone whatever ends the other.
        tempfile.TemporaryDirectory(prefix="bench-dry-run-", ignore_cleanup_errors=True) as folder,
        subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
            errors="replace",
        ) as process,
    ):
        threading.Thread(target=_listen, args=(process.stdout, lines.put), daemon=True).start()
        errors: list[str] = []
        hears = threading.Thread(target=_listen, args=(process.stderr, errors.append), daemon=True)
        hears.start()
        end = begun + START_SECONDS
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps({**request, "seconds": seconds, "folder": folder}) + "\n")
            process.stdin.flush()
            while (line := _next(lines, end - time.monotonic())) is not None:
                row = json.loads(line)
                if row.get("ready"):
                    ready = time.monotonic()
                    answer.start_seconds, answer.device = ready - begun, row["device"]
                    end = ready + seconds + GRACE_SECONDS
                elif "measurement" in row:
                    measured = Measurement.from_json(row["measurement"])
                    answer.measured[row["key"]] = replace(measured, start=answer.start_seconds)
                    heard(row["key"], answer.measured[row["key"]])
                else:
                    answer.failed[row["key"]] = row["why"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            answer.why = f"{type(error).__name__}: {error}"
        finally:
            if time.monotonic() >= begun + START_SECONDS and not answer.device:
                answer.why = f"it was not ready after {START_SECONDS:.0f} s"
            # One that has said all, or failed, ends by itself; one that takes too long is killed: that is no fault.
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0 if time.monotonic() < end else 0.0)
            code = process.returncode
            process.kill()
            process.wait()
        hears.join(1.0)
        said = [line.strip() for line in errors if line and line.strip()]
        if code or (not answer.why and not answer.device):
            ended = f"the process that measures ended by signal {-code}" if code and code < 0 else ""
            answer.why = ended or (said[-1] if said else "the process that measures ended")
    answer.seconds = time.monotonic() - ready if answer.device else 0.0
    return answer


def _listen(stream: Any, put: Callable[[Any], None]) -> None:
    with stream as lines:
        for line in lines:
            put(line)
    put(None)


def _next(lines: "queue.SimpleQueue[str | None]", seconds: float) -> str | None:
    try:
        return lines.get(timeout=max(0.0, seconds))
    except queue.Empty:
        return None
