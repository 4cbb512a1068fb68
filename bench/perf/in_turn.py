"""Two command lines in turn, each stopped while the other has the machine: `python -m bench.perf.in_turn ONE OTHER`.

A machine whose speed changes over an hour does not favour either so: both see all of its hours, but for what the
longer one has left when the other has ended. Told for each: the seconds in which it ran, its CPU seconds and exit
code, then how many times as long the second took. No torch.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

POLL_SECONDS = 0.05


class Line:
    """A command line with all of its processes, which are of one group.

    Args:
        text: for a shell.

    Attributes:
        ran: seconds in which it was not stopped.
        stops: when it was stopped and when it went on, seconds since 1970.
        code: its exit code; None while it lives.
        cpu: seconds of the processor that it and what it has waited for took; known at its end.
    """

    def __init__(self, text: str) -> None:
        self.text, self.ran, self.cpu = text, 0.0, 0.0
        self.stops: list[tuple[float, float]] = []
        self.code: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._since = self._stopped = 0.0

    def go(self) -> None:
        """Start it, or have it go on."""
        if self._process is None:
            self._process = subprocess.Popen(self.text, shell=True, start_new_session=True)
        else:
            self._signal(signal.SIGCONT)
            self.stops.append((self._stopped, time.time()))
        self._since = time.monotonic()

    def stop(self) -> None:
        """Stop all of its processes where they are."""
        self._signal(signal.SIGSTOP)
        self.ran += time.monotonic() - self._since
        self._stopped = time.time()

    def wait(self, seconds: float | None = None) -> bool:
        """Let it run; gives whether it has ended.

        Args:
            seconds: at most; None waits for its end.
        """
        assert self._process is not None
        end = None if seconds is None else time.monotonic() + seconds
        while end is None or time.monotonic() < end:
            ended, status, used = os.wait4(self._process.pid, os.WNOHANG)
            if ended:
                self.ran += time.monotonic() - self._since
                self.code, self.cpu = os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
                self._process.returncode = self.code
                return True
            time.sleep(POLL_SECONDS)
        return False

    def end(self) -> None:
        """Have it end, if it lives; what it says last is its own."""
        if self._process is not None and self.code is None:
            self._signal(signal.SIGTERM)
            self._signal(signal.SIGCONT)
            self.wait()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)


def in_turn(lines: Sequence[Line], seconds: Sequence[float]) -> None:
    """Run lines until the last has ended, each for its seconds at a time.

    An interrupt ends all of them.
    """
    try:
        while True:
            for line, share in zip(lines, seconds, strict=True):
                if line.code is not None:
                    continue
                line.go()
                alone = all(other is line or other.code is not None for other in lines)
                if not line.wait(None if alone else share):
                    line.stop()
            if all(line.code is not None for line in lines):
                return
    finally:
        for line in lines:
            line.end()


def main() -> int:
    """Run both and print what they took; 1 where one has failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf.in_turn", description=__doc__)
    parser.add_argument("one", help="a command line, in quotes")
    parser.add_argument("other", help="what is held against it")
    parser.add_argument(
        "--seconds", type=float, nargs=2, default=(20.0, 20.0), metavar=("ONE", "OTHER"), help="of each turn"
    )
    parser.add_argument("--stops", type=Path, metavar="FILE", help="write down when each was stopped")
    given = parser.parse_args()
    if min(given.seconds) <= 0:
        parser.error(f"--seconds {min(given.seconds):g}: a turn takes more than none")
    one, other = Line(given.one), Line(given.other)
    in_turn((one, other), given.seconds)
    if given.stops is not None:
        given.stops.write_text(json.dumps([one.stops, other.stops]))
    print("| line | s | CPU s | exit code |\n|:---|---:|---:|---:|")
    for line in (one, other):
        print(f"| `{line.text}` | {line.ran:.1f} | {line.cpu:.1f} | {line.code} |")
    print(f"other / one: {other.ran / one.ran:.3f}; of CPU seconds {other.cpu / max(one.cpu, 1e-9):.3f}")
    return int(any(line.code for line in (one, other)))


if __name__ == "__main__":
    sys.exit(main())
