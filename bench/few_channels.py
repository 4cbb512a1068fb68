"""Convolutions of stride 2 of an image of one to three channels, with fewer products, in fp32 on a processor.

A 7x7 convolution of stride 2 is one of 4x4 taps on pairs of rows and columns, a 4x4 one of 2x2 taps: F(4, 4) takes 49
products of a tile with each of the pairs' channels where it takes 196, F(4, 2) 25 where it takes 64 (see
`bench.winograd`). So it is with the transposed convolution, which makes an image, and with the gradients.
`bench.few_tiles` is the C; `bench.direct` has what stands around it, and takes what cannot be cut into tiles.
"""

import ctypes
import functools
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from bench.direct import LANES, Grid, Sizes, empty, empty_image, run_layer, threads_of
from bench.few_tiles import CHANNELS, PAIRS
from bench.minimal_filters import TILE
from bench.tiles import library

# Taps, stride, padding and whether it is transposed, of those that gain: a 3x3 filter has too few products to lose,
# and an image that a 7x7 one makes has odd sides.
SHAPES = ((4, 2, 1, False), (4, 2, 1, True), (7, 2, 3, False))


def _pairs(sizes: Sizes) -> int:
    """Of a filter's taps, a side."""
    return -(-sizes.t // 2)


@functools.cache
def _points(pairs: int) -> Float[Tensor, "points taps"]:
    """What filters of so many pairs of taps a side are multiplied by, in fp64: G of rows with G of columns."""
    g = torch.tensor([[float(v) for v in row] for row in PAIRS[pairs].matrices[1]], dtype=torch.float64)
    return torch.kron(g, g)


def _lanes(weight: Tensor, sizes: Sizes) -> Float[Tensor, "lanes k points"]:
    """Filters at all points; lanes are the rows of a pair, then its columns, then channels.

    In fp64, whose digits hide in which order so many threads sum.
    """
    k, c, t, _ = weight.shape
    pairs = _pairs(sizes)
    more = 2 * pairs - t
    taps = torch.nn.functional.pad(weight, (0, more, 0, more)).view(k, c, pairs, 2, pairs, 2)
    taps = taps.permute(3, 5, 1, 0, 2, 4).reshape(4 * c, k, pairs * pairs)
    return (taps.double() @ _points(pairs).T).float()


@functools.cache
def _work_of(name: str) -> Any:
    size = getattr(library(), f"few_work_{name}")
    size.restype = ctypes.c_long
    return size


def _call(word: str, one: Tensor, other: Tensor, to: Tensor, sizes: Sizes) -> None:
    n, name = len(one), PAIRS[_pairs(sizes)].name
    own = [ctypes.c_long(v) for v in (sizes.h, sizes.w, sizes.c, sizes.k, sizes.p)]
    threads = threads_of(n)
    work = empty(threads * _work_of(name)(*own))
    pointers = [ctypes.c_void_p(t.data_ptr()) for t in (one, other, to, work)]
    getattr(library(), f"few_{word}_{name}")(*pointers, ctypes.c_long(n), *own, ctypes.c_long(threads))


@dataclass(frozen=True)
class FewerProducts(Grid):
    """The products of a convolution whose image has few channels."""

    def convolve(self, image: Tensor, weight: Tensor, sizes: Sizes) -> Tensor:
        """See `Grid`."""
        if not self._fits(sizes):
            return super().convolve(image, weight, sizes)
        lanes = _lanes(weight, sizes).unflatten(1, (-1, LANES))
        pixels = empty_image(len(image), sizes.k, sizes.oh, sizes.ow)
        _call("convolve", image, lanes.permute(1, 3, 0, 2).contiguous(), pixels, sizes)
        return pixels

    def spread(self, pixels: Tensor, weight: Tensor, sizes: Sizes) -> Tensor:
        """See `Grid`."""
        if not self._fits(sizes):
            return super().spread(pixels, weight, sizes)
        lanes = _lanes(weight, sizes)
        rows = lanes.new_zeros(lanes.shape[2], sizes.k, 2, LANES // 2)
        rows[..., : 2 * sizes.c] = lanes.unflatten(0, (2, -1)).permute(3, 2, 0, 1)
        image = empty_image(len(pixels), sizes.c, sizes.h, sizes.w)
        _call("spread", pixels, rows, image, sizes)
        return image

    def correlate(self, image: Tensor, pixels: Tensor, sizes: Sizes) -> Tensor:
        """See `Grid`."""
        if not self._fits(sizes):
            return super().correlate(image, pixels, sizes)
        pairs, t = _pairs(sizes), sizes.t
        points = _points(pairs)
        grads = empty(threads_of(len(image)), sizes.k // LANES, len(points), 4 * sizes.c, LANES)
        _call("correlate", image, pixels, grads, sizes)
        lanes = (grads.sum(0) if len(grads) > 1 else grads[0]).permute(2, 0, 3, 1).double() @ points
        taps = lanes.reshape(2, 2, sizes.c, sizes.k, pairs, pairs).permute(3, 2, 4, 0, 5, 1)
        return taps.reshape(sizes.k, sizes.c, 2 * pairs, 2 * pairs)[..., :t, :t].float()

    @staticmethod
    def _fits(sizes: Sizes) -> bool:
        return not (sizes.h % (2 * TILE) or sizes.w % (2 * TILE))


def plan_few(layer: nn.Conv2d | nn.ConvTranspose2d) -> Callable[..., Tensor] | None:
    """How a layer is computed with fewer products, if `bench.direct` computes it now; None leaves it as it is."""
    now: Any = layer.forward
    if not isinstance(now, functools.partial) or now.func is not run_layer:
        return None
    grid: Grid = now.args[1]
    pixels, channels = layer.weight.shape[:2]
    shape = (grid.taps, grid.step, grid.border, grid.transposed)
    if shape not in SHAPES or channels > CHANNELS or pixels % LANES:
        return None
    values = {field.name: getattr(grid, field.name) for field in fields(grid)}
    return functools.partial(run_layer, layer, FewerProducts(**values))
