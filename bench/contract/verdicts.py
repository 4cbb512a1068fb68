"""What is said of a promise, and how a list of promises is gone through."""

import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench.errors import BenchError, choice_error

CaseT = TypeVar("CaseT")
# Promises without which no other can be looked at.
FIRST = ("row", "builds", "stages", "found")


@dataclass(frozen=True)
class Verdict:
    """What became of one promise.

    Attributes:
        promise: its name.
        kept: None where it does not apply or only deserves a remark.
        text: what was seen, one line; of a promise that is kept, its sentence.
    """

    promise: str
    kept: bool | None
    text: str

    def __str__(self) -> str:
        return (
            f"{ {True: 'kept', False: 'BROKEN', None: 'note'}[self.kept]:6}  {self.promise:15}  {self.text}"
        )


class ContractBroken(AssertionError):
    """At least one promise is broken; a line for each."""


class NotKept(Exception):
    """A promise is broken; the text says what was seen."""


class Remark(Exception):
    """A promise does not apply, or is kept with something that its author should know."""


def judge(
    checks: Mapping[str, Callable[[CaseT], str | None]], case: CaseT, only: Iterable[str] | None
) -> Iterator[Verdict]:
    """Go through promises; whatever a check raises breaks its promise alone.

    Raises:
        UsageError: `only` names a promise that there is not.
    """
    wanted = list(checks) if only is None else list(only)
    for name in wanted:
        if name not in checks:
            raise choice_error("promise", name, checks)
    return _verdicts({name: checks[name] for name in wanted}, case)


def _verdicts(checks: Mapping[str, Callable[[CaseT], str | None]], case: CaseT) -> Iterator[Verdict]:
    without: str | None = None
    for name, check in checks.items():
        if without is not None:
            yield Verdict(name, None, f"not looked at: it needs {without!r}")
            continue
        yield (verdict := _verdict(name, check, case))
        if verdict.kept is False and name in FIRST:
            without = name


def _verdict(name: str, check: Callable[[CaseT], str | None], case: CaseT) -> Verdict:
    try:
        seen = check(case)
    except Remark as error:
        return Verdict(name, None, str(error))
    except NotKept as error:
        return Verdict(name, False, str(error))
    except Exception as error:
        text = " ".join(str(error).split())
        if isinstance(error, BenchError):
            return Verdict(name, False, text)
        return Verdict(name, False, f"{type(error).__name__}: {text[:300]}{_where(error)}")
    return Verdict(name, True, seen or (check.__doc__ or "").partition("\n")[0].rstrip("."))


def _where(error: Exception) -> str:
    """The last line of the author's own code that an error went through."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not {"site-packages", "contract"} & set(Path(frame.filename).parts) and "<" not in frame.filename:
            return f" ({Path(frame.filename).name}, line {frame.lineno})"
    return ""


def require(verdicts: Iterable[Verdict]) -> None:
    """Raise for what is broken.

    Raises:
        ContractBroken: a promise is.
    """
    broken = [f"{one.promise}: {one.text}" for one in verdicts if one.kept is False]
    if broken:
        raise ContractBroken("\n".join(broken))
