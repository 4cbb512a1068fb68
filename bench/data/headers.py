"""How large image files are before preparation, by their headers: nothing is decoded."""

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.data.source import IMAGE_SUFFIXES, File, Progress

CHUNK = 256  # files a task


@dataclass(frozen=True)
class Sizes:
    """Of the files whose headers can be read.

    Attributes:
        sides: int32, (n, 2): width and height; 0 where the header cannot be read.
        paths: of the n files.
        modes: how many of each of Pillow's modes, such as {"RGB": 99, "L": 1}.
    """

    sides: NDArray[np.int32]
    paths: Sequence[str]
    modes: dict[str, int]

    def facts(self) -> dict[str, Any] | None:
        """As JSON; None where there are no image files, or none can be read."""
        read = np.flatnonzero(self.sides.all(axis=1))
        if not len(read):
            return None
        sides = self.sides[read]
        shorter = sides.min(axis=1)
        first, last = int(shorter.argmin()), int(shorter.argmax())
        quantiles = np.quantile(shorter, [0.05, 0.25, 0.5, 0.75, 0.95], method="nearest")
        commonest, counts = np.unique(sides, axis=0, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:3]
        return {
            "files": len(self.paths),
            "unread": len(self.paths) - len(read),
            "shorter_side": {
                "min": int(shorter[first]),
                **{f"{percent}%": int(q) for percent, q in zip((5, 25, 50, 75, 95), quantiles, strict=True)},
                "max": int(shorter[last]),
            },
            "smallest": {"size": sides[first].tolist(), "path": self.paths[read[first]]},
            "largest": {"size": sides[last].tolist(), "path": self.paths[read[last]]},
            "commonest": [{"size": commonest[k].tolist(), "files": int(counts[k])} for k in order],
            "modes": self.modes,
        }


def read_sizes(where: Path, files: Sequence[File], progress: Progress | None = None) -> Sizes:
    """Look at the headers of the image files of a data set.

    Args:
        where: the folder that paths are relative to.
        files: those that a source lists; what is no image by its suffix is left aside.
        progress: called with (files done, files in all).
    """
    paths = [file.path for file in files if Path(file.path).suffix.lower() in IMAGE_SUFFIXES]
    sides, modes = np.zeros((len(paths), 2), np.int32), [""] * len(paths)

    def look(start: int) -> int:
        stop = min(start + CHUNK, len(paths))
        for i in range(start, stop):
            try:
                with Image.open(where / paths[i]) as image:
                    sides[i], modes[i] = image.size, image.mode
            except MemoryError:
                raise
            except Exception:  # Pillow raises nearly anything on a broken file
                # Its sides stay 0 and count as unread; what cannot be decoded is named as corrupt elsewhere.
                continue
        return stop

    Image.init()
    with warnings.catch_warnings(), ThreadPoolExecutor(4, thread_name_prefix="headers") as pool:
        warnings.simplefilter("ignore")
        for done in pool.map(look, range(0, len(paths), CHUNK)):
            if progress is not None:
                progress(done, len(paths))
    counted = {mode: modes.count(mode) for mode in sorted(set(modes)) if mode}
    return Sizes(sides, paths, counted)
