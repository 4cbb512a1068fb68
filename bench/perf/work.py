"""What a training step computes: its FLOP, the bytes of its tensors, and its convolutions, to be run alone.

All three are read off the operations of one step on the plain path, so a way that needs fewer products for the same
result is credited with the plain path's.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from bench.perf.ceiling import seconds
from bench.speed import has_bf16

CONVOLUTIONS = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}


@dataclass(frozen=True)
class Shape:
    """Stands for a tensor among the arguments of an operation."""

    sizes: tuple[int, ...]


Call = tuple[Any, tuple[Any, ...]]
"""An operation and its arguments, tensors as their shapes."""


@dataclass(frozen=True)
class Work:
    """What a step comes to.

    Attributes:
        flop: of convolutions and products, forward and backward; a multiplication and an addition are two.
        touched: bytes of the tensors that its operations read and write, each operation for itself: an estimate of
            the traffic to memory, from above, as caches and fused operations save some of it.
        calls: its convolutions and their gradients in their order.
    """

    flop: int
    touched: int
    calls: tuple[Call, ...]


class _Recorder(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.touched = 0
        self.calls: list[Call] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        out = func(*args, **(kwargs or {}))
        if func in CONVOLUTIONS:
            self.calls.append(
                (func, tuple(Shape(tuple(a.shape)) if isinstance(a, Tensor) else a for a in args))
            )
        if not func.is_view:
            tensors = {id(t): t for t in tree_leaves((args, kwargs, out)) if isinstance(t, Tensor)}
            self.touched += sum(_bytes(t) for t in tensors.values())
        return out


def _bytes(tensor: Tensor) -> int:
    # An expanded tensor has fewer bytes than entries.
    return min(tensor.numel() * tensor.element_size(), tensor.untyped_storage().nbytes())


def work_of(step: Callable[[], object]) -> Work:
    """Look at one step of the plain path."""
    with FlopCounterMode(display=False) as counter, _Recorder() as recorder:
        step()
    return Work(counter.get_total_flops(), recorder.touched, tuple(recorder.calls))


class Convolutions:
    """The convolutions of a step and their gradients, back to back on ready tensors: what a step could be at best.

    Biases are left out, and so is all that stands between convolutions.

    Args:
        calls: as `work_of` found them.
        device: where.
        layout: "channels_last" or "contiguous".
        dtype: of all tensors.
    """

    def __init__(
        self, calls: tuple[Call, ...], device: torch.device, layout: str, dtype: torch.dtype
    ) -> None:
        self.layout, self.dtype = layout, dtype
        self._pool: dict[Shape, Tensor] = {}
        self._device = device
        self._calls = [(func, [self._filled(a, k) for k, a in enumerate(args)]) for func, args in calls]
        for func, args in self._calls:
            # No bias: neither added nor given a gradient.
            if func is CONVOLUTIONS[0]:
                args[2] = None
            else:
                args[3], args[10] = None, [*args[10][:2], False]

    def _filled(self, argument: Any, number: int) -> Any:
        if not isinstance(argument, Shape) or (number == 2 and len(argument.sizes) == 1):
            return argument
        if argument not in self._pool:
            # Of the size that keeps sums near one.
            scale = 1 / math.sqrt(max(1, math.prod(argument.sizes[1:])))
            tensor = torch.randn(argument.sizes, device=self._device) * scale
            self._pool[argument] = tensor.to(self.dtype, memory_format=LAYOUTS[self.layout])  # pyright: ignore[reportCallIssue]
        return self._pool[argument]

    @torch.no_grad()
    def __call__(self) -> None:
        """Compute them all; what comes out is dropped."""
        for func, args in self._calls:
            func(*args)

    def flop(self) -> int:
        """Of all of them."""
        with FlopCounterMode(display=False) as counter:
            self()
        return counter.get_total_flops()


def best_convolutions(calls: tuple[Call, ...], device: torch.device) -> Convolutions:
    """In the layout and precision in which they take least time here; bf16 only where there are units for it."""
    dtypes = [torch.float32, *([torch.bfloat16] if has_bf16(str(device)) else [])]
    best: tuple[float, Convolutions] | None = None
    for layout in LAYOUTS:
        for dtype in dtypes:
            one = Convolutions(calls, device, layout, dtype)
            taken = seconds(one, device, repeats=2)
            if best is None or taken < best[0]:
                best = taken, one
    assert best is not None
    return best[1]
