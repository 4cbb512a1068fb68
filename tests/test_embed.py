"""Features written for elsewhere: those of the backbone on the images that they are said to be of, or no file."""

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from bench import embed
from bench.build import build_backbone
from bench.cli import main
from bench.data import registry as datasets
from bench.data.batches import Pixels
from bench.records import load_runs

DATA = "digits@10%"


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embed") / "results"
    words = ["-m", "random", "-d", DATA, "-s", "1,", "--probes", "conv1,conv1-5", "--set", "probe.epochs=1"]
    assert main(["run", *words, "--evaluate", "none", "--results", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def pretrain(results) -> Any:
    (run,) = (run for run in load_runs(results) if run.config["kind"] == "pretrain")
    return run


@pytest.fixture(scope="module")
def maps():
    """What the backbone of seed 1 makes of the test images after each of its stages."""
    backbone, split = build_backbone("resnet9", 1).eval(), datasets.load(DATA, None).test
    x = Pixels(split, "cpu", "imagenet").batch(torch.arange(len(split)))[0]
    found = []
    with torch.no_grad():
        for stage in range(len(backbone.stages)):
            x = backbone(x, stage, stage + 1)
            found.append(x.numpy())
    return found


def test_npy_holds_the_pooled_features_and_beside_it_labels_rows_and_where_they_are_from(
    results, pretrain, maps, tmp_path, capsys
):
    words = ["embed", pretrain.id, "-d", DATA, "--results", results, "--to", tmp_path / "a.npy"]
    assert call(capsys, *words)[0] == 0
    data = datasets.load(DATA, None)
    features, beside = np.load(tmp_path / "a.npy"), np.load(tmp_path / "a.labels.npz")
    assert features.shape == (len(data.train) + len(data.test), 128)
    assert np.array_equal(beside["labels"], np.concatenate([data.train.labels, data.test.labels]))
    assert np.array_equal(beside["rows"], [*range(len(data.train)), *range(len(data.test))])
    test = beside["splits"] == "test"
    assert np.allclose(features[test], maps[-1].mean((2, 3)), atol=1e-5)
    facts = json.loads((tmp_path / "a.json").read_text())
    assert (facts["run"], facts["freeze"], facts["fingerprint"]) == (pretrain.id, "conv1-5", data.fingerprint)
    assert facts["classes"] == list(data.classes)
    assert str(results) not in json.dumps(facts)


def test_parquet_has_all_in_one_file_of_any_freeze_point_by_a_label_too(results, maps, tmp_path, capsys):
    label = f"random {DATA} seed 1 conv1-5"
    words = [
        "embed",
        label,
        "-d",
        DATA,
        "--results",
        results,
        "--split",
        "test",
        "--freeze",
        "conv1-3",
        "--flatten",
    ]
    assert call(capsys, *words, "--to", tmp_path / "a.parquet")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]
    found, data = pq.read_table(tmp_path / "a.parquet"), datasets.load(DATA, None)
    wanted = maps[1].reshape(len(data.test), -1)
    features = found["features"].combine_chunks()
    assert features.type.list_size == wanted.shape[1]
    assert np.allclose(features.values.to_numpy().reshape(wanted.shape), wanted, atol=1e-5)
    assert found["label"].to_pylist() == data.test.labels.tolist()
    assert found["class"].to_pylist() == [data.classes[label] for label in data.test.labels]
    assert found["row"].to_pylist() == list(range(len(data.test)))
    assert set(found["split"].to_pylist()) == {"test"}
    facts = json.loads(found.schema.metadata[b"bench"])
    assert (facts["freeze"], facts["backbone"]) == ("conv1-3", "resnet9")


def test_a_random_backbone_of_a_seed_is_that_of_the_runs_of_this_seed(results, pretrain, tmp_path, capsys):
    common = ["-d", DATA, "--split", "test", "--results", results]
    words = ["embed", "--backbone-from", "timm:resnet9", "--seed", "1", *common, "--to", tmp_path / "a.npy"]
    assert call(capsys, *words)[0] == 0
    assert call(capsys, "embed", pretrain.id, *common, "--to", tmp_path / "b.npy")[0] == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()


def test_an_exported_backbone_gives_the_features_of_its_run(results, pretrain, tmp_path, capsys):
    assert call(capsys, "export", pretrain.id, "--to", tmp_path / "out", "--results", results)[0] == 0
    common = ["-d", DATA, "--split", "test", "--results", results]
    words = ["embed", "--backbone-from", tmp_path / "out", *common, "--to", tmp_path / "a.npy"]
    assert call(capsys, *words)[0] == 0
    assert call(capsys, "embed", pretrain.id, *common, "--to", tmp_path / "b.npy")[0] == 0
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert json.loads((tmp_path / "a.json").read_text())["from"].startswith(
        f"resnet9: run {pretrain.id[:8]}: random"
    )


@pytest.mark.parametrize("name", ["a.npy", "a.parquet"])
def test_what_fails_on_the_way_leaves_no_file_and_what_was_there(
    results, pretrain, tmp_path, capsys, monkeypatch, name
):
    words = [
        "embed",
        pretrain.id,
        "-d",
        DATA,
        "--results",
        results,
        "--split",
        "test",
        "--to",
        tmp_path / name,
    ]
    assert call(capsys, *words)[0] == 0
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, _, err = call(capsys, *words)
    assert (code, "is there already" in err) == (2, True)
    whole = embed.Embedder.rows

    def cut(self, *args):
        for number, rows in enumerate(whole(self, *args)):
            if number:
                raise OSError(28, "No space left on device")
            yield rows

    monkeypatch.setattr(embed.Embedder, "rows", cut)
    code, _, err = call(capsys, *words, "--force")
    assert (code, err.count("\n"), "no space left" in err) == (2, 1, True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["RUN", "--to", "a.csv"], "features are written as .npy or .parquet"),
        (["RUN", "--to", "none/a.npy"], "there is no folder"),
        (["RUN", "--to", "a.npy", "--freeze", "conv2"], "did you mean 'conv1'"),
        (["RUN", "--to", "a.npy", "--freeze", "none"], "unknown freeze point 'none'"),
        (["RUN", "--to", "a.npy", "--backbone-from", "timm:resnet18"], "one of the two"),
        (["--to", "a.npy"], "one of the two"),
        (["RUN", "--to", "a.npy", "--pretrained"], "a run has its own"),
        (["RUN", "--to", "a.npy", "-d", "digit"], "did you mean 'digits'"),
        (["random digits@10% seed 1 conv1", "--to", "a.npy"], "trained stages of its own"),
        (["--to", "a.npy", "--backbone-from", "timm:resnet1"], "unknown backbone 'resnet1'"),
        (
            ["--to", "a.npy", "--backbone-from", "timm:resnet18", "--backbone", "resnet9"],
            "--backbone is for a file",
        ),
        (["--to", "a.npy", "--backbone-from", "timm"], "needs the name of a network"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    results, pretrain, tmp_path, capsys, monkeypatch, words, says
):
    monkeypatch.chdir(tmp_path)
    words = [pretrain.id if word == "RUN" else word for word in words]
    code, out, err = call(capsys, "embed", "-d", DATA, "--results", results, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert says in err
    assert not list(tmp_path.iterdir())


def test_features_are_computed_in_the_precision_of_a_probe_and_what_the_caller_chose_is_back(monkeypatch):
    class Watched(torch.nn.Module):
        def forward(self, x):
            seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cudnn.deterministic))
            return x

    seen = []
    with torch.backends.cudnn.flags(enabled=True, benchmark=True, deterministic=False, allow_tf32=True):
        embedder = embed.of_random("resnet9", 0, None, "imagenet", "pooled", "cpu")
        embedder.backbone.register_forward_pre_hook(lambda net, x: Watched()(x))
        next(embedder.rows("test", datasets.load("digits@2%", None).test, "cpu"))
        assert torch.backends.cudnn.benchmark
    assert seen == [(False, True)]
