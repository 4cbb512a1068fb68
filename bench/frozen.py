"""The frozen prefix of a backbone, run as fast as it can be."""

import functools
from collections.abc import Callable

from bench.folded import FoldedStages
from bench.probe_speed import ProbeSpeed
from models.backbones import Backbone, point_names


class FrozenPrefix(FoldedStages):
    """The first stages of a backbone on stored statistics, see `FoldedStages`.

    Args:
        backbone: in evaluation mode; its weights are taken as they are now.
        stages: how many run.
        speed: see `FoldedStages`.
        done: how many have run already: what comes in is the output of those.
    """

    def __init__(self, backbone: Backbone, stages: int, speed: ProbeSpeed, done: int = 0) -> None:
        super().__init__(backbone, done, stages, speed)


def earlier_points(
    backbone: Backbone, stages: int, speed: ProbeSpeed
) -> list[tuple[str, Callable[[], FrozenPrefix]]]:
    """Freeze points before the one that freezes so many stages, the nearest first, and what builds the way on.

    It is built once, and only when asked for: it folds every weight on the way. There are none where features are
    not shared, or computed as the modules have it; or are bf16, which as kept have digits that they lack on the way.
    """
    if not (speed.folded and speed.shared) or speed.precision != "fp32":
        return []
    names = point_names(backbone.taps)
    return [
        (names[k - 1], functools.cache(functools.partial(FrozenPrefix, backbone, stages, speed, k)))
        for k in range(stages - 1, 0, -1)
    ]
