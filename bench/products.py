"""The C of `bench.direct`: products of images and filters where they lie. No torch."""

import ctypes
import functools
from pathlib import Path

from bench.compiled import load_library


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled products.

    Raises:
        NoCompiler: there is no compiler, or it fails.
    """
    texts = [Path(__file__).with_name(name).read_text() for name in ("team.c", "panels.c", "direct.c")]
    found = load_library("direct", "".join(texts))
    found.work_direct.restype = ctypes.c_long
    return found
