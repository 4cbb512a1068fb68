"""The three products of a probe's first dense layer with a batch: by torch, or in C of our own in panels.

With inputs x [b, d], of which dropout keeps some, and W [h, d]: x W', which is the layer; e W, the gradient by its
inputs; e' x, the gradient by W. A library's product takes both matrices apart anew each time, and masks are laid over
what it takes and makes. Here a batch is put into panels of sixteen columns with its mask, once for the product and
the weight's gradient, and columns of the weight lie in the nearest cache while rows of the batch go by.
"""

import ctypes
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from bench.plain_tensors import are_plain
from bench.products import library

LANES = 16

Mask = Int[Tensor, "b d"] | Float[Tensor, "b d"]


def drop(x: Float[Tensor, "b d"], mask: Mask | None) -> None:
    """Set to zero, in place, what a mask drops: all bits or none of an int32, or a factor of 1 or 0."""
    if mask is None:
        return
    if mask.dtype == torch.int32:
        x.view(torch.int32).bitwise_and_(mask)
    else:
        x.mul_(mask)


class TorchProducts:
    """By torch: on any device, of any type.

    Args:
        weight: W [h, d].
        x: [b, d], which is written to.
        mask: of x and of its gradient.
        low: the type of products, where it is another.
    """

    def __init__(self, weight: Tensor, x: Tensor, mask: Mask | None, low: torch.dtype | None = None) -> None:
        self.weight, self.x, self.mask, self.low = weight, x, mask, low
        drop(x, mask)

    def hidden(self, bias: Tensor, scale: float) -> Float[Tensor, "b h"]:
        """The layer: bias + scale * x W'."""
        return affine(bias, self.x, self.weight, scale, self.low)

    def to_weight(self, e: Float[Tensor, "b h"], out: Float[Tensor, "h d"]) -> None:
        """The weight's gradient, e' x."""
        if self.low is None:
            torch.mm(e.T, self.x, out=out)
        else:
            out.copy_(e.to(self.low).T @ self.x.to(self.low))

    def to_inputs(self, e: Float[Tensor, "b h"]) -> Float[Tensor, "b d"]:
        """The gradient by what was kept, e W."""
        found = torch.mm(e, self.weight)
        drop(found, self.mask)
        return found


def affine(bias: Tensor, x: Tensor, weight: Tensor, scale: float, low: torch.dtype | None) -> Tensor:
    """A dense layer, bias + scale * x W', perhaps of a product in another type."""
    if low is None:
        return torch.addmm(bias, x, weight.T, alpha=scale)
    product = x.to(low) @ weight.to(low).T
    return torch.add(bias, product.to(x.dtype), alpha=scale)


class PanelProducts:
    """In C: fp32 on a processor, of contiguous tensors whose h and d are multiples of sixteen.

    Args:
        weight: W [h, d].
        x: [b, d], which stays as it is.
        mask: int32, all bits or none.
    """

    def __init__(self, weight: Tensor, x: Tensor, mask: Int[Tensor, "b d"] | None) -> None:
        self.weight, self.mask, self.library = weight, mask, library()
        self.panels, self.packed = self._pack(x, mask), None

    def hidden(self, bias: Tensor, scale: float) -> Float[Tensor, "b h"]:
        """See `TorchProducts`."""
        return torch.add(bias, self._multiply(self.panels, self.weight.T, None), alpha=scale)

    def to_weight(self, e: Float[Tensor, "b h"], out: Float[Tensor, "h d"]) -> None:
        """See `TorchProducts`."""
        assert out.is_contiguous()
        assert out.shape == self.weight.shape
        high, wide = out.shape
        a, b = self._of(e), self.panels
        self.library.outer_dense(*_pointers(a, b, out), len(e), high, wide, torch.get_num_threads())

    def to_inputs(self, e: Float[Tensor, "b h"]) -> Float[Tensor, "b d"]:
        """See `TorchProducts`."""
        return self._multiply(self._of(e), self.weight, self.mask)

    def _of(self, e: Tensor) -> Tensor:
        """Panels of a gradient [b, h], which both products want: of one that has not been written to between them."""
        if self.packed is None or self.packed[0] is not e:
            self.packed = e, self._pack(e.contiguous(), None)
        return self.packed[1]

    def _pack(self, x: Tensor, mask: Tensor | None) -> Float[Tensor, "columns b 16"]:
        n, d = x.shape
        panels = x.new_empty(d // LANES, n, LANES)
        self.library.pack_dense(*_pointers(x, mask, panels), n, d)
        return panels

    def _multiply(self, panels: Tensor, other: Tensor, mask: Tensor | None) -> Tensor:
        n, (deep, wide) = panels.shape[1], other.shape
        out, threads = panels.new_empty(n, wide), torch.get_num_threads()
        work = panels.new_empty(self.library.work_dense(threads))
        sizes = (n, deep, wide, *other.stride(), threads)
        self.library.multiply_dense(*_pointers(panels, other, mask, out, work), *sizes)
        return out


def _pointers(*tensors: Tensor | None) -> list[Any]:
    return [None if t is None else ctypes.c_void_p(t.data_ptr()) for t in tensors]


def in_panels(weight: Tensor, x: Tensor, mask: Mask | None) -> bool:
    """Whether C may have them."""
    if not are_plain(weight, x) or not weight.is_contiguous() or not x.is_contiguous():
        return False
    if x.shape[1] != weight.shape[1] or any(side % LANES for side in weight.shape):
        return False
    if not x.numel() or not weight.numel():
        return False
    return mask is None or (mask.dtype == torch.int32 and mask.is_contiguous() and mask.shape == x.shape)
