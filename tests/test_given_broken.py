"""Folders and files of weights as they lie about: what is broken or another network is one line, the rest is read."""

import json

import pytest
import torch
from safetensors.torch import save_file

from bench.build import build_backbone
from bench.errors import UsageError
from bench.exported.folder import read_folder
from bench.given import look_up, scale_of
from bench.taking import fill

ARGS = {"layers": [2, 2, 0, 0], "channels": [64, 128, 128, 128], "zero_init_last": False}
CFG = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
OWN = {"run": "0123456789abcdef", "label": "supervised digits seed 0", "backbone": "resnet9"}


def write(folder, **config):
    (folder / "model.safetensors").write_bytes(b"weights")
    whole = {"architecture": "resnet18", "model_args": ARGS, "pretrained_cfg": CFG, **config}
    (folder / "config.json").write_text(json.dumps(whole))
    return folder


def test_a_folder_of_timm_s_arguments_for_resnet9_is_one(tmp_path):
    args = {**ARGS, "num_classes": 0, "drop_path_rate": 0.1}
    found = look_up(str(write(tmp_path, model_args=args)), None)
    assert (found.backbone, found.scale, found.origin) == ("resnet9", "symmetric", "file")


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"pretrained_cfg": {"mean": [0.5], "std": [0.5]}}, "mean is [0.5], not three numbers"),
        ({"pretrained_cfg": {**CFG, "std": [0.5, 0.5]}}, "std is [0.5, 0.5], not three numbers"),
        ({"pretrained_cfg": {**CFG, "std": [0.5, None, "a"]}}, "std is [0.5, None, 'a'], not three numbers"),
        ({"pretrained_cfg": {**CFG, "mean": [0.5, 0.5, float("nan")]}}, "mean is [0.5, 0.5, nan], not three"),
        ({"pretrained_cfg": {**CFG, "mean": 0.5}}, "mean is 0.5, not three numbers"),
        ({"model_args": [1]}, "model_args is [1], not an object"),
    ],
)
def test_a_folder_whose_config_timm_could_not_use_is_one_line_that_names_the_value(tmp_path, config, says):
    with pytest.raises(UsageError) as error:
        read_folder(write(tmp_path, **config))
    assert f"config.json: {says}" in str(error.value)


def test_an_input_of_one_channel_has_no_scale_here():
    with pytest.raises(UsageError, match=r"no input scale here has its mean \(0.5,\)"):
        scale_of((0.5,), (0.5,), "timm's grey network")


@pytest.mark.parametrize(
    "more", [{"act_layer": "silu"}, {"output_stride": 8}, {"aa_layer": "blurpool"}, {"in_chans": 1}]
)
def test_a_network_that_computes_something_else_with_weights_that_fit_is_not_taken_for_resnet9(
    tmp_path, more
):
    ((key, value),) = more.items()
    with pytest.raises(UsageError, match=f"was built with {key}={value}"):
        look_up(str(write(tmp_path, model_args={**ARGS, **more})), None)


def test_what_a_folder_says_of_its_run_is_one_line_whoever_edited_it(tmp_path):
    own = {**OWN, "label": "supervised\n| digits\x1b[0m  seed 0"}
    assert (
        look_up(str(write(tmp_path, bench=own)), None).origin == "run 01234567: supervised | digits[0m seed 0"
    )
    for run in ("0123\n6789", "of-mine", ""):
        assert look_up(str(write(tmp_path, bench={**OWN, "run": run})), None).origin == "file"


@pytest.mark.parametrize("name", ["junk.pth", "zip.pth", "list.pth", "numbers.pth", "short.safetensors"])
def test_a_file_that_no_reader_understands_is_one_line(tmp_path, name):
    path = tmp_path / name
    if name == "list.pth":
        torch.save([torch.zeros(2)], path)
    elif name == "numbers.pth":
        torch.save({0: torch.zeros(2)}, path)
    else:
        path.write_bytes(
            {"junk.pth": b"junk", "zip.pth": b"PK\x03\x04 cut"}.get(name, b"\x08\0\0\0\0\0\0\0{")
        )
    with pytest.raises(UsageError, match="cannot be read as weights of resnet9") as error:
        fill(build_backbone("resnet9", 0), "file", path)
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def state():
    return build_backbone("resnet9", 3).net.state_dict()


def test_a_file_from_before_batches_were_counted_is_whole(state, tmp_path):
    uncounted = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    assert len(uncounted) < len(state)
    save_file(uncounted, tmp_path / "a.safetensors")
    backbone = build_backbone("resnet9", 0)
    fill(backbone, "file", tmp_path / "a.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.net.state_dict().items())


def test_a_name_that_is_there_twice_is_refused_rather_than_the_last_one_taken(state, tmp_path):
    twice = {**state, "model.conv1.weight": torch.zeros_like(state["conv1.weight"])}
    save_file(twice, tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match=r"has 'conv1.weight' twice, once as '(model\.)?conv1.weight'"):
        fill(build_backbone("resnet9", 0), "file", tmp_path / "a.safetensors")


def test_a_run_s_own_file_is_read_whatever_its_method_has_beside_the_backbone(state, tmp_path):
    whole = {f"backbone.net.{name}": tensor for name, tensor in state.items()}
    save_file({**whole, "classifier.bias": torch.zeros(3)}, tmp_path / "a.safetensors")
    backbone = build_backbone("resnet9", 0)
    fill(backbone, "file", tmp_path / "a.safetensors")
    assert all(torch.equal(tensor, state[name]) for name, tensor in backbone.net.state_dict().items())
