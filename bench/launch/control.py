"""What a running cell is told from outside: when to stop, how often to save. No torch."""

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal, Self

# progress(step, total steps, images per second, values by name)
Progress = Callable[[int, int, float, dict[str, float]], None]
Reason = Literal["interrupt", "time"]

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


@dataclass(frozen=True)
class RunOptions:
    """How a cell is run, none of which changes what it computes.

    Attributes:
        checkpoint_every_steps: save after so many steps; None leaves it to the clock.
        checkpoint_every_seconds: save after so many seconds.
        cache_bytes: at most so much memory for features that are computed once.
        threads: of one cell; None is torch's choice.
    """

    checkpoint_every_steps: int | None = None
    checkpoint_every_seconds: float = 60.0
    cache_bytes: int = 4 << 30
    threads: int | None = None


class Stop:
    """Asks running cells to save and stop: after a signal, or when the time budget is spent.

    As a context it listens to SIGINT, SIGTERM and SIGHUP: the first one asks, the second one ends at once.
    """

    def __init__(self, seconds: float | None = None, on_signal: Callable[[str], None] | None = None) -> None:
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._on_signal = on_signal
        self._requested = False
        self._previous: dict[int, Any] = {}

    def request(self) -> None:
        """Ask as Ctrl-C does."""
        self._requested = True

    def check(self) -> Reason | None:
        """Why to stop now, or None. Cheap enough for every step."""
        if self._requested:
            return "interrupt"
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return "time"
        return None

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._requested:
            self._restore()
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            os._exit(130)
        self._requested = True
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
