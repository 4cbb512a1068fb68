"""How fast this machine computes, against the plain path and against its own ceiling, measured side by side.

A part is one function and one row: name -> what it measures, "module:function". No torch is imported before one runs.
"""

PARTS: dict[str, tuple[str, str]] = {
    "pretrain": (
        "a step of a pretraining: plain, fast, with each switch turned, beside its convolutions alone",
        "bench.perf.pretrain:measure",
    ),
    "probe": (
        "a probe: features recomputed each epoch, computed once, and the fast way",
        "bench.perf.probe:measure",
    ),
}
