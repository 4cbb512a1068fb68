"""Rows that may have learned from what is tested are marked, and what is known of leaks is said."""

import json

import pytest

from bench.report import markdown, overlaps
from bench.report.build import build
from bench.report.latex_text import escape
from tests.synthetic_runs import Runs

WEIGHTS = {"origin": "timm resnet18.a1_in1k", "sha256": "ab" * 32, "scale": None}


def pretrained(method="supervised", name="imagenet", epochs=90, **more):
    return {"method": method, "dataset": {"name": name, "version": 1}, "train": {"epochs": epochs}, **more}


@pytest.mark.parametrize(
    ("pretrain", "dataset", "marked"),
    [
        (pretrained(), "tinyimagenet", True),
        (pretrained(), "stl10", True),
        (pretrained(), "folder:imagenette", True),
        (pretrained(name="imagenet:few"), "tinyimagenet", True),
        (pretrained(), "cifar100", False),
        (pretrained(), "imagenet", False),
        (pretrained(name="imagenet:few"), "imagenet:few", False),
        (pretrained("beta-vae"), "tinyimagenet", False),
        (pretrained(name="places205"), "tinyimagenet", False),
        (pretrained(name="tinyimagenet"), "tinyimagenet", False),
        (pretrained(name="stl10", epochs=0, weights=WEIGHTS), "stl10", True),
        (pretrained(name="imagenet", epochs=0, weights=WEIGHTS), "imagenet", False),
        (pretrained(name="imagenet:few", epochs=0, weights=WEIGHTS), "imagenet:few", True),
        (pretrained(name="stl10", epochs=0, weights=WEIGHTS | {"origin": "file"}), "stl10", False),
        (pretrained(name="cifar100", epochs=0, weights=WEIGHTS), "cifar100", False),
    ],
)
def test_imagenet_supervised_features_are_marked_where_imagenets_images_are_probed(pretrain, dataset, marked):
    assert overlaps.is_marked(pretrain, {"name": dataset, "version": 1}) is marked


def report_of(tmp_path, dataset, leaks=None):
    runs = Runs(tmp_path / "results")
    for method, origin in (("supervised", "imagenet"), ("beta-vae", dataset)):
        for seed in (0, 1):
            runs.probe(runs.pretrain(method, seed, dataset=origin, pictures=False), "conv1", dataset=dataset)
    for path in runs.root.glob("runs/*/attempts/0001/provenance.json"):
        known = json.loads(path.read_text())
        config = json.loads((path.parent.parent.parent / "config.json").read_text())
        if leaks != "unknown" and config["dataset"]["name"] == dataset:
            path.write_text(json.dumps(known | {"data": {"name": dataset, "leaks": leaks}}))
    return markdown.render(build(runs.root, study=None, with_figures=False))


def test_a_marked_row_and_its_note_are_in_the_report(tmp_path):
    text = report_of(tmp_path, "tinyimagenet")
    (row,) = [line for line in text.splitlines() if line.startswith("| Supervised")]
    assert overlaps.MARK in row.split("|")[1]
    assert f"{overlaps.MARK} These features learned from ImageNet's labels" in text
    assert not [line for line in text.splitlines() if line.startswith("| β-VAE") and overlaps.MARK in line]
    assert "ddagger" in escape(overlaps.MARK)
    assert overlaps.MARK not in report_of(tmp_path / "other", "cifar10")


@pytest.mark.parametrize(
    ("leaks", "says"),
    [
        (
            {"test": 500, "equal": 10, "near": 200},
            "10 of 500 test images are also in the training split (byte-equal), 200 near-equal.",
        ),
        ({"test": 500, "equal": 0, "near": None}, "(byte-equal), near-equal ones were not looked for."),
        (None, "was not checked (bench data verify cifar10 does)."),
    ],
)
def test_what_a_run_knew_of_its_leaks_is_in_the_report(tmp_path, leaks, says):
    assert (
        report_of(tmp_path, "cifar10", leaks).count(
            f"CIFAR10: {'whether' if leaks is None else leaks['equal']}"
        )
        == 1
    )
    assert says in report_of(tmp_path / "again", "cifar10", leaks)


def test_runs_from_before_anybody_looked_say_nothing(tmp_path):
    assert "training split" not in report_of(tmp_path, "cifar10", "unknown")
