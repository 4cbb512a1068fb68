"""3x3 convolutions and 4x4 ones of stride 2, transposed too, with fewer products, in fp32 on a processor.

Winograd's minimal filtering: a tile of m outputs of an r-tap filter takes m + r - 1 products a dimension in place of
m * r (Lavin and Gray, arXiv 1509.09308). F(4, 3) takes 36 products where a 3x3 convolution takes 144; a transposed
convolution of stride 2 is four convolutions of 2x2 taps, one for each parity of its output, and F(4, 2) takes 25
products where each takes 64. Both gradients take the same path backwards; that of a transposed convolution by its
input is a convolution of stride 2, which is so computed.

Tiles are transformed, multiplied and transformed back a few images at a time in memory that stays in a processor's
cache (`bench.tiles`, in C). It is compiled once a machine; without a compiler the plain convolutions stay.
"""

import ctypes
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.minimal_filters import LANES, TILE
from bench.tiles import library

# Bytes of the panels in between that a thread has in use: it takes so many images at a time that they stay in its
# cache, whose speed their products would else wait for; but enough tiles for a filter that is read to be of use.
CACHED, TILES = 2 << 20, 96


@dataclass(frozen=True)
class Form:
    """A convolution as products of the transforms of tiles and filters.

    Attributes:
        name: in C.
        products: of a tile.
        parts: into how many convolutions of fewer taps it falls.
        step: from an output of a part to the next.
        order: a weight's dimensions as rows, columns, channels in, channels out.
    """

    name: str
    products: int
    parts: int
    step: int
    order: tuple[int, int, int, int]

    def panels(self, weight: Tensor, backwards: bool = False) -> Float[Tensor, "products out/16 in 16"]:
        """The filters' transforms, part by part, in panels of output channels; of input channels for the way back."""
        rows, cols, into, out = self.order
        if backwards:
            into, out = out, into
        k = weight.shape[out]
        taps = weight.unflatten(out, (k // LANES, LANES))
        # Dimensions behind the one that was split have moved by one.
        at = [d + (d > out) for d in (rows, cols, into)]
        taps = taps.permute(at[0], at[1], out, at[2], out + 1)
        products = _empty(self.products * self.parts, *taps.shape[2:])
        self._map("filters", taps.contiguous(), products, products[0].numel())
        return products

    def weight_grad(self, grad: Float[Tensor, "products in out"], weight: Tensor) -> Tensor:
        """The gradient of a weight from that of its transforms."""
        taps = _empty(*(weight.shape[d] for d in self.order))
        self._map("taps_of", grad, taps, grad[0].numel())
        return taps.permute([self.order.index(d) for d in range(4)])

    def _map(self, word: str, of: Tensor, to: Tensor, filters: int) -> None:
        pointers = [ctypes.c_void_p(t.data_ptr()) for t in (of, to)]
        getattr(library(), f"{word}_{self.name}")(*pointers, ctypes.c_long(filters))


CONVOLVE = Form("three", 36, 1, 1, (2, 3, 1, 0))
UPSAMPLE = Form("two", 25, 4, 2, (2, 3, 0, 1))


def _image(n: int, c: int, h: int, w: int) -> Tensor:
    return _empty(n, h, w, c).permute(0, 3, 1, 2)


def _empty(*shape: int) -> Tensor:
    return torch.empty(shape, dtype=torch.float32, device="cpu")


def _call(word: str, form: Form, tensors: Sequence[Tensor | None], x: Tensor, k: int) -> None:
    """Call C with tensors, working memory and sizes."""
    n, c, h, w = x.shape
    threads = _threads(x)
    tiles = (h // TILE) * (w // TILE)
    wanted = max(CACHED // (4 * form.products * tiles * (c + k)), -(-TILES // tiles))
    share = -(-n // threads)
    # As even as they come.
    count = -(-share // max(1, round(share / wanted)))
    sizes = (h, w, c, k, count)
    size = getattr(library(), f"work_{form.name}")
    size.restype = ctypes.c_long
    work = _empty(threads * size(*map(ctypes.c_long, sizes)))
    pointers = [ctypes.c_void_p(None if t is None else t.data_ptr()) for t in (*tensors, work)]
    numbers = [ctypes.c_long(number) for number in (n, *sizes, threads)]
    getattr(library(), f"{word}_{form.name}")(*pointers, *numbers)


def _products(form: Form, x: Tensor, k: int) -> Float[Tensor, "threads products in out"]:
    return _empty(_threads(x), form.products * form.parts, x.shape[1], k)


def _summed(parts: Float[Tensor, "threads products in out"]) -> Float[Tensor, "products in out"]:
    return parts.sum(0) if len(parts) > 1 else parts[0]


def _threads(x: Tensor) -> int:
    return min(torch.get_num_threads(), len(x))


class _Products(torch.autograd.Function):
    """A convolution without bias: image [n, c, h, w], weight as the layer has it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, form: Form) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, _, h, w = x.shape
        k = weight.shape[form.order[3]]
        y = _image(n, k, h * form.step, w * form.step)
        _call("forward", form, (x, form.panels(weight), y), x, k)
        ctx.save_for_backward(x, weight)
        ctx.form = form
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        form: Form = ctx.form
        x, weight = ctx.saved_tensors
        for_x, for_weight = ctx.needs_input_grad[:2]
        if torch.is_grad_enabled():
            transposed = form is UPSAMPLE
            return *_plainly(grad_outputs[0], x, weight, form.step, transposed, for_x, for_weight), None
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        k = weight.shape[form.order[3]]
        filters = form.panels(weight, backwards=True) if for_x else None
        dx = _image(*x.shape) if for_x else None
        du = _products(form, x, k) if for_weight else None
        _call("backward", form, (x, filters, dy, dx, du), x, k)
        return dx, None if du is None else form.weight_grad(_summed(du), weight), None


class _Strided(torch.autograd.Function):
    """4x4, stride 2, padding 1: what the gradient of the transposed convolution does, so forwards is backwards."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        n, c, h, w = x.shape
        y = _image(n, weight.shape[0], h // 2, w // 2)
        _call("backward", UPSAMPLE, (None, UPSAMPLE.panels(weight, backwards=True), x, y, None), y, c)
        ctx.save_for_backward(x, weight)
        return y

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Any:
        x, weight = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _plainly(grad_outputs[0], x, weight, 2, False, *ctx.needs_input_grad)
        dy = grad_outputs[0].contiguous(memory_format=torch.channels_last)
        c = x.shape[1]
        dx = dw = None
        if ctx.needs_input_grad[0]:
            dx = _image(*x.shape)
            _call("forward", UPSAMPLE, (dy, UPSAMPLE.panels(weight), dx), dy, c)
        if ctx.needs_input_grad[1]:
            du = _products(UPSAMPLE, dy, c)
            _call("backward", UPSAMPLE, (dy, None, x, None, du), dy, c)
            dw = UPSAMPLE.weight_grad(_summed(du), weight)
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
    if torch.is_autocast_enabled("cpu") or x.dim() != 4 or not len(x):
        return False
    plain = any(t.dtype != torch.float32 or t.device.type != "cpu" for t in (x, layer.weight))
    return not plain and not any(side % multiple for side in x.shape[-2:])


def _convolve(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if not _fits(layer, x):
        return nn.Conv2d.forward(layer, x)
    y: Any = _Products.apply(x, layer.weight, CONVOLVE)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def _upsample(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    if not _fits(layer, x):
        return nn.ConvTranspose2d.forward(layer, x)
    y: Any = _Products.apply(x, layer.weight, UPSAMPLE)
    return y if layer.bias is None else y + layer.bias.view(-1, 1, 1)


def _stride(layer: nn.Conv2d, x: Tensor) -> Tensor:
    if not _fits(layer, x, 2 * TILE):
        return nn.Conv2d.forward(layer, x)
    y: Any = _Strided.apply(x, layer.weight)
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
    # One of 3x3 taps is one of 4x4 too, with zeros; that was measured, and gained nothing.
    if type(layer) is nn.Conv2d and shape == ((4, 4), (2, 2), (1, 1), (1, 1)):
        return functools.partial(_stride, layer)
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
