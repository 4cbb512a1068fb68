"""3x3 convolutions and 4x4 transposed ones of stride 2 with fewer products, in fp32 on a processor.

Winograd's minimal filtering: a tile of m outputs of an r-tap filter takes m + r - 1 products a dimension in place of
m * r (Lavin and Gray, arXiv 1509.09308). F(4, 3) takes 36 products where a 3x3 convolution takes 144; a transposed
convolution of stride 2 is four convolutions of 2x2 taps, one for each parity of its output, and F(4, 2) takes 25
products where each takes 64. In between stand matrix products, at which a processor is fastest. Both gradients take
the same path backwards.

Between tiles and matrices stand sums of neighbours that no fast operation of torch computes, so a few lines of C do.
They are compiled once a machine; without a compiler the plain convolutions stay.
"""

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.minimal_filters import LANES, THREE, TILE, TWO, library


def _call(name: str, first: Tensor, second: Tensor, *numbers: int) -> None:
    arguments = [ctypes.c_void_p(first.data_ptr()), ctypes.c_void_p(second.data_ptr())]
    getattr(library(), name)(*arguments, *(ctypes.c_long(k) for k in numbers))


# Of an even row of a transposed convolution's output, the taps on the input's row before it and on its own; of an odd
# one, on its own and on the next.
TAPS = ((3, 1), (2, 0))
PARITIES = ((0, 0), (0, 1), (1, 0), (1, 1))


@functools.cache
def _three() -> Tensor:
    """From the taps of a 3x3 filter to its products: [36, 9]."""
    g = torch.tensor([[float(x) for x in row] for row in THREE[1]], dtype=torch.float64)
    return torch.kron(g, g).float()


@functools.cache
def _two() -> Tensor:
    """From the taps of a 4x4 filter to the products of its four parities: [100, 16]."""
    g = torch.zeros(2, 5, 4, dtype=torch.float64)
    for parity, taps in enumerate(TAPS):
        for i, tap in enumerate(taps):
            g[parity, :, tap] = torch.tensor([float(row[i]) for row in TWO[1]])
    return torch.cat([torch.kron(g[row], g[col]) for row, col in PARITIES]).float()


def _rows(n: int, h: int, w: int) -> int:
    # One more than there are tiles: planes whose distance is a power of two would share one set of the cache.
    return n * (h // TILE) * (w // TILE) + 1


def _planes(count: int, rows: int, channels: int) -> Tensor:
    planes = torch.empty(count, rows, channels)
    planes[:, -1].zero_()
    return planes


def _empty(n: int, c: int, h: int, w: int, fill: bool = False) -> Tensor:
    image = torch.zeros(n, h, w, c) if fill else torch.empty(n, h, w, c)
    return image.permute(0, 3, 1, 2)


class _Convolve(torch.autograd.Function):
    """3x3, stride 1, padding 1, without bias: image [n, c, h, w] channels-last, weight [k, c, 3, 3]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        (n, c, h, w), k = x.shape, weight.shape[0]
        rows = _rows(n, h, w)
        v = _planes(36, rows, c)
        _gather("three", x, v, (0, -1, -1), rows)
        # [36, k, c]
        u = _three() @ weight.permute(2, 3, 0, 1).reshape(9, k * c)
        u = u.view(36, k, c)
        y = _empty(n, k, h, w)
        _call("emit_three", y, torch.bmm(v, u.mT), n, h, w, k, rows, 0, 0, 1)
        ctx.save_for_backward(v, u)
        ctx.shape = (n, c, h, w)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        v, u = ctx.saved_tensors
        (n, c, h, w), k = ctx.shape, u.shape[1]
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        rows = _rows(n, h, w)
        dm = _planes(36, rows, k)
        _call("absorb_three", dy, dm, n, h, w, k, rows, 0, 0, 1)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _empty(n, c, h, w, fill=True)
            _scatter("three", dx, torch.bmm(dm, u), (0, -1, -1), rows)
        if ctx.needs_input_grad[1]:
            du = torch.bmm(dm.mT, v).view(36, k * c)
            dw = (_three().T @ du).view(3, 3, k, c).permute(2, 3, 0, 1)
        return dx, dw


class _Upsample(torch.autograd.Function):
    """4x4 transposed, stride 2, padding 1, without bias: image [n, c, h, w], weight [c, k, 4, 4]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        (n, c, h, w), k = x.shape, weight.shape[1]
        rows = _rows(n, h, w)
        v = _planes(100, rows, c)
        for p, (row, col) in enumerate(PARITIES):
            _gather("two", x, v, (25 * p, row - 1, col - 1), rows)
        u = (_two() @ weight.permute(2, 3, 0, 1).reshape(16, c * k)).view(100, c, k)
        m = torch.bmm(v, u)
        y = _empty(n, k, 2 * h, 2 * w)
        for p, (row, col) in enumerate(PARITIES):
            _call("emit_two", y, m[25 * p :], n, h, w, k, rows, row, col, 2)
        ctx.save_for_backward(v, u)
        ctx.shape = (n, c, h, w)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        v, u = ctx.saved_tensors
        (n, c, h, w), k = ctx.shape, u.shape[2]
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        rows = _rows(n, h, w)
        dm = _planes(100, rows, k)
        for p, (row, col) in enumerate(PARITIES):
            _call("absorb_two", dy, dm[25 * p :], n, h, w, k, rows, row, col, 2)
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _empty(n, c, h, w, fill=True)
            dv = torch.bmm(dm, u.mT)
            for p, (row, col) in enumerate(PARITIES):
                _scatter("two", dx, dv, (25 * p, row - 1, col - 1), rows)
        if ctx.needs_input_grad[1]:
            du = torch.bmm(v.mT, dm).view(100, c * k)
            dw = (_two().T @ du).view(4, 4, c, k).permute(2, 3, 0, 1)
        return dx, dw


def _gather(name: str, x: Tensor, v: Tensor, at: tuple[int, int, int], rows: int) -> None:
    n, c, h, w = x.shape
    zeros = torch.zeros(c)
    _call(f"gather_{name}", x, v[at[0] :], n, h, w, c, rows, at[1], at[2], zeros.data_ptr())


def _scatter(name: str, x: Tensor, v: Tensor, at: tuple[int, int, int], rows: int) -> None:
    n, c, h, w = x.shape
    trash = torch.zeros(c)
    _call(f"scatter_{name}", x, v[at[0] :], n, h, w, c, rows, at[1], at[2], trash.data_ptr())


def _fits(x: Tensor) -> bool:
    return x.dtype == torch.float32 and x.device.type == "cpu" and not any(s % TILE for s in x.shape[-2:])


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if not _fits(x) or torch.is_autocast_enabled("cpu"):
        return nn.Conv2d.forward(layer, x)
    y: Any = _Convolve.apply(x, layer.weight)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def _upsample(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    if not _fits(x) or torch.is_autocast_enabled("cpu"):
        return nn.ConvTranspose2d.forward(layer, x)
    y: Any = _Upsample.apply(x, layer.weight)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def _plan(layer: nn.Module) -> Callable[..., Tensor] | None:
    """How a layer is computed here; None leaves it as it is."""
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return None
    shape = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    usual = layer.groups == 1 and layer.padding_mode == "zeros" and not any(layer.output_padding)
    if not usual or layer.in_channels % LANES or layer.out_channels % LANES:
        return None
    if type(layer) is nn.Conv2d and shape == ((3, 3), (1, 1), (1, 1), (1, 1)):
        return functools.partial(_convolve, layer)
    if type(layer) is nn.ConvTranspose2d and shape == ((4, 4), (2, 2), (1, 1), (1, 1)):
        return functools.partial(_upsample, layer)
    return None


def replace_convolutions(module: nn.Module) -> int:
    """Have those layers of a module that can be computed this way computed so; its parameters stay as they are.

    A layer decides at each call: an image whose sides are no multiples of four, of another type or on another
    device, takes the plain way.

    Returns:
        How many layers.

    Raises:
        NoCompiler: the transforms cannot be compiled here; nothing is changed.
    """
    library()
    planned = [(layer, plan) for layer in module.modules() if (plan := _plan(layer)) is not None]
    for layer, plan in planned:
        layer.forward = plan
    return len(planned)
