"""What a reader must know of a table's data: test images in training, and features that may have seen them."""

from collections.abc import Iterable, Mapping
from typing import Any

from bench.data.dropped import DROP_LEAKS
from bench.data.fractions import typed_name
from bench.records import Run
from bench.report.panel import dataset_title, spec
from bench.report.sheets import Sheet

IMAGENET = "imagenet"
MARK = "‡"


def overlaps_imagenet(dataset: Mapping[str, Any]) -> bool:
    """Whether a data set's images come from ImageNet, by its identity.

    By its row, or because its name says so: a layout or a folder elsewhere, or one that timm reads.
    """
    from bench.data import registry

    name = str(dataset["name"])
    row = registry.DATASETS.get(name.partition(":")[0])
    return IMAGENET in name.lower() or (row is not None and IMAGENET in row.overlaps)


def knows_imagenet(pretrain: Mapping[str, Any]) -> bool:
    """Whether a pretraining has learned from ImageNet with its labels, here or where its weights are from.

    timm's weights are taken for it whatever their tag says: nearly all of them have seen its images.
    """
    return (labels_seen(pretrain) or "").partition(":")[0] == IMAGENET


def labels_seen(pretrain: Mapping[str, Any]) -> str | None:
    """The data set whose labels a backbone has learned from; None where there is none, or none is known.

    Of weights that `bench export` wrote, that of the run that they are of.
    """
    weights = pretrain.get("weights")
    if isinstance(weights, Mapping):
        return IMAGENET if str(weights.get("origin", "")).startswith("timm ") else weights.get("labels")
    trained = bool(pretrain["train"]["epochs"]) and spec(pretrain["method"]).labels
    return str(pretrain["dataset"]["name"]) if trained else None


def is_marked(pretrain: Mapping[str, Any], dataset: Mapping[str, Any]) -> bool:
    """Whether ImageNet-supervised features are probed on images of ImageNet's, other than its own held-out ones."""
    own = dataset["name"] == IMAGENET or ("weights" not in pretrain and pretrain["dataset"] == dataset)
    return not own and overlaps_imagenet(dataset) and knows_imagenet(pretrain)


def overlap_notes(sheet: Sheet) -> list[str]:
    """A line for the rows that are marked, and one for what is known of each data set's leaks."""
    lines = []
    marked = [
        panel.title
        for i, panel in enumerate(sheet.panels)
        if any(i in row.runs and is_marked(row.runs[i].pretrain, panel.dataset) for row in sheet.rows)
    ]
    if marked:
        lines.append(
            f"{MARK} These features learned from ImageNet's labels, and images of {' and '.join(marked)} come from"
            " ImageNet: some of what is tested may have been trained on, so they stand beside the other rows for"
            " orientation alone."
        )
    unknown = [
        panel.title
        for i, panel in enumerate(sheet.panels)
        if any(i in row.runs and _of_a_file(row.runs[i].pretrain) for row in sheet.rows)
    ]
    if unknown:
        lines.append(
            f"What a file's weights have learned from is not known: perhaps test images of {' and '.join(unknown)}."
            " Where it does not say the scale of their input either, they were given the protocol's."
        )
    for panel in sheet.panels:
        lines += leak_lines(panel.dataset, panel.all_runs())
    return list(dict.fromkeys(lines))


def _of_a_file(pretrain: Mapping[str, Any]) -> bool:
    return (pretrain.get("weights") or {}).get("origin") == "file"


def leak_lines(dataset: Mapping[str, Any], runs: Iterable[Run]) -> list[str]:
    """What the runs of a data set know of its leaks, a line for each thing that is said; none where nothing is done.

    Args:
        dataset: its identity.
        runs: probes, evaluations and pretrainings; those on other data are left aside.
    """
    title, lines = dataset_title(dict(dataset)), {}
    for run in runs:
        if run.result is None or run.config["dataset"] != dataset:
            continue
        data = run.provenance.get("data")
        # What was run before anybody looked says nothing of it.
        if isinstance(data, Mapping) and "leaks" in data:
            lines[_line(title, dataset, data["leaks"])] = None
    return list(lines)


def _line(title: str, dataset: Mapping[str, Any], leaks: Any) -> str:
    if not isinstance(leaks, Mapping):
        name = typed_name(dataset)
        return (
            f"{title}: whether test images are also in the training split was not checked"
            f" (bench data verify {name} does)."
        )
    if dataset.get(DROP_LEAKS):
        dropped = leaks.get("dropped") or {}
        return (
            f"{title}: trained without images that are in the test split, byte-equal or near-equal"
            f" ({int(dropped.get('train', 0)):,} left out; --drop-leaks)."
        )
    near = leaks.get("near")
    line = (
        f"{title}: {leaks['equal']:,} of {leaks['test']:,} test images are also in the training split (byte-equal), "
        + ("near-equal ones were not looked for" if near is None else f"{near:,} near-equal")
    )
    pool = leaks.get("pool")
    if isinstance(pool, Mapping):
        more = "" if pool.get("near") is None else f", {pool['near']:,} near-equal"
        line += f"; in the pool {pool['equal']:,} (byte-equal){more}"
    return line + "."
