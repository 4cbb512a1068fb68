"""The ways of computing a training step that are held side by side: plain, fast, fast with each switch turned."""

from collections.abc import Sequence
from dataclasses import replace

from bench.errors import UsageError, choice_error
from bench.speed import PLAIN, Speed

# A switch and its two positions.
SWITCHES = {
    "flat_update": (True, False),
    "fused_adam": (True, False),
    "winograd": (True, False),
    "direct": (True, False),
    "fused_norm": (True, False),
    "once": (True, False),
    "keep_memory": (True, False),
    "precision": ("bf16", "fp32"),
    "compile": ("always", "never"),
    "graph": (True, False),
}


def ways(fast: Speed, *, each: bool = False, compiled: bool = False, bf16: bool = False) -> dict[str, Speed]:
    """What to compare, by name; the plain way comes first.

    Args:
        fast: what a device is given by itself.
        each: also the fast way with each of its switches turned off ("no-winograd"), and with each that it leaves off
            turned on ("+flat-update"), where that can be computed here.
        compiled: also the plain way, compiled.
        bf16: whether the device has units for it; without them it is not turned on.
    """
    # A long run is compiled for nearly all of its steps; how long compiling takes is not measured here.
    fast = replace(fast, compile="always") if fast.compile == "if-it-pays" else fast
    found = {"plain": PLAIN, "fast": fast}
    if each:
        for name, (on, off) in SWITCHES.items():
            word = "bf16" if name == "precision" else name.replace("_", "-")
            if getattr(fast, name) != off:
                found[f"no-{word}"] = replace(fast, **{name: off})
            elif name == "flat_update" or (name == "precision" and bf16):
                found[f"+{word}"] = replace(fast, **{name: on})
            elif name == "graph" and fast.flat_update:
                # A step is compiled or captured, not both.
                found["+graph"] = replace(fast, graph=True, compile="never")
    if compiled:
        found["compiled"] = replace(PLAIN, compile="always")
    return found


def chosen(found: dict[str, Speed], names: Sequence[str]) -> dict[str, Speed]:
    """Those that are named, and the plain one, to which all are held; all without names.

    Raises:
        UsageError: there is no such way.
    """
    for name in names:
        if name not in found:
            raise choice_error("way", name, found)
    if names and set(names) == {"plain"}:
        raise UsageError("--ways plain: there is nothing to hold it against; name another way too")
    return {name: speed for name, speed in found.items() if not names or name == "plain" or name in names}
