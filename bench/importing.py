"""Imports of torch and what comes with it, while Python's collector of cyclic garbage rests.

Some 2,700 modules make a million objects of which none is garbage. The collector starts anew with every so many of
them and walks over all that are there: a third of the processor's seconds that a process takes before its first step.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import within this. What is there afterwards is never walked over again; the collector is as it was before."""
    was, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # Only where something was imported: what is frozen is never freed, and a process asks for each of its cells.
        if len(sys.modules) > before:
            gc.freeze()
        if was:
            gc.enable()
