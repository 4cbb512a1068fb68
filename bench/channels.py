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
    found = load_library("channels", Path(__file__).with_name("channels.c").read_text())
    found.parts_of.argtypes, found.parts_of.restype = [_LONG], _LONG
    found.normalise.argtypes = [*[_POINTER] * 9, *[_DOUBLE] * 3, ctypes.c_int, *[_LONG] * 3]
    found.normalise_back.argtypes = [*[_POINTER] * 9, _DOUBLE, ctypes.c_int, *[_LONG] * 3]
    found.normalise.restype = found.normalise_back.restype = None
    return found
