"""Single layers with fewer products beside torch's: `python -m bench.perf.layers [ROUNDS]`.

In each round both ways take a forward pass, each gradient alone and both, in turn; the lower quartile of the rounds,
in seconds of the thread, is what is compared.
"""

import copy
import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from bench.memory import keep_freed_memory
from bench.winograd import replace_convolutions

BATCH = 128
# Layer and the side of its input: those of the paper's networks at 32x32.
LAYERS: list[tuple[nn.Conv2d | nn.ConvTranspose2d, int]] = [
    (nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False), 4),
    (nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), 8),
    (nn.Conv2d(64, 64, 3, 1, 1, bias=False), 8),
    (nn.Conv2d(128, 128, 3, 1, 1, bias=False), 4),
    (nn.Conv2d(64, 128, 4, 2, 1, bias=False), 16),
    (nn.Conv2d(128, 256, 4, 2, 1, bias=False), 8),
]
PARTS = ("forward", "dx", "dw", "both")


def _seconds(call: Callable[[], object]) -> float:
    begun = time.thread_time()
    call()
    return time.thread_time() - begun


def measure(layer: nn.Module, image: Tensor) -> list[float]:
    """Seconds of a forward pass, of the gradient by the image alone, by the weight alone, and of both."""
    weight = next(layer.parameters())
    # Which gradients are computed is decided in the forward pass.
    seconds = [0.0]
    for for_image, for_weight in ((True, False), (False, True), (True, True)):
        weight.requires_grad_(for_weight)
        inputs = [t for t, wanted in ((image, for_image), (weight, for_weight)) if wanted]
        given = image if for_image else image.detach()
        begun = time.thread_time()
        y = layer(given)
        seconds[0] = time.thread_time() - begun
        pull = torch.ones_like(y)
        seconds.append(_seconds(lambda y=y, inputs=inputs, pull=pull: torch.autograd.grad(y, inputs, pull)))
    return seconds


def main(rounds: int) -> None:
    """Print a table of milliseconds, plain and fast, and of the ratio of forward and both gradients."""
    torch.set_num_threads(1)
    keep_freed_memory()
    print("| layer, side | " + " | ".join(f"{part}, ms" for part in PARTS) + " | plain / fast |")
    print("|" + ":---|" * (len(PARTS) + 2))
    for layer, side in LAYERS:
        plain = nn.Sequential(layer).to(memory_format=torch.channels_last)
        fast = copy.deepcopy(plain)
        replace_convolutions(fast)
        image = torch.randn(BATCH, layer.in_channels, side, side).to(memory_format=torch.channels_last)
        taken = [(measure(plain, image.requires_grad_()), measure(fast, image)) for _ in range(rounds + 1)]
        low = [
            [
                statistics.quantiles([1e3 * pair[way][part] for pair in taken[1:]])[0]
                for part in range(len(PARTS))
            ]
            for way in (0, 1)
        ]
        cells = [f"{a:.1f} → {b:.1f}" for a, b in zip(*low, strict=True)]
        ratio = (low[0][0] + low[0][3]) / (low[1][0] + low[1][3])
        kind = "transposed " if isinstance(layer, nn.ConvTranspose2d) else ""
        name = (
            f"{kind}{layer.kernel_size[0]}x{layer.kernel_size[1]}, {layer.in_channels}→{layer.out_channels}"
        )
        print(f"| {name}, {side} | " + " | ".join(cells) + f" | {ratio:.2f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 11)
