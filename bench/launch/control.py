"""What a running cell is told from outside: when to stop, how often to save. No torch."""

import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal, Self

from bench.errors import BenchError, Interrupted, OutOfTime, Preempted
from bench.probe_speed import PLAIN_PROBE, ProbeSpeed
from bench.speed import PLAIN, Speed

# progress(step, total steps, images per second, values by name)
Progress = Callable[[int, int, float, dict[str, float]], None]
Reason = Literal["interrupt", "time", "preempt"]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class RunOptions:
    """How a cell is run, none of which changes what it means.

    Attributes:
        checkpoint_every_steps: save after so many steps; None leaves it to the clock.
        checkpoint_every_seconds: save after so many seconds.
        cache_bytes: at most so much memory for features that are computed once.
        cache_disk_bytes: at most so much of a file for those that do not fit; 0 is none.
        feature_bytes: in place of `cache_bytes` for a probe's; 0 is no file either. None leaves both as they are.
        data_bytes: at most so much memory of the device for the images of a split, which are streamed where they take
            more; None is a share of what is free. Compressed ones always are.
        threads: of one cell; None is torch's choice.
        weights: evaluation -> path of the file of weights that it needs.
        speed: what the user wishes: "auto" or "plain", see `bench.speed.choose`.
        precision: likewise "auto", "fp32" or "bf16".
        switches: what is in force of a pretraining; whoever runs a cell finds it from the two wishes.
        probing: likewise of a probe.
        seeds_together: so many seeds of a method are pretrained at once; 1 is none with another, "auto" as many as
            there are where measured steps say that it is faster.
        jobs: what is known of workers that share the machine with this one, for the provenance.
    """

    checkpoint_every_steps: int | None = None
    checkpoint_every_seconds: float = 60.0
    cache_bytes: int = 4 << 30
    cache_disk_bytes: int = 32 << 30
    feature_bytes: int | None = None
    data_bytes: int | None = None
    threads: int | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    speed: str = "plain"
    precision: str = "auto"
    switches: Speed = PLAIN
    probing: ProbeSpeed = PLAIN_PROBE
    seeds_together: int | Literal["auto"] = 1
    jobs: Mapping[str, Any] = field(default_factory=dict)


def stopped(reason: Reason, where: str = "") -> BenchError:
    """The error that ends a cell which was asked to stop.

    Args:
        reason: what `Stop.check` gave.
        where: how far the cell has come, such as "after step 3 of 10".
    """
    kinds: dict[Reason, tuple[type[BenchError], str]] = {
        "interrupt": (Interrupted, "stopped" if where else "interrupted"),
        "time": (OutOfTime, "time budget spent" if where else "the time budget is spent"),
        "preempt": (Preempted, "preempted"),
    }
    kind, text = kinds[reason]
    return kind(f"{text} {where}".strip())


class Stop:
    """Asks running cells to save and stop: after a signal, or when the time budget is spent.

    As a context it listens to SIGINT, SIGTERM and SIGHUP: the first one asks, the second one ends at once.
    Inside a job of a scheduler, which has signals of its own, `request` and `save_now` are called instead.

    Attributes:
        before_end: called when the second signal ends this process at once.
    """

    def __init__(self, seconds: float | None = None, on_signal: Callable[[str], None] | None = None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._on_signal = on_signal
        self.before_end: Callable[[], None] = lambda: None
        self._requested: Reason | None = None
        self._save = False
        self._previous: dict[int, Any] = {}

    def request(self, reason: Reason = "interrupt") -> None:
        """Ask to save and stop; of several reasons the first counts."""
        self._requested = self._requested or reason

    def save_now(self) -> None:
        """Ask for a checkpoint at the next step, after which the cell goes on."""
        self._save = True

    def save_due(self) -> bool:
        """Whether a checkpoint was asked for since this was last called."""
        due, self._save = self._save, False
        return due

    def check(self) -> Reason | None:
        """Why to stop now, or None. Cheap enough for every step."""
        if self._requested is not None:
            return self._requested
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time"
        return None

    def raise_if_asked(self, where: str = "") -> None:
        """End here if asked to; whoever calls has nothing to save.

        Raises:
            Interrupted, OutOfTime, Preempted: by the reason.
        """
        if (reason := self.check()) is not None:
            raise stopped(reason, where)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._requested is not None:
            self._restore()
            self.before_end()
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            os._exit(130)
        self._requested = "interrupt"
        if self._on_signal is not None:
            self._on_signal(signal.Signals(number).name)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for name in SIGNALS:
                number = getattr(signal, name, None)
                # nohup's choice to ignore SIGHUP stands; a shell that starts us with & ignores SIGINT for us,
                # and yet who sends one means it.
                if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                    continue
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
