"""What a command line may name."""

import pytest

from bench.errors import UsageError
from bench.selection import (
    FREEZE_POINTS,
    STRIDES,
    WHOLE,
    backbone_stride,
    freeze_points,
    parse_duration,
    parse_seeds,
    select,
)
from models.registry import METHODS

NAMES = ["vae", "vae-lw", "gan", "random"]


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["vae"], ["vae"]),
        (["random,vae"], ["random", "vae"]),
        (["all"], NAMES),
        (["vae*"], ["vae", "vae-lw"]),
        (["all,!gan"], ["vae", "vae-lw", "random"]),
        (["!vae*"], ["gan", "random"]),
        (["gan", "vae,gan"], ["gan", "vae"]),
        (["[gr]an*"], ["gan", "random"]),
    ],
)
def test_names_take_commas_all_globs_and_exclusions(texts, names):
    assert select("method", texts, NAMES) == names


def test_all_means_all_twelve():
    assert len(select("method", ["all"], METHODS)) == 12


@pytest.mark.parametrize("text", ["vea", "all,!nothing", "x*"])
def test_a_name_that_means_nothing_is_refused_with_the_nearest(text):
    with pytest.raises(UsageError, match="unknown method"):
        select("method", [text], NAMES)
    with pytest.raises(UsageError, match="did you mean 'vae'"):
        select("method", ["vea"], NAMES)


def test_nothing_left_is_refused():
    with pytest.raises(UsageError, match="left"):
        select("method", ["vae,!vae"], NAMES)
    with pytest.raises(UsageError, match="left"):
        select("method", [","], NAMES)


def test_a_folder_is_taken_as_it_is():
    assert select("data set", ["folder:/a/b,vae"], NAMES, "folder:") == ["folder:/a/b", "vae"]


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("3", [0, 1, 2]),
        ("2-4", [2, 3, 4]),
        ("0,7", [0, 7]),
        ("7,", [7]),
        ("0-1,5", [0, 1, 5]),
        ("1,1", [1]),
    ],
)
def test_seeds(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["a-b", "-1", "0", "", "4-2", "1.5", "1e3", "1,,a", "99999999"])
def test_other_seeds_are_one_line(text):
    with pytest.raises(UsageError, match="write a count"):
        parse_seeds(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("9m", 540), ("1h30m", 5400), ("0.5", 0.5)]
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "x", "0", "-5", "1d"])
def test_other_durations_are_one_line(text):
    with pytest.raises(UsageError, match="time"):
        parse_duration(text)


@pytest.mark.parametrize("name", FREEZE_POINTS)
def test_the_table_of_freeze_points_is_what_the_networks_have(name):
    import torch

    from models import backbones

    assert backbones.point_names(backbones.Backbone(name).taps) == FREEZE_POINTS[name]
    size = 2 * STRIDES[name]
    assert backbone_stride(name) == STRIDES[name]
    assert backbones.Backbone(name).eval()(torch.zeros(1, 3, size, size)).shape[-2:] == (2, 2)


def test_any_cnn_of_timm_has_freeze_points_and_a_wrong_name_the_nearest():
    assert freeze_points("convnext_atto") == ("stage1", "stage2", "stage3", "stage4")
    with pytest.raises(UsageError, match="did you mean 'resnet9'"):
        freeze_points("resnet99")


def test_a_network_that_is_no_sequence_of_stages_is_one_stage():
    import torch

    from models import backbones

    assert freeze_points("test_vit") == (WHOLE,) == (backbones.WHOLE,)
    assert backbone_stride("test_vit") == 16
    backbone = backbones.Backbone("test_vit").eval()
    image = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(backbone(image)[:, :, 0, 0], backbone.net(image))
    assert backbone(image).shape == (2, backbone.num_features, 1, 1)
