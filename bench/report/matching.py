"""Which runs a declared row means: the same method, the same settings in force, pretrained where it says."""

import functools
import json
from collections.abc import Mapping
from typing import Any

from bench.config import method_config
from bench.errors import BenchError
from bench.report.panel import Panel, RowRuns, spec
from bench.studies import Row as StudyRow


def declared_runs(row: StudyRow, panel: Panel) -> RowRuns | None:
    """The runs of a panel that a declared row means; of several, the newest version with the usual settings."""
    found = [
        runs
        for runs in panel.rows.values()
        if runs.method == row.method
        and same_settings(row.settings, runs, panel)
        and (not spec(runs.method).trained or _same_origin(row, runs, panel))
    ]
    return max(found, key=lambda runs: (runs.pretrain["method_version"], not runs.loops), default=None)


def same_settings(settings: Mapping[str, Any], runs: RowRuns, panel: Panel) -> bool:
    """Whether runs have a method's defaults but for some settings."""
    own = tuple(settings.items())
    wanted = _in_force(runs.method, str(runs.pretrain["dataset"]["name"]), panel.protocol, own)
    if wanted is None:
        # Not installed here: nothing is known of its defaults.
        return not settings
    return wanted == runs.pretrain["method_config"]


@functools.cache
def _in_force(method: str, dataset: str, protocol: str, own: tuple[tuple[str, Any], ...]) -> Any:
    """A method's settings with some of them changed; None where they cannot be (the method is not installed)."""
    try:
        return method_config(method, dataset, protocol, dict(own))
    except (BenchError, KeyError):
        return None


def _same_origin(row: StudyRow, runs: RowRuns, panel: Panel) -> bool:
    dataset = runs.pretrain["dataset"]
    if "weights" in runs.pretrain:
        # Whatever they were trained on, it was not as the row declares.
        return False
    if row.pretrain_on is not None:
        return dataset["name"] == row.pretrain_on and "fraction" not in dataset
    # With labels, "the same images" are those that are probed, wherever the other rows were pretrained.
    return dataset == (panel.dataset if spec(runs.method).labels else panel.pretrain["dataset"])


def alike(a: RowRuns, b: RowRuns) -> bool:
    """Whether two rows of different panels were pretrained on the same data, for as long, in the same way."""
    return _loop(a) == _loop(b)


def _loop(runs: RowRuns) -> str:
    pretrain = runs.pretrain
    return json.dumps([pretrain["dataset"], pretrain["image_size"], pretrain["train"]], sort_keys=True)
