"""Single layers as C of our own computes them, beside torch's: `python -m bench.perf.layers`.

In each round both ways take a forward pass, each gradient alone and both, in turn; the lower quartile of the rounds
is what is compared, in seconds of the thread, or on the wall where there are several threads. With several, ours are
taken once more by threads of their own in place of torch's.
"""

import argparse
import copy
import ctypes
import statistics
import time
from collections.abc import Callable

import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from bench import channels, products, tiles
from bench.direct import replace_direct
from bench.fused_norm import fuse_norms
from bench.memory import keep_freed_memory
from bench.winograd import replace_convolutions

BATCH = 128
PARTS = ("forward", "dx", "dw", "all")


def _block(width: int) -> nn.Module:
    """What is left of a block without its convolutions: two norms, two activations, a sum."""
    block = BasicBlock(width, width)
    block.conv1 = block.conv2 = nn.Identity()
    return block


# Switch -> layers of the paper's networks at 32x32, channels and side of their input.
LAYERS: dict[str, dict[str, tuple[nn.Module, int, int]]] = {
    "winograd": {
        "transposed 4x4, 256→128": (nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False), 256, 4),
        "transposed 4x4, 128→64": (nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), 128, 8),
        "3x3, 64→64": (nn.Conv2d(64, 64, 3, 1, 1, bias=False), 64, 8),
        "3x3, 128→128": (nn.Conv2d(128, 128, 3, 1, 1, bias=False), 128, 4),
        "4x4 of stride 2, 64→128": (nn.Conv2d(64, 128, 4, 2, 1, bias=False), 64, 16),
        "4x4 of stride 2, 128→256": (nn.Conv2d(128, 256, 4, 2, 1, bias=False), 128, 8),
    },
    "direct": {
        "7x7 of stride 2, 3→64": (nn.Conv2d(3, 64, 7, 2, 3, bias=False), 3, 32),
        "transposed 4x4, 64→3": (nn.ConvTranspose2d(64, 3, 4, 2, 1, bias=False), 64, 16),
        "4x4 of stride 2, 3→64": (nn.Conv2d(3, 64, 4, 2, 1, bias=False), 3, 32),
        "3x3 of stride 2, 64→128": (nn.Conv2d(64, 128, 3, 2, 1, bias=False), 64, 8),
        "3x3 of stride 2, 128→256": (nn.Conv2d(128, 256, 3, 2, 1, bias=False), 128, 4),
        "1x1 of stride 2, 64→128": (nn.Conv2d(64, 128, 1, 2, bias=False), 64, 8),
        "transposed 1x1, 128→256": (nn.ConvTranspose2d(128, 256, 1, bias=False), 128, 4),
        "transposed 4x4, 128→256": (nn.ConvTranspose2d(128, 256, 4, 1, 0, bias=False), 128, 1),
    },
    "fused_norm": {
        "BN, ReLU and max-pool, 64": (
            nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)),
            64,
            16,
        ),
        "BN and leaky ReLU, 64": (nn.Sequential(nn.BatchNorm2d(64), nn.LeakyReLU(0.2, inplace=True)), 64, 16),
        "BN and leaky ReLU, 128": (
            nn.Sequential(nn.BatchNorm2d(128), nn.LeakyReLU(0.2, inplace=True)),
            128,
            8,
        ),
        "BN and leaky ReLU, 256": (
            nn.Sequential(nn.BatchNorm2d(256), nn.LeakyReLU(0.2, inplace=True)),
            256,
            4,
        ),
        "a block's norms and sum, 64": (_block(64), 64, 8),
        "a block's norms and sum, 256": (_block(256), 256, 2),
        "BN, 128": (nn.BatchNorm2d(128), 128, 4),
    },
}
REPLACE: dict[str, Callable[[nn.Module], int]] = {
    "winograd": replace_convolutions,
    "direct": replace_direct,
    "fused_norm": fuse_norms,
}


def measure(layer: nn.Module, image: Tensor, clock: Callable[[], float] = time.thread_time) -> list[float]:
    """Seconds of a forward pass, of the gradient by the image alone, by the weights alone, and of all of them."""
    weights = list(layer.parameters())
    # Which gradients are computed is decided in the forward pass.
    seconds = [0.0]
    for for_image, for_weight in ((True, False), (False, True), (True, True)):
        for weight in weights:
            weight.requires_grad_(for_weight)
        inputs = [image] * for_image + weights * for_weight
        # An activation may write where it reads.
        given = image if for_image else image.detach()
        begun = clock()
        y = layer(given)
        seconds[0] = clock() - begun
        pull = torch.ones_like(y)
        begun = clock()
        torch.autograd.grad(y, inputs, pull)
        seconds.append(clock() - begun)
    return seconds


def take_team(wanted: bool) -> None:
    """Have torch's threads take the jobs of our C, as they do where they can, or threads of their own; see team.c."""
    for source in (channels, products, tiles):
        ctypes.c_int.in_dll(source.library(), "of_team").value = int(wanted)


def compare(switch: str, layer: nn.Module, image: Tensor, rounds: int, threads: int) -> list[list[float]]:
    """Milliseconds of each part: torch's, ours, and with several threads ours on threads of their own.

    Args:
        switch: of `REPLACE`.
        layer: as torch has it; it is copied.
        image: [batch, channels, side, side].
        rounds: in each of which every way takes one turn, after one that is not counted.
        threads: of torch.
    """
    plain = nn.Sequential(copy.deepcopy(layer)).train().to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    if not REPLACE[switch](fast):
        raise ValueError(f"{layer} is none of those that {switch} replaces")
    torch.set_num_threads(threads)
    clock = time.thread_time if threads == 1 else time.perf_counter
    ways = [(plain, True), (fast, True), (fast, False)][: 2 if threads == 1 else 3]
    image = image.to(memory_format=torch.channels_last).requires_grad_()
    taken: list[list[list[float]]] = []
    for _ in range(rounds + 1):
        taken.append([])
        for net, team in ways:
            take_team(team)
            taken[-1].append(measure(net, image, clock))
    take_team(True)
    return [
        [statistics.quantiles([1e3 * turn[way][part] for turn in taken[1:]])[0] for part in range(len(PARTS))]
        for way in range(len(ways))
    ]


def main() -> None:
    """Print tables of milliseconds and ratios, one a switch."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf.layers", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=11, help="at least 2 (default: 11)")
    parser.add_argument("--switch", choices=tuple(LAYERS), help="that one alone")
    parser.add_argument("--threads", type=int, default=1)
    wanted = parser.parse_args()
    if wanted.rounds < 2 or wanted.threads < 1:
        parser.error("rounds must be 2 or more, and threads 1 or more")
    keep_freed_memory()
    for switch in [wanted.switch] if wanted.switch else LAYERS:
        columns = [*(f"{part}, torch / `{switch}`" for part in PARTS), "all, ms"]
        columns += ["own threads / torch's"] * (wanted.threads > 1)
        print("| " + " | ".join(["layer, side of its input", *columns]) + " |")
        print("|:---|" + "---:|" * len(columns))
        for name, (layer, channel, side) in LAYERS[switch].items():
            image = torch.randn(BATCH, channel, side, side)
            plain, fast, *own = compare(switch, layer, image, wanted.rounds, wanted.threads)
            # "all" is a forward pass and the gradients that follow it.
            whole = [ms[0] + ms[3] for ms in (plain, fast, *own)]
            cells = [f"{a / b:.2f}" for a, b in zip(plain[:3], fast[:3], strict=True)]
            cells += [f"{whole[0] / whole[1]:.2f}", f"{whole[0]:.1f} → {whole[1]:.1f}"]
            cells += [f"{ms / whole[1]:.2f}" for ms in whole[2:]]
            print(f"| {name}, {side} | " + " | ".join(cells) + " |", flush=True)
        print()


if __name__ == "__main__":
    main()
