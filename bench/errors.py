"""One tree of errors: what a person sees is one line, and the exit code says whose turn it is.

0 all done, 1 some cells failed, 2 the request cannot be met as asked, 3 stopped early and resumable,
130 interrupted.
"""

import difflib
from collections.abc import Iterable


class BenchError(Exception):
    """Anything this project raises on purpose; its text is the one line that the user reads."""

    exit_code = 1


class UsageError(BenchError):
    """The request names something that does not exist or cannot be done."""

    exit_code = 2


class DataError(UsageError):
    """A data set is missing, incomplete or broken."""


class RecordError(BenchError):
    """A record on disk cannot be read or written."""


class Unreadable(RecordError):
    """The file system does not give a record that is there; it may be whole, and must not be set aside."""


class WeightsError(RecordError):
    """The weights that a pretraining left are gone or broken."""


class Diverged(BenchError):
    """A loss became infinite or NaN; carries the first step at which it was seen."""

    def __init__(self, step: int, loss: str = "loss") -> None:
        super().__init__(f"{loss} is not finite from step {step} on")
        self.step = step


class OutOfTime(BenchError):
    """The time budget is spent; everything up to here is saved."""

    exit_code = 3


class Interrupted(BenchError):
    """The user asked to stop; everything up to here is saved."""

    exit_code = 130


class Preempted(BenchError):
    """The scheduler wants the machine back; everything up to here is saved."""

    exit_code = 3


class WorkersLost(BenchError):
    """The processes that computed cells have all died; what they saved is gone on from."""

    exit_code = 3


class RankLost(BenchError):
    """A process of a cell on several devices was killed; what was saved is gone on from."""


class RankFailed(BenchError):
    """A process of a cell on several devices has failed.

    Attributes:
        trace: its traceback, for the log; "" where it left none.
    """

    def __init__(self, text: str, trace: str = "") -> None:
        super().__init__(text)
        self.trace = trace


class Apart(BenchError):
    """A seed cannot be trained with others of its method at once: it must be trained alone."""


class Superseded(BenchError):
    """Somebody else has taken the cell over: this process must not write to it any more."""


def choice_error(what: str, value: str, allowed: Iterable[str]) -> UsageError:
    """A one-line error that names the value, the nearest match and what is allowed."""
    names = list(allowed)
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return UsageError(f"unknown {what} {value!r}: {hint}allowed: {', '.join(names)}")
