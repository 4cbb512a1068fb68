"""What a device can do at most: a large product, and a backbone's convolutions back to back."""

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.backbones import Backbone

# Rows of a product that leaves an accelerator no time to wait for its next call; bytes that no cache holds.
MATMUL = {"cpu": 1024, "cuda": 8192}
COPIED = {"cpu": 1 << 26, "cuda": 1 << 30}


def seconds(run: Callable[[], object], device: torch.device, repeats: int = 5) -> float:
    """Median of a few runs after one to warm up."""
    run()
    taken = []
    for _ in range(repeats):
        begun = clock(device)
        run()
        taken.append(clock(device) - begun)
    return statistics.median(taken)


def clock(device: torch.device, threads: int = 1) -> float:
    """This process's CPU seconds, as others may use the machine; on an accelerator the time when it is done.

    Several threads spend their seconds at once, so what they take is told by the wall's clock.
    """
    if device.type == "cpu":
        return time.process_time() if threads == 1 else time.perf_counter()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


def product(device: torch.device, dtype: torch.dtype = torch.float32) -> tuple[Callable[[], Tensor], int]:
    """A product of two large square matrices, and its FLOP."""
    side = MATMUL.get(device.type, MATMUL["cuda"])
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return lambda: a @ b, 2 * side**3


def matmul_flops(device: torch.device, dtype: torch.dtype = torch.float32) -> float:
    """FLOP/s of a large product."""
    run, flop = product(device, dtype)
    return flop / seconds(run, device)


def copied_bytes_per_second(device: torch.device) -> float:
    """Bytes read and written a second by a copy that no cache holds."""
    count = COPIED.get(device.type, COPIED["cuda"])
    a = torch.zeros(count // 4, device=device)
    b = torch.empty_like(a)
    return 2 * count / seconds(lambda: b.copy_(a), device)


@torch.no_grad()
def convolutions(backbone: Backbone, images: Tensor, stop: int) -> tuple[float, int]:
    """Seconds of the convolutions of the first stages, one after another on ready inputs, and their FLOP."""
    calls: list[tuple[Tensor, nn.Conv2d]] = []

    def remember(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        assert isinstance(module, nn.Conv2d)
        calls.append((inputs[0].clone(memory_format=torch.channels_last), module))

    convs = [module for module in backbone.modules() if isinstance(module, nn.Conv2d)]
    hooks = [conv.register_forward_hook(remember) for conv in convs]
    backbone(images, 0, stop)
    for hook in hooks:
        hook.remove()
    flop = 0

    def run() -> None:
        nonlocal flop
        flop = 0
        for x, conv in calls:
            y = F.conv2d(x, conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
            flop += 2 * y.numel() * conv.weight[0].numel()

    return seconds(run, images.device), flop
