"""Which runs a declared row means: the same method, the same settings in force, pretrained where it says."""

import functools
from collections.abc import Mapping
from typing import Any

from bench.config import method_config
from bench.errors import BenchError
from bench.report.panel import Panel, RowRuns, spec
from bench.studies import Row as StudyRow


def declared_runs(row: StudyRow, panel: Panel) -> RowRuns | None:
    """The runs of a panel that a declared row means, those of the newest version of the method first."""
    best: RowRuns | None = None
    for runs in panel.rows.values():
        if runs.method != row.method or not _same_settings(row.settings, runs, panel):
            continue
        if spec(runs.method).trained and not _same_origin(row, runs, panel):
            continue
        if best is None or runs.pretrain["method_version"] > best.pretrain["method_version"]:
            best = runs
    return best


def _same_settings(settings: Mapping[str, Any], runs: RowRuns, panel: Panel) -> bool:
    own = tuple((key, value) for key, value in settings.items() if "." not in key)
    wanted = _in_force(runs.method, str(runs.pretrain["dataset"]["name"]), panel.protocol, own)
    if wanted is None:
        # Not installed here: nothing is known of its defaults.
        return not settings
    train = {key.removeprefix("pretrain."): v for key, v in settings.items() if key.startswith("pretrain.")}
    return wanted == runs.pretrain["method_config"] and all(
        runs.pretrain["train"].get(key) == value for key, value in train.items()
    )


@functools.cache
def _in_force(method: str, dataset: str, protocol: str, own: tuple[tuple[str, Any], ...]) -> Any:
    """A method's settings with some of them changed; None where they cannot be (the method is not installed)."""
    try:
        return method_config(method, dataset, protocol, dict(own))
    except (BenchError, KeyError):
        return None


def _same_origin(row: StudyRow, runs: RowRuns, panel: Panel) -> bool:
    if row.pretrain_on is None:
        return runs.pretrain["dataset"] == panel.pretrain["dataset"]
    return runs.pretrain["dataset"]["name"] == row.pretrain_on
