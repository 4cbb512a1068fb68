"""What units for bf16 compute, on a processor that has none, many times as fast as torch computes it there.

A unit multiplies bf16 numbers, adds their products in fp32 and rounds the sum to bf16. So does this: the operands are
those of torch's operation, their products are exact in fp32, and what comes out is rounded once. Only the order of
the sums differs, as between any two such units. All else (what is cast when, batch norm, activations) is torch's.
"""

import contextlib
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

aten = torch.ops.aten
PRODUCTS = {
    aten.convolution.default,
    aten.convolution_backward.default,
    aten.mm.default,
    aten.addmm.default,
    aten.bmm.default,
    aten.baddbmm.default,
}


class Bf16Units(TorchDispatchMode):
    """While it is entered, convolutions and products of bf16 tensors are computed in fp32 and rounded.

    Attributes:
        count: how many were.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        kwargs = kwargs or {}
        tensors = [x for x in (*args, *kwargs.values()) if isinstance(x, torch.Tensor)]
        if func not in PRODUCTS or not any(x.dtype == torch.bfloat16 for x in tensors):
            return func(*args, **kwargs)
        self.count += 1
        args, kwargs = tree_map_only(torch.Tensor, lambda x: x.float(), (args, kwargs))
        return tree_map_only(torch.Tensor, lambda x: x.bfloat16(), func(*args, **kwargs))


def units_for(precision: str) -> AbstractContextManager[Bf16Units | None]:
    """`Bf16Units` for what is computed in bf16; nothing for the rest: C of our own leaves such modes to torch."""
    return Bf16Units() if precision == "bf16" else contextlib.nullcontext()
