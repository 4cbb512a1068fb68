"""Weights that exist already: probed as if they had been pretrained here, and known by where they are from."""

import json
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from bench import asked
from bench.checkpoint import read_tensors
from bench.cli import main
from bench.config import pretrain_config
from bench.evaluations.weights import sha256_of
from bench.given import look_up
from bench.records import load_runs

SMALL = ["-d", "digits@10%", "--set", "probe.epochs=1", "--set", "features.max_iter=5"]


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


def runs(results) -> Any:
    return {(run.config["kind"], run.config.get("evaluation")): run for run in load_runs(results)}


@pytest.fixture(scope="module")
def net():
    """A small ResNet with weights that no seed of ours has."""
    with torch.random.fork_rng():
        torch.manual_seed(1234)
        return timm.create_model("test_resnet", num_classes=7)


@pytest.fixture(scope="module")
def folder(net, tmp_path_factory):
    """The same as timm saves it for the hub, with another input than ours."""
    place = tmp_path_factory.mktemp("given") / "saved"
    place.mkdir()
    save_file(net.state_dict(), place / "model.safetensors")
    cfg = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "input_size": [3, 64, 64]}
    (place / "config.json").write_text(json.dumps({"architecture": "test_resnet", "pretrained_cfg": cfg}))
    return place


@pytest.fixture
def hub(net, tmp_path, monkeypatch):
    """A hub's cache that holds timm's weights of it, and no way to the hub."""
    from huggingface_hub import constants

    place = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("0" * 40)
    (place / "snapshots" / ("0" * 40)).mkdir(parents=True)
    whole = {
        **net.state_dict(),
        "fc.weight": torch.zeros(1000, net.num_features),
        "fc.bias": torch.zeros(1000),
    }
    save_file(whole, place / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return place


def test_a_random_network_of_timm_is_judged_by_knn_a_linear_and_an_mlp_probe(tmp_path, capsys):
    words = [
        "--backbone-from",
        "timm:convnext_atto",
        *SMALL,
        "-s",
        "1",
        "--probes",
        "stage4",
        "--results",
        tmp_path,
    ]
    code, out, _ = call(capsys, "probe", *words)
    assert code == 0
    assert out.startswith("backbone: convnext_atto: random weights of the seed")
    found = runs(tmp_path)
    assert found["probe", None].config["pretrain"]["backbone"] == "convnext_atto"
    assert found["probe", None].config["pretrain"]["method"] == "random"
    assert found["probe", None].result["rules"]["last"]["top1"] > 0.1
    assert set(found["evaluate", "features"].result["metrics"]) == {"knn_top1", "linear_top1", "linear_top5"}
    assert found["evaluate", "features"].result["metrics"]["knn_top1"] > 0.5


def test_a_folder_that_timm_saved_is_probed_with_its_own_weights_and_input(net, folder, tmp_path, capsys):
    words = [
        "probe",
        "--backbone-from",
        folder,
        *SMALL,
        "-s",
        "1",
        "--probes",
        "conv1-9",
        "--results",
        tmp_path,
    ]
    assert call(capsys, *words)[0] == 0
    found = runs(tmp_path)
    pretrain, probe = found["pretrain", None], found["probe", None]
    tensors, _ = read_tensors(pretrain.weights)
    own = net.state_dict()
    assert torch.equal(tensors["backbone.net.layer4.0.conv1.weight"], own["layer4.0.conv1.weight"])
    assert pretrain.result["steps"] == 0
    sha256 = sha256_of(folder / "model.safetensors")
    assert pretrain.config["weights"] == {"origin": "file", "sha256": sha256, "scale": "symmetric"}
    assert str(folder) not in json.dumps(pretrain.config)
    assert probe.config["probe"]["scale"] == "symmetric"
    assert found["evaluate", "features"].config["evaluate"]["scale"] == "symmetric"
    assert call(capsys, *words)[1].count("3 of 3 cells are done (0 now") == 1
    (one, *_) = asked.load(tmp_path).values()
    assert one.selection["given"]["typed"] == str(folder)


def test_they_stand_in_the_panel_of_those_that_were_trained_and_say_where_they_are_from(
    folder, tmp_path, capsys
):
    from bench.report.build import build

    common = [*SMALL, "--probes", "conv1-9", "--results", tmp_path]
    assert call(capsys, "probe", "--backbone-from", folder, *common, "-s", "1")[0] == 0
    few = ["-m", "random", "--backbone", "test_resnet", "-s", "1"]
    assert call(capsys, "run", *few, *common)[0] == 0
    tables = build(tmp_path, study=None, with_figures=False).tables
    assert len(tables) == 2
    sha256 = sha256_of(folder / "model.safetensors")
    for table in tables:
        labels = [row.label for row in table.rows]
        assert labels == [f"Given: file {sha256[:8]} (input scale symmetric)", "Random (untrained)"]
        assert any("one set at every seed" in note for note in table.notes)
        assert all(cell.estimate is not None for row in table.rows for cell in row.cells)
        assert [row.group for row in table.rows] == ["labelled", "controls"]


def test_supervised_takes_timms_weights_from_its_cache_and_trains_nothing(hub, net, tmp_path, capsys):
    results = tmp_path / "results"
    words = [
        "run",
        "-m",
        "supervised,random",
        "--weights",
        "timm",
        "--backbone",
        "test_resnet",
        *SMALL,
        "-s",
        "1",
    ]
    words += ["--probes", "conv1-9", "--evaluate", "none", "--results", results]
    assert call(capsys, *words)[0] == 0
    by_method: Any = {r.config["method"]: r for r in load_runs(results) if r.config["kind"] == "pretrain"}
    pretrain = by_method["supervised"]
    assert "weights" not in by_method["random"].config
    assert pretrain.config["weights"]["origin"] == "timm test_resnet.r160_in1k"
    (file,) = hub.rglob("*.safetensors")
    assert pretrain.config["weights"]["sha256"] == sha256_of(file)
    assert (pretrain.config["weights"]["scale"], pretrain.result["steps"]) == ("symmetric", 0)
    tensors, _ = read_tensors(pretrain.weights)
    assert torch.equal(tensors["backbone.net.conv1.0.weight"], net.state_dict()["conv1.0.weight"])
    _, out, _ = call(capsys, "report", "--results", results)
    assert "Supervised: timm test_resnet.r160_in1k" in out
    # Those that are trained keep the identity that they had before there were weights to take.
    config = by_method["random"].config
    args = {"image_size": 32, "flip": False, "seed": 0, "backbone": "test_resnet"}
    plain = pretrain_config("supervised", config["dataset"], **args)
    assert "weights" not in plain


def test_what_is_to_be_typed_next_names_the_weights_again(folder, tmp_path, capsys):
    words = [
        "--backbone-from",
        folder,
        "-d",
        "digits",
        "-s",
        "1",
        "--results",
        tmp_path,
        "--time-budget",
        "0.001s",
    ]
    assert call(capsys, "probe", *words)[0] == 3
    _, out, _ = call(capsys, "status", "--results", tmp_path)
    assert f"bench probe --backbone-from {folder} -d digits -s 1" in out


@pytest.fixture(scope="module")
def files(net, tmp_path_factory):
    place = tmp_path_factory.mktemp("files")
    state = net.state_dict()
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}}, place / "wrapped.pth")
    torch.save({k: v for k, v in state.items() if k != "layer3.0.conv1.weight"}, place / "short.pth")
    torch.save({**state, "layer2.0.conv1.weight": torch.zeros(2, 3)}, place / "shape.pth")
    torch.save({**state, "layer9.weight": torch.zeros(2)}, place / "other.pth")
    torch.save({"state_dict": state, "by": Evil()}, place / "pickle.pth")
    (place / "text.safetensors").write_text("no weights")
    (place / "text.txt").write_text("no weights")
    return place


class Evil:
    def __reduce__(self):
        return (print, ("code that a file of weights must not run",))


def test_a_file_with_the_names_of_a_wrapper_is_read(files, tmp_path, capsys):
    words = [
        "-m",
        "supervised",
        "--weights",
        files / "wrapped.pth",
        "--backbone",
        "test_resnet",
        "-d",
        "digits",
    ]
    code, out, err = call(
        capsys, "run", *words, "--dry-run", "--no-measure", "--results", tmp_path / "r", "--json"
    )
    assert code == 0
    assert "supervised (file " in out
    assert "weights: test_resnet: file" in err
    assert "input on the protocol's scale" in err


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("short.pth", "has no 'layer3.0.conv1.weight'"),
        ("shape.pth", "'layer2.0.conv1.weight' is 2 x 3, and that of a test_resnet is 48 x 32 x 3 x 3"),
        ("other.pth", "has 'layer9.weight', which timm's test_resnet has not"),
        ("pickle.pth", "cannot be read as weights of test_resnet"),
        ("text.safetensors", "cannot be read as weights of test_resnet"),
        ("text.txt", "in a file that ends in one of .safetensors"),
        ("nothing.pth", "neither a file of weights nor a folder"),
        ("", "has no config.json"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line_and_nothing_is_written(files, tmp_path, capsys, name, says):
    results = tmp_path / "results"
    words = ["-m", "supervised", "--weights", files / name, "--backbone", "test_resnet", "--results", results]
    code, out, err = call(capsys, "run", *words)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not results.exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["probe", "--backbone-from", "timm"], "needs the name of a network"),
        (["probe", "--backbone-from", "timm:convnext_ato"], "unknown backbone 'convnext_ato'"),
        (["probe", "--backbone-from", "timm:test_resnet.a9_in1k"], "it has test_resnet.r160_in1k"),
        (["probe", "--backbone-from", "timm:test_resnet", "--backbone", "resnet9"], "--backbone is for a file"),
        (["probe", "--backbone-from", "FOLDER", "--backbone", "resnet9"], "holds a test_resnet"),
        (["probe", "--backbone-from", "FOLDER", "--pretrained"], "--pretrained is for"),
        (["probe", "--backbone-from", "FOLDER/model.safetensors"], "does not say of which network"),
        (["run", "-m", "beta-vae", "--backbone", "test_vit"], "rebuilds images from maps, and test_vit"),
        (["run", "-m", "supervised", "--weights", "timm"], "timm has no weights of resnet9"),
        (["run", "-m", "random", "--weights", "timm", "--backbone", "test_resnet"], "--weights is for supervised"),
        (["run", "--table", "1", "--weights", "timm", "--backbone", "test_resnet"], "leave one out"),
        (["run", "-m", "given"], "unknown method 'given'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_nothing_is_written(folder, tmp_path, capsys, words, says):
    results = tmp_path / "results"
    words = [word.replace("FOLDER", str(folder)) for word in words]
    code, out, err = call(capsys, *words, "-d", "digits", "--results", results)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not results.exists()


def test_timms_weights_that_are_not_here_are_one_line(hub, tmp_path, capsys):
    words = [
        "-m",
        "supervised",
        "--weights",
        "timm:resnet18.tv_in1k",
        "--backbone",
        "resnet18",
        "-d",
        "digits",
    ]
    for more, says in (([], "does not give them"), (["--dry-run"], "without --dry-run they are fetched")):
        code, _, err = call(capsys, "run", *words, *more, "--results", tmp_path / "results")
        assert (code, err.count("\n")) == (2, 1)
        assert says in err
        assert "huggingface.co/timm/resnet18.tv_in1k" in err
        assert not (tmp_path / "results").exists()


def test_weights_that_have_become_others_are_not_taken(folder, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    words = ["--backbone-from", copy, *SMALL, "-s", "1", "--probes", "conv1", "--evaluate", "none"]
    assert call(capsys, "probe", *words, "--time-budget", "0.001s", "--results", tmp_path / "r")[0] == 3
    found = look_up(str(copy), None)
    (copy / "model.safetensors").write_bytes(b"other")
    code, out, _ = call(capsys, "retry", "--state", "new,stopped", "--results", tmp_path / "r")
    assert code == 1
    assert f"is not, or no longer, the file of weights whose SHA-256 is {found.sha256}" in out
