"""What each probe predicted: read once a run, only where a comparison or a confusion asks for it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from bench.records import Run
from bench.stats import Correct, SeedPair
from bench.studies.metrics import Metric


@dataclass(frozen=True)
class Predicted:
    """One probe's answers under one rule.

    Attributes:
        labels: true classes, int16 [n_test].
        top1: predicted classes, int16 [n_test].
        right: whether the label is the first, bool [n_test].
        among: whether it is among the first five, bool [n_test].
    """

    labels: np.ndarray
    top1: np.ndarray
    right: np.ndarray
    among: np.ndarray


class Predictions:
    """The predictions of the runs of a report."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Predicted | None] = {}
        # Data set -> the labels of its test images, as the first run has them.
        self._labels: dict[str, np.ndarray] = {}

    def of(self, run: Run, rule: str) -> Predicted | None:
        """A probe's answers; None where it left none under the rule."""
        key = (run.id, rule)
        if key not in self._known:
            self._known[key] = self._read(run, rule)
        return self._known[key]

    def correct(self, runs: Mapping[SeedPair, Run], rule: str, metric: Metric) -> Correct | None:
        """Right answers of each probe: bool [n_test].

        Args:
            runs: probes by their seeds; those without a result do not count.
            rule: how the epoch was selected.
            metric: top-1 or top-5.

        Returns:
            None where a run left no predictions, or in another order of test images than earlier ones, or where the
            metric is no share of right answers.
        """
        if metric.name not in ("top1", "top5"):
            return None
        found = {}
        for pair, run in runs.items():
            if run.result is None or rule not in (run.result.get("rules") or {}):
                continue
            own = self.of(run, rule)
            if own is None:
                return None
            # Images of two machines may lie in another order: then they are no pairs.
            data = json.dumps(run.config["dataset"], sort_keys=True)
            if not np.array_equal(self._labels.setdefault(data, own.labels), own.labels):
                return None
            found[pair] = own.right if metric.name == "top1" else own.among
        return found

    @staticmethod
    def _read(run: Run, rule: str) -> Predicted | None:
        arrays = run.predictions() or {}
        name = "top5_" + rule.replace("-", "_")
        if name not in arrays or "labels" not in arrays:
            return None
        top, labels = arrays[name], arrays["labels"]
        first = np.ascontiguousarray(top[:, 0])
        return Predicted(labels, first, first == labels, (top == labels[:, None]).any(1))
