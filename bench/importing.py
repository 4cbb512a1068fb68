"""Imports of torch and what comes with it, while Python's collector of cyclic garbage rests.

Some 2,700 modules make a million objects of which none is garbage. The collector starts anew with every so many of
them and walks over all that are there: a third of the processor's seconds that a process takes before its first step.
"""

import contextlib
import gc
import sys
from collections.abc import Iterator

# What is frozen is never freed, a finished cell's models among it where they wait for the collector: frozen is what a
# process imports before its first cell, not the few modules of ours that a later one adds.
MANY = 200


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import within this; the collector is as it was before. After many, what is there is never walked over again."""
    was, before = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) - before >= MANY:
            gc.freeze()
        if was:
            gc.enable()
