"""3x3 convolutions of small feature maps with two to four times fewer multiplications (Winograd's, by Toom and Cook).

A convolution is bilinear: y = Z (X x * W w), with matrices X, W, Z that depend on the map's size alone and a product
entry by entry, which over channels becomes one matrix product an entry. With X, W, Z from the values of polynomials
at r points, four outputs of a row need r = 6 products in place of 12, and 4 x 4 outputs of a map 36 in place of 144
(Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, https://arxiv.org/abs/1509.09308).

Maps lie positions first, [height * width, batch, channels], in which X, Z and their transposes are matrix products
over rows of memory, and a batch's channels are at each position one matrix. In fp32 the points 0, +-sqrt(1/2),
+-sqrt(2) and infinity leave an error of 1e-6 of the outputs' scale, a few times that of a direct convolution.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Matrix = np.ndarray

# Points besides infinity, by how many there are.
POINTS: dict[int, tuple[float, ...]] = {
    1: (0.0,),
    2: (0.0, 1.0),
    3: (0.0, 1.0, -1.0),
    4: (0.0, 1.0, -1.0, 2.0),
    5: (0.0, math.sqrt(0.5), -math.sqrt(0.5), math.sqrt(2), -math.sqrt(2)),
}
TILE = 4


def toom_cook(outputs: int, taps: int) -> tuple[Matrix, Matrix, Matrix]:
    """Matrices of y_i = sum over k of w_k x_{i+k}, i < outputs: y = Z (X x * W w).

    Returns:
        X [r, outputs + taps - 1], W [r, taps], Z [outputs, r], with r = outputs + taps - 1.
    """
    size = outputs + taps - 1
    if taps == 1:
        return np.eye(size), np.ones((size, 1)), np.eye(size)
    if outputs == 1:
        return np.eye(size), np.eye(size), np.ones((1, size))

    def values(length: int) -> Matrix:
        rows = [[point**power for power in range(length)] for point in POINTS[size - 1]]
        return np.array([*rows, [0.0] * (length - 1) + [1.0]])

    into, weight, out = np.linalg.inv(values(size)).T, values(taps), values(outputs).T
    # A row of X may be scaled if that of W is scaled back: alike, they lose the fewest digits.
    scale = np.sqrt(np.abs(into).sum(1) / np.abs(weight).sum(1))[:, None]
    return into / scale, weight * scale, out


@functools.cache
def row_plan(length: int, stride: int) -> tuple[Matrix, Matrix, Matrix]:
    """Matrices of a row of `length` entries convolved with 3 taps, padded by 1: [r, length], [r, 3], [out, r]."""
    outputs = (length - 1) // stride + 1
    parts = []
    for begin in range(0, outputs, TILE):
        count = min(TILE, outputs - begin)
        # With stride 2 the middle tap reads the even entries, the other two the odd ones.
        phases = [(0, 1, 2)] if stride == 1 else [(1,), (0, 2)]
        for taps in phases:
            into, weight, out = toom_cook(count, len(taps))
            reads = np.zeros((into.shape[1], length))
            for j in range(into.shape[1]):
                place = (begin + j) * stride + taps[0] - 1
                if 0 <= place < length:
                    reads[j, place] = 1
            spread = np.zeros((len(taps), 3))
            spread[range(len(taps)), taps] = 1
            writes = np.zeros((outputs, count))
            writes[begin : begin + count] = np.eye(count)
            parts.append((into @ reads, weight @ spread, writes @ out))
    return (
        np.concatenate([p[0] for p in parts]),
        np.concatenate([p[1] for p in parts]),
        np.concatenate([p[2] for p in parts], 1),
    )


@dataclass(frozen=True)
class Plan:
    """A 3x3 convolution with padding 1 of maps of one size, as matrices along each side.

    Attributes:
        height: of the maps.
        width: of the maps.
        stride: 1 or 2, of both sides.
    """

    height: int
    width: int
    stride: int = 1

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        return (self.height - 1) // self.stride + 1, (self.width - 1) // self.stride + 1

    @property
    def products(self) -> int:
        """Multiplications for one pair of channels; a direct convolution has nine an output."""
        return row_plan(self.height, self.stride)[1].shape[0] * row_plan(self.width, self.stride)[1].shape[0]

    def matrices(self, like: Tensor) -> "_Matrices":
        """In the precision and on the device of a tensor."""
        return _matrices(self, like.dtype, like.device)


@dataclass(frozen=True)
class _Matrices:
    rows: tuple[Tensor, Tensor]
    columns: tuple[Tensor, Tensor]
    weight: Tensor


@functools.cache
def _matrices(plan: Plan, dtype: torch.dtype, device: torch.device) -> _Matrices:
    rows, columns = row_plan(plan.height, plan.stride), row_plan(plan.width, plan.stride)

    def tensor(matrix: Matrix) -> Tensor:
        return torch.tensor(matrix, dtype=dtype, device=device)

    return _Matrices(
        (tensor(rows[0]), tensor(rows[2])),
        (tensor(columns[0]), tensor(columns[2])),
        tensor(np.kron(rows[1], columns[1])),
    )


def _both_sides(
    x: Float[Tensor, "p b c"], rows: Float[Tensor, "i h"], columns: Float[Tensor, "j w"]
) -> Float[Tensor, "q b c"]:
    """Map the rows of positions by one matrix and the columns by another: [h * w, ...] to [i * j, ...]."""
    (i, h), (j, w), (_, b, c) = rows.shape, columns.shape, x.shape
    half = (rows @ x.view(h, w * b * c)).view(i, w, b * c)
    return torch.matmul(columns, half).view(i * j, b, c)


def transform_weight(plan: Plan, weight: Float[Tensor, "o c 3 3"]) -> Float[Tensor, "r c o"]:
    """What a batch's transformed maps are multiplied with."""
    out, into = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).reshape(9, into * out)
    return (plan.matrices(weight).weight @ taps).view(-1, into, out)


def convolve(
    plan: Plan, x: Float[Tensor, "p b c"], transformed: Float[Tensor, "r c o"]
) -> Float[Tensor, "q b o"]:
    """`F.conv2d(x, weight, None, plan.stride, 1)` with positions first and weights that `transform_weight` gave."""
    m = plan.matrices(x)
    return _both_sides(
        torch.bmm(_both_sides(x, m.rows[0], m.columns[0]), transformed), m.rows[1], m.columns[1]
    )


def positions_first(x: Float[Tensor, "b c h w"]) -> Float[Tensor, "p b c"]:
    """Maps [batch, channels, height, width] to [height * width, batch, channels], contiguous."""
    b, c, h, w = x.shape
    return x.permute(2, 3, 0, 1).reshape(h * w, b, c).contiguous()


def batch_first(x: Float[Tensor, "p b c"], height: int, width: int) -> Float[Tensor, "b c h w"]:
    """The way back, as a view."""
    _, b, c = x.shape
    return x.view(height, width, b, c).permute(2, 3, 0, 1)
