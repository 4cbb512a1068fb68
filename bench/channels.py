"""The C of `bench.normalised`: passes over images as rows of channels. No torch."""

import ctypes
import functools
from pathlib import Path

from bench.compiled import load_library

_POINTER, _LONG, _DOUBLE = ctypes.c_void_p, ctypes.c_long, ctypes.c_double


@functools.cache
def library() -> ctypes.CDLL:
    """The compiled passes.

    Raises:
        NoCompiler: there is none, or it fails.
    """
    parts = [Path(__file__).with_name(name).read_text() for name in ("team.c", "channels.c", "pooled.c")]
    found = load_library("channels", "".join(parts))
    found.parts_of.argtypes, found.parts_of.restype = [_LONG], _LONG
    for name, pointers, doubles, longs in (
        ("normalise", 10, 3, 3),
        ("normalise_back", 9, 1, 3),
        ("normalise_pooled", 11, 3, 5),
        ("normalise_pooled_back", 11, 1, 5),
    ):
        function = getattr(found, name)
        function.argtypes = [*[_POINTER] * pointers, *[_DOUBLE] * doubles, ctypes.c_int, *[_LONG] * longs]
        function.restype = None
    return found
