"""A run's rows, one an epoch, as a curve."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Curve = tuple[tuple[float, ...], tuple[float, ...]]


def curve(rows: Sequence[Mapping[str, Any]], key: str, scale: float = 1.0) -> Curve | None:
    """What was written down by epoch, without what is missing or not finite.

    Args:
        rows: of a probe's result or of a pretraining's metrics.
        key: what is asked for.
        scale: that it is multiplied by.

    Returns:
        epochs and values; None where nothing is left.
    """
    try:
        # A report draws ten thousand of these, nearly all of them whole.
        pairs = np.array([[row["epoch"], row[key]] for row in rows])
        if pairs.dtype.kind in "if" and pairs.size and np.isfinite(pairs).all():
            xs, ys = pairs.T.astype(np.float64)
            return tuple(xs.tolist()), tuple((scale * ys).tolist())
    except (KeyError, TypeError, ValueError, OverflowError):
        pass
    kept = [(float(row["epoch"]), scale * float(row[key])) for row in rows if _is_whole(row, key)]
    if not kept:
        return None
    xs, ys = zip(*kept, strict=True)
    return xs, ys


def _is_whole(row: object, key: str) -> bool:
    if not isinstance(row, Mapping):
        return False
    pair = row.get("epoch"), row.get(key)
    return all(isinstance(value, int | float) and math.isfinite(value) for value in pair)
