"""Figure 5 of the paper: what a target image becomes when one of its parts takes its looks from a source image.

Differs from the paper: nobody picked the images. Sources and targets are drawn, the same for every pretraining on the
data; the source's part is its likeliest one anywhere, and, as in the figure, a different part is replaced in the
target: its likeliest but for that.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from bench.data.arrays import Split
from bench.evaluations.task import Task
from models.method import Method, PartMaps

SOURCES, TARGETS = 4, 3


def likeliest(occurrence: Float[Tensor, "n h w"], but: int | None = None) -> int:
    """The part with the highest probability at any location, another than `but` where there is one."""
    highest = occurrence.flatten(1).max(1).values.clone()
    if but is not None and len(highest) > 1:
        highest[but] = -1.0
    return int(highest.argmax())


@torch.no_grad()
def swap(task: Task, method: Method) -> dict[str, Any]:
    """The arrays of the figure; {} where the method makes no images of its parts.

    Args:
        task: what is judged.
        method: in evaluation mode.

    Returns:
        swap_source uint8 [s, 3, h, w], its part [s] and that part's map [s, i, j]; swap_target, swap_before and
        swap_after uint8 [s, t, 3, h, w] (the image, its reconstruction, that with the source's appearance), the
        target's part [s, t] and that part's map [s, t, i, j].
    """
    test = task.data.test
    chosen = task.pictures(test, SOURCES * (TARGETS + 1), "swap")
    count = len(chosen) // (TARGETS + 1)
    if not count:
        return {}
    # Spread over the split, which may be sorted by class.
    chosen = chosen[: count * (TARGETS + 1)].reshape(TARGETS + 1, count).T
    pixels = task.pixels(Split(np.array(test.images[chosen.ravel()]), test.labels[chosen.ravel()]))
    maps = method.parts(pixels.batch(torch.arange(len(pixels), device=task.device))[0])
    assert maps is not None
    before = method.decode_parts(maps)
    if before is None:
        return {}
    occurrence, appearance = maps.occurrence.cpu(), maps.appearance.clone()
    parts = np.empty(chosen.shape, np.int16)
    for row in range(count):
        first = row * (TARGETS + 1)
        parts[row, 0] = source = likeliest(occurrence[first])
        for column in range(1, TARGETS + 1):
            parts[row, column] = target = likeliest(occurrence[first + column], but=source)
            appearance[first + column, target] = maps.appearance[first, source]
    after = method.decode_parts(PartMaps(maps.occurrence, appearance))
    assert after is not None

    def grid(values: Any) -> Any:
        return values.reshape(*chosen.shape, *values.shape[1:])

    shown = grid(np.stack([m[p] for m, p in zip(occurrence.half().numpy(), parts.ravel(), strict=True)]))
    images = grid(test.images[chosen.ravel()])
    old, new = (grid(pixels.to_bytes(made).cpu().numpy()) for made in (before, after))
    return {
        "swap_source": images[:, 0],
        "swap_source_part": parts[:, 0],
        "swap_source_map": shown[:, 0],
        "swap_target": images[:, 1:],
        "swap_target_part": parts[:, 1:],
        "swap_target_map": shown[:, 1:],
        "swap_before": old[:, 1:],
        "swap_after": new[:, 1:],
    }
