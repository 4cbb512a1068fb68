"""A study by its name, or from a Python file of somebody's own that defines `STUDY`."""

import os
import runpy
import traceback
from pathlib import Path

from bench.errors import UsageError, choice_error
from bench.studies.patchvae import STUDY as PATCHVAE
from bench.studies.study import Study

STUDIES: dict[str, Study] = {PATCHVAE.name: PATCHVAE}
DEFAULT = PATCHVAE.name


def load_study(name: str | Path) -> Study:
    """A built-in study by its name, or the `STUDY` of a Python file, which is executed.

    Raises:
        UsageError: no such study or file, or the file does not define one.
    """
    text = os.fspath(name)
    if text in STUDIES:
        return STUDIES[text]
    path = Path(os.path.expanduser(text))  # noqa: PTH111
    if path.suffix != ".py" and not path.exists():
        raise choice_error("study", text, [*STUDIES, "a Python file that defines STUDY"])
    if not path.is_file():
        raise UsageError(f"study {text}: no such file")
    try:
        found = runpy.run_path(str(path), run_name=path.stem).get("STUDY")
    except (Exception, SystemExit) as error:
        raise UsageError(f"study {text}{_line(error, path)}: {type(error).__name__}: {error}") from None
    if not isinstance(found, Study):
        what = "does not define STUDY" if found is None else f"defines STUDY as a {type(found).__name__}"
        raise UsageError(f"study {text} {what}; it must be a bench.studies.Study")
    return found


def _line(error: BaseException, path: Path) -> str:
    """Where in the file it went wrong, as far as that is known."""
    if isinstance(error, SyntaxError):
        return f", line {error.lineno}" if error.filename == str(path) else ""
    lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f", line {lines[-1]}" if lines else ""
