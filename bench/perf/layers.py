"""Single layers as C of our own computes them, beside torch's: `python -m bench.perf.layers`.

In each round every way takes a forward pass, each gradient alone and both, in turn; the lower quartile of the rounds
is what is compared, in seconds of the thread, or on the wall where there are several threads. With several, ours are
taken once more by threads of their own in place of torch's.
"""

import argparse
import contextlib
import copy
import ctypes
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from timm.models.resnet import BasicBlock
from torch import Tensor, nn

from bench import channels, products, tiles
from bench.compiled import NoCompiler
from bench.direct import replace_direct
from bench.fused_norm import fuse_norms
from bench.memory import keep_freed_memory
from bench.winograd import replace_convolutions

BATCH = 128
PARTS = ("forward", "dx", "dw", "both")

Conv, Transposed = partial(nn.Conv2d, bias=False), partial(nn.ConvTranspose2d, bias=False)


class Layer(NamedTuple):
    """A layer of the paper's networks at 32x32.

    Attributes:
        make: the layer as torch has it.
        channels: of its input.
        side: of its input, in pixels.
    """

    make: Callable[[], nn.Module]
    channels: int
    side: int


def _leaky(width: int) -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(width), nn.LeakyReLU(0.2, inplace=True))


def _stem() -> nn.Module:
    return nn.Sequential(nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1))


def _block(width: int) -> nn.Module:
    """What is left of a block without its convolutions: two norms, two activations, a sum."""
    block: Any = BasicBlock(width, width)
    block.conv1 = block.conv2 = nn.Identity()
    return block


# By switch.
LAYERS: dict[str, dict[str, Layer]] = {
    "winograd": {
        "transposed 4x4, 256→128": Layer(partial(Transposed, 256, 128, 4, 2, 1), 256, 4),
        "transposed 4x4, 128→64": Layer(partial(Transposed, 128, 64, 4, 2, 1), 128, 8),
        "3x3, 64→64": Layer(partial(Conv, 64, 64, 3, 1, 1), 64, 8),
        "3x3, 128→128": Layer(partial(Conv, 128, 128, 3, 1, 1), 128, 4),
        "4x4 of stride 2, 64→128": Layer(partial(Conv, 64, 128, 4, 2, 1), 64, 16),
        "4x4 of stride 2, 128→256": Layer(partial(Conv, 128, 256, 4, 2, 1), 128, 8),
        "3x3 of stride 2, 64→128": Layer(partial(Conv, 64, 128, 3, 2, 1), 64, 8),
        "7x7 of stride 2, 3→64": Layer(partial(Conv, 3, 64, 7, 2, 3), 3, 32),
        "transposed 4x4, 64→3": Layer(partial(Transposed, 64, 3, 4, 2, 1), 64, 16),
        "4x4 of stride 2, 3→64": Layer(partial(Conv, 3, 64, 4, 2, 1), 3, 32),
    },
    "direct": {
        # These three where `winograd` is off, too.
        "7x7 of stride 2, 3→64": Layer(partial(Conv, 3, 64, 7, 2, 3), 3, 32),
        "transposed 4x4, 64→3": Layer(partial(Transposed, 64, 3, 4, 2, 1), 64, 16),
        "4x4 of stride 2, 3→64": Layer(partial(Conv, 3, 64, 4, 2, 1), 3, 32),
        # Where `winograd` is off: with both it has them, above.
        "3x3 of stride 2, 64→128": Layer(partial(Conv, 64, 128, 3, 2, 1), 64, 8),
        "3x3 of stride 2, 128→256": Layer(partial(Conv, 128, 256, 3, 2, 1), 128, 4),
        "1x1 of stride 2, 64→128": Layer(partial(Conv, 64, 128, 1, 2), 64, 8),
        "transposed 1x1, 128→256": Layer(partial(Transposed, 128, 256, 1), 128, 4),
        "transposed 4x4, 128→256": Layer(partial(Transposed, 128, 256, 4, 1, 0), 128, 1),
    },
    "fused_norm": {
        "BN, ReLU and max-pool, 64": Layer(_stem, 64, 16),
        "BN and leaky ReLU, 64": Layer(partial(_leaky, 64), 64, 16),
        "BN and leaky ReLU, 128": Layer(partial(_leaky, 128), 128, 8),
        "BN and leaky ReLU, 256": Layer(partial(_leaky, 256), 256, 4),
        "a block's norms and sum, 64": Layer(partial(_block, 64), 64, 8),
        "a block's norms and sum, 256": Layer(partial(_block, 256), 256, 2),
        "BN, 128": Layer(partial(nn.BatchNorm2d, 128), 128, 4),
    },
}


def _with_fewer(module: nn.Module) -> int:
    # Those of an image's channels are what `direct` has, with fewer products.
    replace_direct(module)
    return replace_convolutions(module)


REPLACE: dict[str, Callable[[nn.Module], int]] = {
    "winograd": _with_fewer,
    "direct": replace_direct,
    "fused_norm": fuse_norms,
}


def measure(layer: nn.Module, image: Tensor, clock: Callable[[], float] = time.thread_time) -> list[float]:
    """Seconds of a forward pass, of the gradient by the image alone, by the weights alone, and of both."""
    weights = list(layer.parameters())
    # Which gradients are computed is decided in the forward pass.
    seconds = [0.0]
    for for_image, for_weight in ((True, False), (False, True), (True, True)):
        for weight in weights:
            weight.requires_grad_(for_weight)
        inputs = ([image] if for_image else []) + (weights if for_weight else [])
        given = image if for_image else image.detach()
        begun = clock()
        y = layer(given)
        seconds[0] = clock() - begun
        pull = torch.ones_like(y)
        begun = clock()
        torch.autograd.grad(y, inputs, pull)
        seconds.append(clock() - begun)
    return seconds


def has_team() -> bool:
    """Whether torch's threads can take the jobs of our C; see team.c.

    Raises:
        NoCompiler: it cannot be compiled.
    """
    return bool(products.library().has_team())


@contextlib.contextmanager
def team(wanted: bool) -> Iterator[None]:
    """Meanwhile torch's threads take the jobs of our C, as they do where they can, or threads of their own."""
    switches = [ctypes.c_int.in_dll(source.library(), "of_team") for source in (channels, products, tiles)]
    before = [switch.value for switch in switches]
    try:
        for switch in switches:
            switch.value = int(wanted)
        yield
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.value = value


def both_ways(switch: str, layer: Layer) -> tuple[nn.Module, nn.Module]:
    """The layer as torch computes it and as the switch has it computed, with the same weights.

    Raises:
        ValueError: the switch leaves it as it is.
        NoCompiler: its C cannot be compiled.
    """
    plain = nn.Sequential(layer.make()).train().to(memory_format=torch.channels_last)
    fast = copy.deepcopy(plain)
    if not REPLACE[switch](fast):
        raise ValueError(f"{layer.make()} is none of those that {switch} replaces")
    return plain, fast


def compare(switch: str, layer: Layer, batch: int, rounds: int, threads: int) -> list[list[float]]:
    """Milliseconds of each part: torch's, ours, and with several threads of torch's ours on their own.

    Args:
        switch: of `REPLACE`.
        layer: what is measured.
        batch: images.
        rounds: in each of which every way takes one turn, after one that is not counted; 2 or more.
        threads: that torch has meanwhile.

    Raises:
        ValueError: the switch leaves the layer as it is.
        NoCompiler: its C cannot be compiled.
    """
    plain, fast = both_ways(switch, layer)
    image = torch.randn(batch, layer.channels, layer.side, layer.side)
    image = image.to(memory_format=torch.channels_last).requires_grad_()
    clock = time.thread_time if threads == 1 else time.perf_counter
    ways = [(plain, True), (fast, True)]
    if threads > 1 and has_team():
        ways.append((fast, False))
    taken: list[list[list[float]]] = [[] for _ in ways]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for number in range(rounds + 1):
            for at in range(len(ways)):
                # None always follows the same one.
                way = (at + number) % len(ways)
                net, of_team = ways[way]
                with team(of_team):
                    taken[way].append(measure(net, image, clock))
    finally:
        torch.set_num_threads(before)
    return [
        [
            1e3 * statistics.quantiles(seconds, method="inclusive")[0]
            for seconds in zip(*turns[1:], strict=True)
        ]
        for turns in taken
    ]


def _row(ways: list[list[float]]) -> list[str]:
    plain, fast = ways[:2]
    whole = [forward + both for forward, _, _, both in ways]
    ratios = [plain[part] / fast[part] for part in range(3)] + [whole[0] / whole[1]]
    cells = [*(f"{ratio:.2f}" for ratio in ratios), f"{whole[0]:.1f} → {whole[1]:.1f}"]
    return cells + [f"{own / whole[1]:.2f}" for own in whole[2:]]


def main() -> None:
    """Print a table a switch: ratios of the parts and of the whole, a forward pass and both gradients."""
    parser = argparse.ArgumentParser(prog="python -m bench.perf.layers", description=__doc__)
    parser.add_argument("rounds", nargs="?", type=int, default=11, help="2 or more (default: 11)")
    parser.add_argument("--switch", choices=tuple(LAYERS), help="this one alone")
    parser.add_argument("--threads", type=int, default=1, help="that torch has (default: 1)")
    wanted = parser.parse_args()
    if wanted.rounds < 2 or wanted.threads < 1:
        parser.error(
            f"{wanted.rounds} rounds, {wanted.threads} threads: at least 2 rounds and 1 thread are needed"
        )
    keep_freed_memory()
    try:
        own = wanted.threads > 1 and has_team()
        for switch in [wanted.switch] if wanted.switch else LAYERS:
            columns = [*(f"{part}, torch / `{switch}`" for part in (*PARTS[:3], "whole")), "whole, ms"]
            if own:
                columns.append("own threads / torch's")
            print("| " + " | ".join(["layer, side of its input", *columns]) + " |")
            print("|:---|" + "---:|" * len(columns))
            for name, layer in LAYERS[switch].items():
                cells = _row(compare(switch, layer, BATCH, wanted.rounds, wanted.threads))
                print("| " + " | ".join([f"{name}, {layer.side}", *cells]) + " |", flush=True)
            print()
    except NoCompiler as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
