"""What of a cell's configuration decides what it costs: cells that share a signature are measured once. No torch."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.data import registry as datasets
from bench.data.dropped import split_dropped
from bench.errors import BenchError
from bench.evaluations.registry import EVALUATIONS
from bench.plan import Cell, pretraining

# Where no reader knows how many there are.
NUM_TRAIN, NUM_TEST, NUM_CLASSES = 10_000, 2_000, 100
# Settings that change numbers and no time.
_TRAIN = ("batch_size", "flip")
_PROBE = ("batch_size", "flip", "hidden", "bn_affine", "frozen_bn", "holdout")


@dataclass(frozen=True)
class Images:
    """How many images a cell sees.

    Attributes:
        train: an epoch of a pretraining; else the labelled ones.
        test: that a probe or an evaluation is tested on.
        classes: of the labels.
        pool: images that are held in memory for training.
    """

    train: int
    test: int
    classes: int
    pool: int


def images_of(cell: Cell, located: Mapping[str, Any], known: Mapping[str, int]) -> Images:
    """What is known of a cell's data set without reading it.

    Args:
        cell: the cell.
        located: data set as named -> what `bench.data.registry.locate` found.
        known: identity of a data set as text -> training images that finished cells have seen.
    """
    try:
        row = datasets.spec(cell.source)
        train, test, classes = row.num_train, row.num_test, row.num_classes
    except BenchError:
        train = test = classes = None
    files = (located.get(split_dropped(cell.source)[0]) or {}).get("files") or 0
    train = known.get(str(cell.config["dataset"])) or train or int(0.8 * files) or NUM_TRAIN
    test = test or int(0.2 * files) or NUM_TEST
    epoch = train
    if cell.kind == "pretrain" and cell.config["train"].get("epoch_images"):
        epoch = int(cell.config["train"]["epoch_images"])
    return Images(epoch, test, classes or NUM_CLASSES, train)


def batch_of(config: Mapping[str, Any], images: Images) -> int:
    """Images a step, where a data set has fewer than were asked for."""
    settings = config["train" if config["kind"] == "pretrain" else "probe"]
    return max(1, min(int(settings["batch_size"]), images.train))


def signature(cell: Cell, images: Images) -> dict[str, Any]:
    """What must agree for one cell's measurement to tell another's; the machine and its switches apart."""
    config = cell.config
    pretrain = pretraining(config)
    found: dict[str, Any] = {
        "kind": cell.kind,
        "backbone": pretrain["backbone"],
        "image_size": config["image_size"],
    }
    method = {key: pretrain[key] for key in ("method", "method_version", "method_config")}
    if cell.kind == "pretrain":
        steps = bool(config["train"]["epochs"])
        settings = {key: config["train"][key] for key in _TRAIN} if steps else {}
        batch = batch_of(config, images) if steps else 0
        return {**found, **method, "train": settings, "batch": batch, "classes": images.classes}
    if cell.kind == "probe":
        settings = {key: config["probe"][key] for key in _PROBE}
        found |= {"freeze": config["freeze"], "probe": settings, "batch": batch_of(config, images)}
        return {**found, "dropout": config["probe"]["dropout"] > 0, "classes": images.classes}
    row = EVALUATIONS.get(config["evaluation"])
    found |= {key: config[key] for key in ("evaluation", "evaluation_version", "evaluate", "dataset")}
    return {**found, **(method if row is None or row.whole else {})}


def key_of_signature(found: Mapping[str, Any]) -> str:
    """A short name for a signature."""
    text = json.dumps(found, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
