"""Convolutions that have nothing to save by fewer products, as they are, in fp32 on a processor.

The products of 1x1 filters of stride 2, of those as wide as their map, and, on maps that `bench.winograd` and
`bench.few_channels` do not cut into tiles, of 3x3 ones of stride 2, of a 7x7 stem and of 4x4 filters between an image
and features. A few images at a time are given a border and multiplied where they lie (`direct.c`), six pixels by
sixteen channels in registers; nothing is copied once for each tap. Three products make a convolution or a transposed
one with its gradients: image to pixels, pixels to image, and of both to the filters.

It is compiled once a machine; without a compiler the plain convolutions stay.
"""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from bench.plain_tensors import are_plain, fits_layer
from bench.products import library

LANES = 16
# Bytes of images with borders, and of what is made of them, that a thread has in use: a part of its cache.
CACHED = 256 << 10
# Floats of one image that C can count.
LARGEST = 1 << 28

Layer = nn.Conv2d | nn.ConvTranspose2d


class Sizes(ctypes.Structure):
    """`shape` in C."""

    _fields_ = [(name, ctypes.c_long) for name in ("h", "w", "c", "oh", "ow", "k", "t", "s", "p", "count")]


@dataclass(frozen=True)
class Grid:
    """Where the pixels of a convolution look at its image; of a transposed one the pixels are what comes in.

    Attributes:
        taps: rows and columns of a filter.
        step: from a pixel's first tap to the next one's.
        border: zeros around the image.
        transposed: whether pixels become an image.
    """

    taps: int
    step: int
    border: int
    transposed: bool

    def sizes(self, x: Tensor, weight: Float[Tensor, "pixel_channels image_channels t t"]) -> Sizes:
        """Of a layer's input and weight."""
        k, c = weight.shape[:2]
        n, _, high, wide = x.shape
        t, s, p = self.taps, self.step, self.border
        if self.transposed:
            h, w = ((side - 1) * s - 2 * p + t for side in (high, wide))
            oh, ow = high, wide
        else:
            h, w = high, wide
            oh, ow = ((side + 2 * p - t) // s + 1 for side in (h, w))
        one = (h + 2 * p) * (w + 2 * p) * c + oh * ow * max(k, t * t * c)
        share = -(-n // threads_of(n))
        return Sizes(h, w, c, oh, ow, k, t, s, p, max(1, min(share, CACHED // (4 * max(1, one)))))

    def convolve(self, image: Tensor, weight: Tensor, sizes: Sizes) -> Tensor:
        """Image to pixels."""
        panels = weight.unflatten(0, (sizes.k // LANES, LANES)).permute(0, 3, 4, 2, 1).contiguous()
        pixels = empty_image(len(image), sizes.k, sizes.oh, sizes.ow)
        _call("convolve", image, panels, pixels, len(image), sizes)
        return pixels

    def spread(self, pixels: Tensor, weight: Tensor, sizes: Sizes) -> Tensor:
        """Pixels to image: the sum of what each pixel adds around it."""
        rows = weight.permute(0, 2, 3, 1).reshape(sizes.k, -1)
        wide = -(-rows.shape[1] // LANES)
        rows = F.pad(rows, (0, wide * LANES - rows.shape[1]))
        panels = rows.view(sizes.k, wide, LANES).transpose(0, 1).contiguous()
        image = empty_image(len(pixels), sizes.c, sizes.h, sizes.w)
        _call("spread", pixels, panels, image, len(pixels), sizes)
        return image

    def correlate(self, image: Tensor, pixels: Tensor, sizes: Sizes) -> Tensor:
        """Of both to the filters' gradient, in the shape of the weight."""
        grads = empty(threads_of(len(image)), sizes.t, sizes.t, sizes.c, sizes.k)
        _call("correlate", image, pixels, grads, len(image), sizes)
        return (grads.sum(0) if len(grads) > 1 else grads[0]).permute(3, 2, 0, 1)


def threads_of(n: int) -> int:
    """How many threads share so many images."""
    return min(torch.get_num_threads(), n)


def empty(*shape: int) -> Tensor:
    """A tensor for C to write to, whatever torch's defaults are."""
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def empty_image(n: int, c: int, h: int, w: int) -> Tensor:
    """The same of images, in channels_last."""
    # Not a view, which what comes next could not be written into.
    return torch.empty((n, c, h, w), dtype=torch.float32, device="cpu", memory_format=torch.channels_last)


def _call(word: str, one: Tensor, other: Tensor, to: Tensor, n: int, sizes: Sizes) -> None:
    threads, shape = threads_of(n), ctypes.byref(sizes)
    work = empty(threads * library().work_direct(shape))
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (one, other, to, work)]
    getattr(library(), f"{word}_direct")(*pointers, ctypes.c_long(n), shape, ctypes.c_long(threads))


class _Direct(torch.autograd.Function):
    """A convolution without bias, transposed or not: image [n, c, h, w], weight as the layer has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, grid: Grid) -> Tensor:
        laid = x.contiguous(memory_format=torch.channels_last)
        # A copy has no graph behind it: the image itself, where it may be differentiated by.
        ctx.save_for_backward(x if ctx.needs_input_grad[0] else laid, weight)
        ctx.grid = grid
        return (grid.spread if grid.transposed else grid.convolve)(laid, weight, grid.sizes(laid, weight))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        grid: Grid = ctx.grid
        x, weight = ctx.saved_tensors
        for_x, for_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled() or not are_plain(grad_outputs[0]):
            # By torch, which can be differentiated again.
            strides, borders, transposed = [grid.step] * 2, [grid.border] * 2, grid.transposed
            dx, dw, _ = torch.ops.aten.convolution_backward(
                grad_outputs[0], x, weight, None, strides, borders, [1, 1], transposed, [0, 0], 1,
                [for_x, for_weight, False],
            )  # fmt: skip
            return dx, dw, None
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        sizes = grid.sizes(x, weight)
        dx = dw = None
        if for_x:
            dx = (grid.convolve if grid.transposed else grid.spread)(dy, weight, sizes)
        if for_weight:
            x = x.contiguous(memory_format=torch.channels_last)
            image, pixels = (dy, x) if grid.transposed else (x, dy)
            # As the weight lies: fused optimisers go by memory and look at no strides.
            dw = torch.empty_like(weight).copy_(grid.correlate(image, pixels, sizes))
        return dx, dw, None


def _fits(layer: Layer, x: Tensor, grid: Grid) -> bool:
    return fits_layer(layer, x) and _counts(grid.sizes(x, layer.weight))


def _counts(sizes: Sizes) -> bool:
    # An image that a filter does not fit into is refused by torch.
    if min(sizes.h, sizes.w, sizes.oh, sizes.ow) < 1:
        return False
    return (sizes.h + 2 * sizes.p) * (sizes.w + 2 * sizes.p) * sizes.c < LARGEST


# Arguments have the names that torch's have.
def run_layer(layer: Layer, grid: Grid, input: Tensor, *asked: Any, **named: Any) -> Tensor:
    """A layer's output; of a transposed one a size may be asked for, which torch gives."""
    if asked or named or not _fits(layer, input, grid):
        plain: Any = type(layer).forward
        return plain(layer, input, *asked, **named)
    y: Any = _Direct.apply(input, layer.weight, grid)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def with_weight(layer: nn.Conv2d, x: Tensor, weight: Tensor) -> Tensor:
    """What a layer without bias makes with a weight for fewer channels of its image, computed as the layer is.

    Args:
        layer: replaced or not, of one group, which pads with zeros.
        x: [b, c, h, w].
        weight: [out_channels, c, taps, taps].
    """
    plan = layer.__dict__.get("forward")
    if isinstance(plan, functools.partial) and plan.func is run_layer:
        grid = plan.args[1]
        fits = are_plain(x, weight) and x.dim() == 4 and x.shape[1] == weight.shape[1] and x.numel() > 0
        if fits and _counts(grid.sizes(x, weight)):
            y: Any = _Direct.apply(x, weight, grid)
            return y
    return F.conv2d(x, weight, None, layer.stride, layer.padding, layer.dilation)  # pyright: ignore[reportArgumentType]


def _plan(layer: nn.Module) -> Callable[..., Tensor] | None:
    """How a layer is computed here; None leaves it as it is."""
    if type(layer) not in (nn.Conv2d, nn.ConvTranspose2d) or not isinstance(layer, Layer):
        return None
    transposed = type(layer) is nn.ConvTranspose2d
    even = all(
        isinstance(pair, tuple) and pair[0] == pair[1]
        for pair in (layer.kernel_size, layer.stride, layer.padding)
    )
    usual = layer.groups == 1 and layer.padding_mode == "zeros" and not any(layer.output_padding)
    if not even or not usual or layer.dilation != (1, 1):
        return None
    pixels, image = layer.weight.shape[:2]
    taps, step, border = layer.kernel_size[0], layer.stride[0], int(layer.padding[0])
    if pixels % LANES or border >= taps:
        return None
    # Those have products to save, see `bench.winograd`.
    fewer = not image % LANES and (taps, step, border) in ((3, 1, 1), (4, 2, 1))
    if fewer:
        return None
    return functools.partial(run_layer, layer, Grid(taps, step, border, transposed))


def replace_direct(module: nn.Module) -> int:
    """Have those layers of a module that can be computed this way computed so; its parameters stay as they are.

    A layer decides at each call: an image of another type or on another device takes the plain way.

    `bench.winograd` is to come behind it, which has some of them when maps allow it.

    Returns:
        How many layers.

    Raises:
        NoCompiler: the products cannot be compiled here; nothing is changed.
    """
    library()
    planned = [(layer, plan) for layer in module.modules() if (plan := _plan(layer)) is not None]
    for layer, plan in planned:
        layer.forward = plan
    return len(planned)
