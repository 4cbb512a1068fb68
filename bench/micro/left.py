"""Which probes find features that an earlier one has left in their process; see `bench.feature_store`. No torch."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.micro.measurement import Measurement, feature_images
from bench.micro.signature import Images
from bench.plan import Cell
from bench.probe_speed import ProbeSpeed
from bench.selection import freeze_points

# Settings of a probe on which its features depend.
_SETTINGS = ("scale", "flip")


def leaving(cells: Iterable[Cell], speed: ProbeSpeed) -> dict[str, list[Cell]]:
    """The probes that are run before a probe and whose features its own can be made of, by the probe's id.

    They are of its pretraining, on its images and at no later freeze point; in bf16 at the same one.

    Args:
        cells: those that are run, in this order; of one pretraining in one process.
        speed: how probes are computed.
    """
    found: dict[str, list[Cell]] = {}
    begun: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        if cell.kind != "probe" or not speed.shared or not _computed_once(cell.config):
            continue
        settings = [str(cell.config["probe"][name]) for name in _SETTINGS]
        like = begun.setdefault((cell.config["pretrain_id"], str(cell.config["dataset"]), *settings), [])
        at = _place(cell)
        found[cell.id] = [
            one for one in like if _place(one) == at or (speed.precision == "fp32" and _place(one) < at)
        ]
        like.append(cell)
    return found


def there_still(
    cell: Cell,
    before: Sequence[Cell],
    measured: Callable[[Cell], Measurement | None],
    images: Images,
    budget: int,
) -> list[Measurement]:
    """What is known of those before a probe whose features are there when it begins: the oldest are given up first.

    What probes at later freeze points have left in between is not counted.

    Args:
        cell: the probe.
        before: see `leaving`; in the order in which they are run.
        measured: what miniatures told of a probe.
        images: that they see.
        budget: bytes for all features.

    Returns:
        The newest first.
    """
    if not before:
        return []
    own = measured(cell)
    room = budget - (own.feature_bytes * feature_images(cell.config, images) if own else 0)
    found: list[Measurement] = []
    # Those of one freeze point are the same.
    seen = {_place(cell)}
    for one in reversed(before):
        if (told := measured(one)) is None:
            continue
        room -= 0 if _place(one) in seen else told.feature_bytes * feature_images(one.config, images)
        seen.add(_place(one))
        if room < 0:
            break
        found.append(told)
    return found


def _computed_once(config: Mapping[str, Any]) -> bool:
    return config["freeze"] != "none" and config["probe"]["frozen_bn"] != "batch"


def _place(cell: Cell) -> int:
    return freeze_points(cell.config["pretrain"]["backbone"]).index(cell.config["freeze"])
