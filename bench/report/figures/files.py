"""The pictures of figures as files, for those who set them in a text of their own."""

import re
from collections.abc import Iterable
from pathlib import Path

from bench.errors import UsageError
from bench.files import write_bytes
from bench.report.model import Figure, Picture


def write_pictures(figures: Iterable[Figure], folder: Path | str) -> list[Path]:
    """Save every picture as <figure>-<label>-seed<seed>.png; a number tells apart what would be named alike.

    Args:
        figures: those without pictures give no file.
        folder: made if there is anything to save.

    Returns:
        the paths, in the figures' order.

    Raises:
        UsageError: the folder cannot be written.
    """
    folder, names, paths = Path(folder), set(), []
    try:
        for figure in figures:
            for picture in figure.panels:
                if isinstance(picture, Picture):
                    folder.mkdir(parents=True, exist_ok=True)
                    paths.append(folder / _name(figure, picture, names))
                    write_bytes(paths[-1], picture.png)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror or error}") from None
    return paths


def _name(figure: Figure, picture: Picture, taken: set[str]) -> str:
    # A label may list every row of a table; file systems allow 255 bytes.
    label = re.sub(r"[^a-z0-9]+", "-", picture.label.replace("β", "beta").lower()).strip("-")[:60].strip("-")
    stem = "-".join(part for part in (figure.name, label, f"seed{picture.seed}") if part)
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return f"{name}.png"
