"""The C of `bench.direct`, products of images and filters where they lie, of `bench.head_products` and `bench.draws`.

No torch.
"""

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
    parts = ("team.c", "panels.c", "direct.c", "dense.c", "twister.c")
    found = load_library("direct", "".join(Path(__file__).with_name(name).read_text() for name in parts))
    found.work_direct.restype = ctypes.c_long
    found.work_dense.argtypes, found.work_dense.restype = [ctypes.c_long], ctypes.c_long
    found.pack_dense.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_long] * 2]
    found.multiply_dense.argtypes = [*[ctypes.c_void_p] * 5, *[ctypes.c_long] * 6]
    found.outer_dense.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_long] * 4]
    found.keep_bits.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_uint, ctypes.c_uint]
    for quiet in (found.pack_dense, found.multiply_dense, found.outer_dense, found.keep_bits):
        quiet.restype = None
    return found
