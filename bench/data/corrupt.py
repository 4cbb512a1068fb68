"""Image files that cannot be decoded: the refusal that names them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.errors import DataError


class CorruptImages(DataError):
    """Files cannot be decoded, and nobody said that they may be left out."""


def refusal(
    name: str, where: Path, broken: Sequence[str], why: Mapping[str, str] | None = None
) -> CorruptImages:
    """That files are broken, the first of them by name.

    Args:
        name: of the data set.
        where: folder that the paths are relative to.
        broken: their paths.
        why: of a path, where that is known.
    """
    reasons = {path: f" ({text.replace(f'{where}/', '')})" for path, text in (why or {}).items()}
    shown = [f"{path}{reasons.get(path, '')}" for path in broken[:3]]
    more = f" and {len(broken) - 3} more" if len(broken) > 3 else ""
    plural = "s" if len(broken) > 1 else ""
    return CorruptImages(
        f"{name}: {len(broken)} corrupt image{plural} under {where}: {', '.join(shown)}{more};"
        " mend or remove them, or leave them out with --skip-corrupt"
    )
