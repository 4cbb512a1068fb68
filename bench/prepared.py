"""A method whose layers are computed as the switches say."""

from collections.abc import Callable

from bench.compiled import NoCompiler
from bench.direct import replace_direct
from bench.fused_norm import fuse_norms
from bench.memory import keep_freed_memory
from bench.once import compute_once
from bench.speed import Speed, in_c
from bench.winograd import replace_convolutions
from models.method import Method


def prepare(method: Method, speed: Speed, note: Callable[[str], None]) -> None:
    """Have the method's layers computed as the switches say; what cannot be had here is said, and stays plain."""
    if speed.keep_memory:
        keep_freed_memory()
    replace = {"direct": replace_direct, "winograd": replace_convolutions, "fused_norm": fuse_norms}
    for switch in in_c(speed):
        try:
            replace[switch](method)
        except NoCompiler as error:
            note(f"{'batch norm stays' if switch == 'fused_norm' else 'convolutions stay'} plain: {error}")
    if speed.once:
        compute_once(method)
