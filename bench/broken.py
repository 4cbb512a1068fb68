"""Files that cannot be read are named, and what can be read is read all the same."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.errors import RecordError
from bench.files import read_json
from bench.reading import read_at_once


def warn(text: str) -> None:
    """Say it on standard error."""
    print(f"bench: warning: {text}", file=sys.stderr)


class Once:
    """Says each line once, however often a file is read.

    Args:
        say: where a line goes; may be changed at any time.
    """

    def __init__(self, say: Callable[[str], None] = warn) -> None:
        self.say = say
        self._said: set[str] = set()

    def __call__(self, text: str) -> None:
        """Say a line unless it was said before."""
        if text not in self._said:
            self._said.add(text)
            self.say(text)


def object_or_none(path: Path | str, on_broken: Callable[[str], None]) -> dict[str, Any] | None:
    """A JSON object; None where there is none, or none that can be read, which is said."""
    try:
        # Ten thousand times for a report: what is whole is read without a path's machinery.
        value = json.loads(read_at_once(path))
        if type(value) is dict:
            return value
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError):
        pass
    try:
        return read_json(Path(path))
    except FileNotFoundError:
        return None
    except RecordError as error:
        on_broken(str(error))
        return None
