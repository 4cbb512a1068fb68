"""Which test images each probe got right: read once a run, only where a comparison asks for it."""

from collections.abc import Mapping

import numpy as np

from bench.records import Run
from bench.stats import Correct, SeedPair
from bench.studies.metrics import Metric


class Predictions:
    """The predictions of the runs of a report, kept as bits."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], np.ndarray | None] = {}

    def correct(self, runs: Mapping[SeedPair, Run], rule: str, metric: Metric) -> Correct | None:
        """Right answers of each probe: bool [n_test].

        Args:
            runs: probes by their seeds; those without a result do not count.
            rule: how the epoch was selected.
            metric: top-1 or top-5.

        Returns:
            None where a run left no predictions, or the metric is no share of right answers.
        """
        if metric.name not in ("top1", "top5"):
            return None
        found = {}
        for pair, run in runs.items():
            if run.result is None or rule not in (run.result.get("rules") or {}):
                continue
            key = (run.id, rule, metric.name)
            if key not in self._known:
                self._known[key] = self._read(run, rule, metric)
            right = self._known[key]
            if right is None:
                return None
            found[pair] = right
        return found

    @staticmethod
    def _read(run: Run, rule: str, metric: Metric) -> np.ndarray | None:
        arrays = run.predictions() or {}
        name = "top5_" + rule.replace("-", "_")
        if name not in arrays or "labels" not in arrays:
            return None
        top, labels = arrays[name], arrays["labels"]
        return top[:, 0] == labels if metric.name == "top1" else (top == labels[:, None]).any(1)
