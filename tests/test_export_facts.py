"""What an exported folder says of its backbone is so: scale and resize of its input, whose labels it has seen."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config import config_id, evaluate_config, pretrain_config, probe_config
from bench.errors import UsageError
from bench.exported import write
from bench.given import look_up
from bench.report.overlaps import is_marked, labels_seen

ABOUT = {"name": "digits", "version": 1}
ARGS: Any = {"image_size": 32, "flip": False, "seed": 0}


def run(config) -> Any:
    return SimpleNamespace(id=config_id(config), config=config, result={}, provenance={})


def judged(pretrain, *scales):
    """A probe and an evaluation of a pretraining with each scale, all done."""
    found = []
    for scale in scales:
        settings = {"probe.scale": scale, "features.scale": scale}
        found.append(run(probe_config(pretrain, ABOUT, **ARGS, freeze="conv1-5", settings=settings)))
        found.append(
            run(evaluate_config(pretrain, ABOUT, image_size=32, evaluation="features", settings=settings))
        )
        for one in found:
            one.result = {"top1": 0.5}
    return found


@pytest.mark.parametrize(
    ("method", "weights", "scales", "named", "seen"),
    [
        ("random", None, ["unit"], None, "unit"),
        ("random", None, ["unit", "symmetric"], 2, "symmetric"),
        ("random", None, [], None, "imagenet"),
        ("given", {"origin": "file", "sha256": "ab", "scale": None}, ["clip"], None, "clip"),
        ("given", {"origin": "file", "sha256": "ab", "scale": "unit"}, [], None, "unit"),
        ("supervised", None, ["unit"], None, "imagenet"),
        ("supervised", None, ["unit"], 1, "unit"),
    ],
)
def test_the_scale_of_an_input_is_that_on_which_the_backbone_saw_its_images(
    monkeypatch, tmp_path, method, weights, scales, named, seen
):
    pretrain = run(pretrain_config(method, ABOUT, **ARGS, weights=weights))
    runs = judged(pretrain.config, *scales)
    monkeypatch.setattr(write, "load_runs", lambda _: [pretrain, *runs])
    assert write.seen_scale(pretrain if named is None else runs[named], pretrain, tmp_path) == seen


def test_what_was_not_trained_and_was_judged_on_two_scales_is_refused_until_a_judge_is_named(
    monkeypatch, tmp_path
):
    pretrain = run(pretrain_config("random", ABOUT, **ARGS))
    monkeypatch.setattr(write, "load_runs", lambda _: judged(pretrain.config, "unit", "imagenet"))
    with pytest.raises(UsageError, match="on the scales imagenet and unit: name the probe"):
        write.seen_scale(pretrain, pretrain, tmp_path)


@pytest.mark.parametrize(
    ("name", "how"),
    [("digits", "bicubic"), ("indoor67", "bilinear"), ("folder:few", "bilinear"), ("gone", "bilinear")],
)
def test_timm_is_told_the_resize_by_which_images_came_to_their_size(name, how):
    assert write._interpolation(name) == how


def folder(tmp_path, **own):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    about = {"run": "0123456789abcdef", "label": "supervised imagenet seed 0", "backbone": "resnet18", **own}
    config = {"architecture": "resnet18", "bench": about}
    (tmp_path / "config.json").write_text(json.dumps(config))
    return str(tmp_path)


def test_features_that_learned_from_imagenet_s_labels_are_marked_after_an_export_too(tmp_path):
    trained = {"method": "supervised", "dataset": {"name": "imagenet:few"}, "train": {"epochs": 90}}
    assert labels_seen(trained) == "imagenet:few"
    assert labels_seen({**trained, "method": "beta-vae"}) is None
    weights = look_up(folder(tmp_path, labels=labels_seen(trained)), None).identity
    again = pretrain_config("given", {"name": "tinyimagenet", "version": 1}, **ARGS, weights=weights)
    assert is_marked(again, {"name": "tinyimagenet"})
    assert labels_seen(again) == "imagenet:few", "and after another export"
    assert "labels" not in look_up(folder(tmp_path), None).identity
