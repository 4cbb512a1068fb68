"""Which predictions are paired image by image."""

from types import SimpleNamespace
from typing import Any

import numpy as np

from bench.report.predictions import Predictions
from bench.studies.metrics import METRICS


def run(number: int, labels: list[int], dataset: str = "imagenet") -> Any:
    top = np.tile(np.arange(5, dtype=np.int16), (len(labels), 1))
    arrays = {"labels": np.array(labels, np.int16), "top5_last": top}
    return SimpleNamespace(
        id=str(number),
        config={"dataset": {"name": dataset, "version": 1}},
        result={"rules": {"last": {}}},
        predictions=lambda: arrays,
    )


def test_images_in_another_order_are_not_paired():
    first, same, other = run(1, [0, 1, 2]), run(2, [0, 1, 2]), run(3, [1, 0, 2])
    known, metric = Predictions(), METRICS["top1"]
    pairs = [(seed, seed) for seed in range(3)]
    found = known.correct({pairs[0]: first, pairs[1]: same}, "last", metric)
    assert found is not None
    assert [right.tolist() for right in found.values()] == [[True, False, False]] * 2
    # In one row, or in two of a table.
    assert known.correct({pairs[2]: other}, "last", metric) is None
    assert Predictions().correct({pairs[0]: first, pairs[2]: other}, "last", metric) is None
    assert known.correct({pairs[2]: run(4, [1, 0, 2], "digits")}, "last", metric) is not None
