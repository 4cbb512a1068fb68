"""What lies behind a cell: its runs with their command, commit and curve, and the mistakes of its probes."""

import io
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from bench.packed.scrub import command
from bench.plan import label
from bench.reading import as_object
from bench.records import Run
from bench.report.captions import device_name
from bench.report.epochs import curve
from bench.report.layout import number, seconds
from bench.report.model import Confusion, Line, RunDetail
from bench.report.panel import cell_runs
from bench.report.predictions import Predictions
from bench.report.sheets import Sheet
from bench.speed import in_words
from bench.studies.metrics import METRICS

PAIRS = 8
# Beyond so many classes a matrix is larger than what it shows; beyond so many cells a page is too heavy.
MOST_CLASSES, MOST_CONFUSIONS = 205, 200


def details(sheets: Sequence[Sheet]) -> dict[str, RunDetail]:
    """Every run that stands behind a cell, by id."""
    runs: dict[str, Run] = {}
    for sheet in sheets:
        for row in sheet.rows:
            for behind in row.runs.values():
                for run in (*behind.probes.values(), *behind.evaluations.values()):
                    if run.result is not None:
                        runs.setdefault(run.id, run)
    return {id: _detail(run) for id, run in sorted(runs.items())}


def _detail(run: Run) -> RunDetail:
    result, provenance = run.result or {}, run.provenance
    values: list[tuple[str, str]] = []
    for rule, kept in sorted((result.get("rules") or {}).items()):
        for name in ("top1", "top5"):
            if kept.get(name) is not None:
                values.append((f"{METRICS[name].title}, {rule}", f"{number(kept[name], METRICS[name])} %"))
    for name, value in (result.get("metrics") or {}).items():
        if isinstance(value, int | float) and name in METRICS:
            unit = METRICS[name].unit
            values.append((METRICS[name].title, f"{number(value, METRICS[name])} {unit}".strip()))
    git = as_object(provenance.get("git"))
    commit = str(git.get("commit") or "")[:12] + (" (edited)" if git.get("dirty") else "")
    argv = provenance.get("argv")
    facts = {
        # As it is published: a page may be passed on like a packed file, and says the same as that file's.
        "command": shlex.join(command(argv)) if argv else "",
        "commit": commit,
        "device": device_name(provenance.get("device")),
        "threads": str(provenance.get("threads") or ""),
        "processes": _processes(provenance.get("jobs")),
        "precision": in_words(provenance.get("speed")),
        "started": str(provenance.get("started") or ""),
        "time": seconds(float(spent))
        if isinstance(spent := result.get("seconds"), int | float) and spent
        else "",
        "data": str(as_object(provenance.get("data")).get("fingerprint") or "")[:16],
        "weights": str(result.get("weights") or "")[:16],
    }
    return RunDetail(
        run.id,
        label(run.config),
        tuple(values),
        tuple((what, value) for what, value in facts.items() if value),
        _curve(result),
    )


def _processes(jobs: Mapping[str, Any] | None) -> str:
    """How many shared the machine, which a run's seconds depend on; "" of one that was alone."""
    if not jobs:
        return ""
    return f"{jobs.get('workers')} at once" + (", NVIDIA's MPS" if jobs.get("mps") else "")


def _curve(result: Mapping[str, object]) -> Line | None:
    epochs = result.get("epochs")
    found = curve(epochs, "test_top1", scale=100.0) if isinstance(epochs, list) else None
    return Line("test top-1, %", "", False, 0, *found) if found else None


def confusions(
    sheets: Mapping[str, Sheet], predictions: Predictions
) -> dict[tuple[str, int, int], Confusion]:
    """The mistakes behind each top-1 cell whose probes left predictions; the first `MOST_CONFUSIONS` cells only.

    Args:
        sheets: by name of the table.
        predictions: of their probes.
    """
    found: dict[tuple[str, int, int], Confusion] = {}
    for name, sheet in sheets.items():
        for i, row in enumerate(sheet.rows):
            for j, column in enumerate(sheet.columns):
                behind = sheet.runs(row, j)
                if column.metric != "top1" or behind is None or len(found) >= MOST_CONFUSIONS:
                    continue
                runs = cell_runs(behind, column.freeze, column.unit).values()
                matrix = _matrix([run for run in runs if run.result is not None], column.rule, predictions)
                if matrix is not None:
                    found[name, i, j] = _confusion(matrix, _classes(runs, len(matrix)))
    return found


def _matrix(runs: Sequence[Run], rule: str, predictions: Predictions) -> np.ndarray | None:
    """Counts int64 [true, predicted] over all probes; None without predictions."""
    total: np.ndarray | None = None
    for run in runs:
        own = predictions.of(run, rule)
        classes = int((run.result or {}).get("num_classes") or 0)
        if own is None or not 0 < classes <= MOST_CLASSES:
            continue
        places = own.labels.astype(np.int64) * classes + own.top1
        counts = np.bincount(places, minlength=classes * classes).reshape(classes, classes)
        total = counts if total is None or total.shape != counts.shape else total + counts
    return total


def _classes(runs: Iterable[Run], count: int) -> list[str]:
    for run in runs:
        names = (run.result or {}).get("classes")
        if isinstance(names, list) and len(names) == count:
            return [str(name) for name in names]
    return [str(k) for k in range(count)]


def _confusion(matrix: np.ndarray, names: Sequence[str]) -> Confusion:
    wrong = matrix.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:PAIRS]
    pairs = [(*divmod(int(k), len(matrix)), int(wrong.flat[k])) for k in order if wrong.flat[k]]
    return Confusion(len(matrix), tuple((names[a], names[b], n) for a, b, n in pairs), _picture(matrix))


def _picture(matrix: np.ndarray) -> bytes:
    from PIL import Image

    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    # The root lifts what is rare out of the white: a mistake made in 1 % of cases is a tenth of black.
    grey = (255 * (1 - np.sqrt(share))).round().astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG", optimize=True)
    return out.getvalue()
