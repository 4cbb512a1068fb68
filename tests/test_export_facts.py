"""What an exported folder says of its backbone is so: scale and resize of its input, whose labels it has seen."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench.config import config_id, evaluate_config, pretrain_config, probe_config
from bench.errors import UsageError
from bench.exported import folder as folder_module
from bench.exported import write
from bench.exported.folder import FILES, check_target, written_whole
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


NETWORK = """
from timm.models import register_model
from models.backbones import resnet9

@register_model
def exportable(pretrained=False, **kwargs):
    return resnet9(pretrained, **{"channels": (8, 16, 16, 16), **kwargs})
"""


def test_the_card_of_a_package_s_network_says_what_has_to_be_imported(tmp_path, monkeypatch):
    from bench.exported.card import _loading
    from bench.selection import _facts, freeze_points
    from models import plugins

    (tmp_path / "exportable_network.py").write_text(NETWORK)
    about = tmp_path / "netpack-0.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: netpack\nVersion: 0.3\n")
    (about / "entry_points.txt").write_text("[bench.backbones]\nexportable = exportable_network\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins._every.cache_clear()
    try:
        freeze_points("exportable")
        needs = write._needs("exportable")
    finally:
        plugins.PACKAGES.pop(("bench.backbones", "exportable"), None)
        plugins._every.cache_clear()
        _facts.cache_clear()
    assert needs == {"needs": {"package": "netpack 0.3", "module": "exportable_network"}}
    cfg = {"input_size": [3, 32, 32], "mean": [0.5] * 3, "std": [0.5] * 3}
    config = {"architecture": "exportable", "num_features": 16, "pretrained_cfg": cfg}
    card = _loading({**config, "bench": {"probed": "maps", **needs}})
    assert "import torch\nimport exportable_network" in card
    assert "is all that it takes" not in card
    assert "It is netpack 0.3's `exportable`" in card
    assert write._needs("resnet18") == {}
    assert "is all that it takes" in _loading({**config, "bench": {"probed": "maps"}})


def fill(folder):
    for name in FILES:
        (folder / name).write_text("new")


def exists(folder):
    return sorted(path.name for path in folder.iterdir())


def test_an_empty_folder_stays_the_one_that_it_was_and_a_shell_in_it_sees_what_is_written(
    tmp_path, monkeypatch
):
    place = tmp_path / "mine"
    place.mkdir()
    before = place.stat().st_ino
    monkeypatch.chdir(place)
    for _ in range(2):
        with written_whole(Path()) as new:
            fill(new)
        assert (exists(Path()), Path().stat().st_ino) == (sorted(FILES), before)
    assert exists(tmp_path) == ["mine"]


def test_a_link_to_a_folder_is_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "config.json").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with written_whole(tmp_path / "link") as new:
        fill(new)
    assert exists(tmp_path) == ["link", "real"]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real" / "config.json").read_text() == "new"


def test_what_fails_leaves_an_empty_folder_empty(tmp_path):
    def cut_short():
        with written_whole(tmp_path) as new:
            fill(new)
            raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match="cannot be written"):
        cut_short()
    assert exists(tmp_path) == []


def test_an_empty_folder_need_not_have_a_parent_that_can_be_written(tmp_path, monkeypatch):
    place = tmp_path / "mount"
    place.mkdir()
    monkeypatch.setattr(folder_module.os, "access", lambda path, _: path == place)
    check_target(place)
    with pytest.raises(UsageError, match="cannot be written"):
        check_target(tmp_path / "beside")
