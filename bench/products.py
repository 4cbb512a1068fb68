"""The C of `bench.direct`, products of images and filters where they lie, and of `bench.draws`. No torch."""

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
    parts = ("team.c", "panels.c", "direct.c", "twister.c")
    found = load_library("direct", "".join(Path(__file__).with_name(name).read_text() for name in parts))
    found.work_direct.restype = ctypes.c_long
    found.keep_bits.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_uint, ctypes.c_uint]
    found.keep_bits.restype = None
    return found
