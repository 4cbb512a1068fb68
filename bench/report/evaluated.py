"""Evaluations of a panel: of one kind only those that were made alike may stand in a column."""

import json
from collections import Counter
from typing import Any

from bench.errors import BenchError
from bench.evaluations import registry
from bench.records import Run
from bench.report.panel import Panel, RowRuns
from bench.settings import typed

Key = str
Placed = dict[Key, list[tuple[RowRuns, int, Run]]]


class Evaluations:
    """Evaluations as they were found, to be sorted once all are known."""

    def __init__(self) -> None:
        self._panels: dict[int, Panel] = {}
        self._placed: dict[tuple[int, str], Placed] = {}
        self._configs: dict[Key, dict[str, Any]] = {}

    def add(self, panel: Panel, row: RowRuns, run: Run, config: dict[str, Any]) -> None:
        """Put an evaluation beside its pretraining in a panel."""
        own = {k: v for k, v in config["evaluate"].items() if k != "scale"}
        key = json.dumps([config["evaluation_version"], config["image_size"], own], sort_keys=True)
        self._panels[id(panel)] = panel
        self._configs[key] = config
        placed = self._placed.setdefault((id(panel), config["evaluation"]), {})
        placed.setdefault(key, []).append((row, config["pretrain"]["seed"], run))

    def settle(self) -> None:
        """Of each kind take, in every panel, the usual settings or those of most runs; name what is left out."""
        for (place, evaluation), placed in self._placed.items():
            panel = self._panels[place]
            chosen = max(placed, key=lambda key: (_usual(self._configs[key]), len(placed[key]), key))
            for row, seed, run in placed[chosen]:
                known = row.evaluations.get((evaluation, seed))
                if known is None or (known.result is None, known.id) > (run.result is None, run.id):
                    row.evaluations[evaluation, seed] = run
            others = Counter({key: len(runs) for key, runs in placed.items() if key != chosen})
            if others:
                panel.left_out.append(
                    f"{panel.title}: {sum(others.values())} runs of the evaluation {evaluation} have other settings"
                    " than those shown, and are left out."
                )


def _usual(config: dict[str, Any]) -> bool:
    """Whether an evaluation has its newest version and its default settings."""
    try:
        row = registry.spec(config["evaluation"])
        default = typed(row.settings_cls())
    except (BenchError, TypeError, ValueError):
        return False
    own = config["evaluate"]
    return config["evaluation_version"] == row.version and all(
        own.get(key) == value for key, value in default.items() if key != "scale"
    )
