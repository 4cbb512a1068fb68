"""3x3 convolutions and 4x4 ones of stride 2, with fewer products, in fp32 on a processor.

Winograd's minimal filtering: a tile of m outputs of an r-tap filter takes m + r - 1 products a dimension in place of
m * r (Lavin and Gray, arXiv 1509.09308). F(4, 3) takes 36 products where a 3x3 convolution takes 144; a transposed
convolution of stride 2 is four convolutions of 2x2 taps, one for each parity of its output, and F(4, 2) takes 25
products where each takes 64. A 3x3 convolution of stride 2 is four of 2x2, 2x1, 1x2 and 1x1 taps: 81 products where
it takes 144. Both gradients take the same path backwards; that of a transposed convolution by its input is a
convolution of stride 2, which is so computed. Those of an image of few channels are in `bench.few_channels`.

Tiles are transformed, multiplied and transformed back a few images at a time in memory that stays in a processor's
cache (`bench.tiles`, in C). It is compiled once a machine; without a compiler the plain convolutions stay.
"""

import ctypes
import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from bench.few_channels import plan_few
from bench.minimal_filters import LANES, TILE
from bench.plain_tensors import are_plain, fits_layer
from bench.tile_forms import CONVOLVE, HALVE, HALVE_BY_THREE, Form
from bench.tiles import functions, library
from bench.working_memory import MEMORY

# As many tiles at a time, at least: a filter is read for that many products.
TILES = 36
# Of panels that C multiplies at once.
ROWS = 6


def _image(n: int, c: int, h: int, w: int) -> Tensor:
    # Not a view, which what comes next could not be written into.
    return torch.empty((n, c, h, w), dtype=torch.float32, device="cpu", memory_format=torch.channels_last)


def _run(
    form: Form,
    weight: Tensor,
    small: Tensor | None = None,
    large: Tensor | None = None,
    to_small: bool = False,
    to_large: bool = False,
    to_weight: bool = False,
    turned: bool = False,
    after: tuple[Tensor, Tensor | None, bool] | None = None,
) -> tuple[Any, Any, Any]:
    """What is wanted of a convolution: its small image from the large one, or the other way, a weight's gradient.

    Args:
        form: how.
        weight: [small channels, large channels, rows, columns], in any layout.
        small: image [n, c, h, w].
        large: image [n, k, step * h, step * w].
        to_small: whether it is wanted.
        to_large: likewise; not both.
        to_weight: likewise, of both images.
        turned: the weight has its channels the other way round, its rows and columns from the last to the first.
        after: what follows the small image: a bias by channel, an image that is added, a ReLU.

    Returns:
        Those three, None for what is not wanted.
    """
    dense = weight.is_contiguous() or weight.is_contiguous(memory_format=torch.channels_last)
    if not dense and torch.empty_like(weight).stride() != weight.stride():
        weight = weight.contiguous()
    images = [None if t is None else t.contiguous(memory_format=torch.channels_last) for t in (small, large)]
    dims = (1, 0, 2, 3) if turned else (0, 1, 2, 3)
    c, k = (weight.shape[d] for d in dims[:2])
    if images[0] is not None:
        n, _, h, w = images[0].shape
    else:
        assert images[1] is not None
        n, _, h, w = images[1].shape
        h, w = h // form.step, w // form.step
    found = (
        _image(n, c, h, w) if to_small else None,
        _image(n, k, h * form.step, w * form.step) if to_large else None,
        torch.empty_like(weight) if to_weight else None,
    )
    grad = found[2]
    strides = [weight.stride(d) for d in dims]
    last = 0
    if turned:
        last = sum(strides[d] * (weight.shape[d] - 1) for d in (2, 3))
        strides[2:] = [-s for s in strides[2:]]
    weights = [None if t is None else t.data_ptr() + 4 * last for t in (weight, grad)]
    pointers = [None if t is None else t.data_ptr() for t in (*images, *found[:2])]
    threads = min(torch.get_num_threads(), n)
    sizes = (h, w, c, k, _at_a_time(form, n, h, w, c, k, threads), threads)
    size, run = functions(form.name)
    work, held = MEMORY.of(4 * size(*sizes, to_weight))
    bias, added, relu = after or (None, None, False)
    behind = [None if t is None else t.data_ptr() for t in (bias, added)]
    run(*pointers, *weights, (ctypes.c_long * 4)(*strides), work, n, *sizes, *behind, relu)
    del held
    return found


def _at_a_time(form: Form, n: int, h: int, w: int, c: int, k: int, threads: int) -> int:
    """How many images: their panels take about half the memory of the filters, which are read time and again."""
    tiles = (h // TILE) * (w // TILE)
    panels = form.points**2 * c + form.products * k
    wanted = max(0.6 * form.filters * c * k / (tiles * panels), TILES / tiles)
    share = -(-n // threads)
    if round(share / wanted) <= 1:
        return share
    # So many images have tiles for whole blocks of rows.
    whole = 1 if tiles >= TILES else ROWS // math.gcd(ROWS, tiles)
    return min(share, max(whole, round(wanted / whole) * whole))


class _Threes(torch.autograd.Function):
    """3x3, padding 1, without bias: image [n, c, h, w], weight as the layer has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        y, _, _ = _run(CONVOLVE, weight, large=x, to_small=True)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled() or not are_plain(grad_outputs[0]):
            return _plainly(grad_outputs[0], x, weight, 1, False, *wanted)
        dx, _, dw = _run(CONVOLVE, weight, x, grad_outputs[0], wanted[0], False, wanted[1], turned=True)
        return dx, dw


class _Transposed(torch.autograd.Function):
    """4x4, stride 2, padding 1, transposed."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        _, y, _ = _run(HALVE, weight, small=x, to_large=True)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled() or not are_plain(grad_outputs[0]):
            return _plainly(grad_outputs[0], x, weight, 2, True, *wanted)
        dx, _, dw = _run(HALVE, weight, x, grad_outputs[0], wanted[0], False, wanted[1])
        return dx, dw


def _of_taps(weight: Tensor) -> Form:
    return HALVE if weight.shape[2] == HALVE.taps else HALVE_BY_THREE


class _Strided(torch.autograd.Function):
    """4x4 or 3x3, stride 2, padding 1: forwards what the transposed one does backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        y, _, _ = _run(_of_taps(weight), weight, large=x, to_small=True)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        if torch.is_grad_enabled() or not are_plain(grad_outputs[0]):
            return _plainly(grad_outputs[0], x, weight, 2, False, *wanted)
        _, dx, dw = _run(_of_taps(weight), weight, grad_outputs[0], x, False, wanted[0], wanted[1])
        return dx, dw


def _plainly(
    dy: Tensor, x: Tensor, weight: Tensor, stride: int, transposed: bool, for_x: bool, for_weight: bool
) -> tuple[Tensor | None, Tensor | None]:
    """Both gradients by torch, which can be differentiated again: a penalty of a gradient's norm wants that."""
    mask = [for_x, for_weight, False]
    dx, dw, _ = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [stride] * 2, [1, 1], [1, 1], transposed, [0, 0], 1, mask
    )
    return dx, dw


def _fits(layer: nn.Conv2d | nn.ConvTranspose2d, x: Tensor, multiple: int = TILE) -> bool:
    return fits_layer(layer, x) and not any(side % multiple for side in x.shape[-2:])


# Arguments have the names that torch's have.
def _convolve(layer: nn.Conv2d, input: Tensor) -> Tensor:
    if not _fits(layer, input):
        return nn.Conv2d.forward(layer, input)
    y: Any = _Threes.apply(input, layer.weight)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def _upsample(layer: nn.ConvTranspose2d, input: Tensor, output_size: list[int] | None = None) -> Tensor:
    if output_size is not None or not _fits(layer, input):
        return nn.ConvTranspose2d.forward(layer, input, output_size)
    y: Any = _Transposed.apply(input, layer.weight)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def _stride(layer: nn.Conv2d, earlier: Callable[[Tensor], Tensor], input: Tensor) -> Tensor:
    if not _fits(layer, input, 2 * TILE):
        return earlier(input)
    y: Any = _Strided.apply(input, layer.weight)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def convolve_and(
    layer: nn.Conv2d, x: Tensor, bias: Tensor, added: Tensor | None, relu: bool
) -> Tensor | None:
    """A convolution and at once what follows it where nothing is differentiated: act(layer(x) + bias + added).

    Args:
        layer: without a bias of its own.
        x: [n, k, h, w].
        bias: c values.
        added: [n, c, i, j], or nothing.
        relu: whether what is below zero is zero.

    Returns:
        [n, c, i, j]; None where `replace_convolutions` does not have the layer computed here, not of such tensors, or
        where something is differentiated.
    """
    way = layer.forward.func if isinstance(layer.forward, functools.partial) else None
    if way not in (_convolve, _stride) or not _fits(layer, x, TILE if way is _convolve else 2 * TILE):
        return None
    given = (x, layer.weight, bias, added)
    if not are_plain(bias, added):
        return None
    if torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given):
        return None
    out = layer.out_channels
    if layer.bias is not None or bias.numel() != out or not bias.is_contiguous():
        return None
    step = layer.stride[0]
    if added is not None and added.shape != (len(x), out, x.shape[2] // step, x.shape[3] // step):
        return None
    form = CONVOLVE if way is _convolve else _of_taps(layer.weight)
    if added is not None:
        added = added.contiguous(memory_format=torch.channels_last)
    return _run(form, layer.weight, large=x, to_small=True, after=(bias, added, relu))[0]


def _plan(layer: nn.Module) -> Callable[..., Tensor] | None:
    """How a layer is computed here; None leaves it as it is."""
    if not isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        return None
    shape = (layer.kernel_size, layer.stride, layer.padding)
    usual = layer.groups == 1 and layer.padding_mode == "zeros" and not any(layer.output_padding)
    usual = usual and layer.dilation == (1, 1)
    if not usual or layer.in_channels % LANES or layer.out_channels % LANES:
        return plan_few(layer)
    if type(layer) is nn.Conv2d and shape == ((3, 3), (1, 1), (1, 1)):
        return functools.partial(_convolve, layer)
    if type(layer) is nn.Conv2d and shape in (((3, 3), (2, 2), (1, 1)), ((4, 4), (2, 2), (1, 1))):
        earlier: Any = layer.forward
        of = earlier.args[:1] if isinstance(earlier, functools.partial) else ()
        if of and isinstance(of[0], nn.Module) and of[0] is not layer:
            # A shallow copy, which still has what the other is computed by.
            earlier = functools.partial(nn.Conv2d.forward, layer)
        elif of and earlier.func is _stride:
            # Replaced once more, it has what it had before as its way out.
            return earlier
        return functools.partial(_stride, layer, earlier)
    if type(layer) is nn.ConvTranspose2d and shape == ((4, 4), (2, 2), (1, 1)):
        return functools.partial(_upsample, layer)
    return None


def replace_convolutions(module: nn.Module) -> int:
    """Have those layers of a module that can be computed this way computed so; its parameters stay as they are.

    A layer decides at each call: an image whose sides are no multiples of four (of eight, at stride 2), of another
    type or on another device, takes the plain way; a convolution of stride 2 the way that it has now, so that
    `bench.direct` is to come first. Those between an image's few channels and features are replaced only where it has
    come first, and fall back on it.

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
