"""What each probe predicted: read once a run, only where a comparison or a confusion asks for it."""

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
            None where a run left no predictions, or of other test images or in another order than the others, or
            where the metric is no share of right answers.
        """
        if metric.name not in ("top1", "top5"):
            return None
        found, labels = {}, None
        for pair, run in runs.items():
            if run.result is None or rule not in (run.result.get("rules") or {}):
                continue
            own = self.of(run, rule)
            if own is None:
                return None
            # Two machines may keep a data set in different layouts.
            labels = own.labels if labels is None else labels
            if not np.array_equal(own.labels, labels):
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
