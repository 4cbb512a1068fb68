"""An exported backbone is one that timm opens by itself, and it is the one that was probed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from bench.build import build_backbone, under
from bench.checkpoint import read_tensors
from bench.cli import main
from bench.data import registry as datasets
from bench.data.batches import Pixels
from bench.records import load_runs

# What somebody does who has the folder and timm, and has never heard of this project.
ALONE = """
import importlib.abc, sys

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("bench", "models"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
try:
    import models.backbones
except ModuleNotFoundError:
    pass
else:
    sys.exit("this project is importable")

import numpy as np, timm, torch
from PIL import Image
from timm.data import create_loader, create_transform, resolve_data_config
from timm.optim import create_optimizer_v2

folder, arrays = sys.argv[1:]
seen = np.load(arrays)
torch.manual_seed(0)
model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
data = resolve_data_config({}, model=model)
pictures = [Image.fromarray(image) for image in seen["images"].transpose(0, 2, 3, 1)]
transform = create_transform(**data)
batch = torch.stack([transform(picture) for picture in pictures])
with torch.no_grad():
    given = torch.from_numpy(seen["input"]).contiguous(memory_format=torch.channels_last)
    apart = abs(model.forward_features(given).numpy() - seen["maps"]).max()
    assert apart <= 1e-6, apart
    # Through timm's own transform, in double precision: in single, the order of a sum alone is more than 1e-6.
    model.double()
    largest = abs(seen["maps64"]).max()
    apart = abs(model.forward_features(batch.double()).numpy() - seen["maps64"]).max()
    assert apart <= 1e-6 * largest, (apart, largest)
    apart = abs(model(batch.double()).numpy() - seen["maps64"].mean((2, 3))).max()
    assert apart <= 1e-6 * largest, (apart, largest)

class Pictures(torch.utils.data.Dataset):
    transform = None
    def __len__(self):
        return len(pictures)
    def __getitem__(self, k):
        return self.transform(pictures[k]), int(seen["labels"][k])

model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=10).train()
loader = create_loader(
    Pictures(), data["input_size"], 40, is_training=True, use_prefetcher=False, no_aug=True, num_workers=0,
    persistent_workers=False, interpolation=data["interpolation"], mean=data["mean"], std=data["std"],
)
optimizer = create_optimizer_v2(model, opt="adamw", lr=1e-3)
losses = []
for _ in range(6):
    for image, label in loader:
        loss = torch.nn.functional.cross_entropy(model(image), label)
        optimizer.zero_grad(); loss.backward(); optimizer.step()
        losses.append(float(loss.detach()))
hub = timm.create_model("hf-hub:somebody/of-this", pretrained=True).eval()
with torch.no_grad():
    apart = abs(hub.forward_features(given).numpy() - seen["maps"]).max()
    assert apart <= 1e-6, apart
assert losses[-1] < 0.8 * losses[0], losses
print("alone", len(model.state_dict()))
"""


def call(capsys, *words):
    code = main([str(word) for word in words])
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "results"
    few = [f"--set={pair}" for pair in ("pretrain.epochs=1", "pretrain.epoch_images=64", "probe.epochs=1")]
    words = [
        "-m",
        "supervised",
        "-d",
        "digits@10%",
        "-s",
        "2",
        "--probes",
        "conv1-3,conv1-5",
        "--evaluate",
        "none",
    ]
    assert main(["run", *words, *few, "--results", str(folder)]) == 0
    return folder


def runs(results, kind, seed=0):
    return [run for run in load_runs(results) if (run.config["kind"], run.config["seed"]) == (kind, seed)]


@pytest.fixture(scope="module")
def exported(results, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out") / "supervised"
    assert (
        main(["export", runs(results, "pretrain")[0].id, "--to", str(folder), "--results", str(results)]) == 0
    )
    return folder


def test_timm_alone_opens_it_has_the_same_features_and_fine_tunes_it(results, exported, tmp_path):
    run = runs(results, "pretrain")[0]
    split = datasets.load("digits", None).test
    backbone = build_backbone("resnet9", 0)
    assert run.weights is not None
    backbone.load_state_dict(under(read_tensors(run.weights)[0], "backbone."))
    index = torch.arange(0, 360, 9)
    backbone.eval()
    with torch.no_grad():
        image = Pixels(split, "cpu", "imagenet").batch(index)[0]
        seen = {"input": image.numpy(), "maps": backbone(image).numpy()}
        exact = Pixels(split, "cpu", "imagenet", torch.float64).batch(index)[0]
        seen["maps64"] = backbone.double()(exact).numpy()
    few = {"images": split.images[index.numpy()], "labels": split.labels[index.numpy()]}
    np.savez(tmp_path / "seen.npz", **few, **seen)
    command = [
        sys.executable,
        "-P",
        "-W",
        "error::UserWarning",
        "-c",
        ALONE,
        str(exported),
        str(tmp_path / "seen.npz"),
    ]
    # The same folder as a hub's client keeps it once it was pushed and fetched.
    pushed = tmp_path / "hub" / "models--somebody--of-this"
    (pushed / "refs").mkdir(parents=True)
    (pushed / "refs" / "main").write_text("0" * 40)
    shutil.copytree(exported, pushed / "snapshots" / ("0" * 40))
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("alone")


def test_its_config_says_what_timm_needs_and_where_it_is_from(results, exported):
    config = json.loads((exported / "config.json").read_text())
    run = runs(results, "pretrain")[0]
    assert config["architecture"] == "resnet18"
    assert config["model_args"]["layers"] == [2, 2, 0, 0]
    assert (config["num_classes"], config["num_features"]) == (0, 128)
    assert config["pretrained_cfg"]["mean"] == [0.485, 0.456, 0.406]
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert config["bench"]["run"] == run.id
    assert config["bench"]["fingerprint"] == run.provenance["data"]["fingerprint"]


def test_the_card_has_the_row_with_its_interval_and_this_seed_and_names_no_path(results, exported):
    from bench.report.build import build

    card = (exported / "README.md").read_text()
    assert card.startswith("---\nlicense: unknown\nlibrary_name: timm\n")
    (table,) = build(results, study=None, with_figures=False).tables
    (row,) = table.rows
    deepest = row.cells[-1]
    (probe,) = (run for run in runs(results, "probe") if run.config["freeze"] == "conv1-5")
    assert deepest.estimate is not None
    assert deepest.estimate.n == 2
    assert probe.result is not None
    own = probe.result["rules"]["last"]["top1"]
    line = next(line for line in card.splitlines() if line.startswith("| Conv\\[1-5\\]"))
    assert f"{100 * deepest.estimate.mean:.2f} ± " in line
    assert line.endswith(f"| 2 | {100 * own:.2f} |")
    assert runs(results, "pretrain")[0].id in card
    assert "- command: `bench" in card
    assert str(Path.cwd()) not in card
    assert str(results.parent) not in card


def test_a_probe_of_the_whole_backbone_stands_for_its_pretraining_by_its_label_too(
    results, exported, tmp_path, capsys
):
    label = "supervised digits@10% seed 0 conv1-5"
    code, out, _ = call(capsys, "export", label, "--to", tmp_path / "a", "--results", results, "--json")
    assert code == 0
    assert json.loads(out)["run"] == runs(results, "pretrain")[0].id
    assert (tmp_path / "a" / "model.safetensors").read_bytes() == (
        exported / "model.safetensors"
    ).read_bytes()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["supervised digits@10% seed 0 conv1-3"], "trained stages of its own"),
        (["supervised digits@10% seed 0 conv1-6"], "did you mean 'supervised digits@10% seed 0 conv1-"),
        (["zz"], "no run 'zz'"),
        ([""], "no run ''"),
        (["supervised digits@10% seed 0 pretrain", "--license", "my own"], "--license my own"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(results, tmp_path, capsys, words, says):
    code, out, err = call(capsys, "export", *words, "--to", tmp_path / "a", "--results", results)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert says in err
    assert not list(tmp_path.iterdir())


def test_only_an_exported_backbone_is_replaced_and_only_when_told(results, exported, tmp_path, capsys):
    words = ["export", runs(results, "pretrain", 1)[0].id, "--results", results, "--to"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    for more in ([], ["--force"]):
        code, _, err = call(capsys, *words, tmp_path / "mine", *more)
        assert (code, "thesis.tex" in err) == (2, True)
    target = tmp_path / "copy"
    assert call(capsys, *words, target)[0] == 0
    before = (target / "config.json").read_bytes()
    code, _, err = call(capsys, *words, target)
    assert (code, "not empty" in err) == (2, True)
    other = ["export", runs(results, "pretrain")[0].id, "--results", results, "--to", target, "--force"]
    assert call(capsys, *other)[0] == 0
    assert (target / "config.json").read_bytes() != before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy", "mine"]


def test_a_write_that_fails_leaves_what_was_there(results, tmp_path, capsys, monkeypatch):
    from bench.exported import write

    words = ["export", runs(results, "pretrain")[0].id, "--results", results, "--to", tmp_path / "a"]
    assert call(capsys, *words)[0] == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}

    def full(path, data):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(write, "write_bytes", full)
    code, _, err = call(capsys, *words, "--force")
    assert (code, "No space left" in err) == (2, True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize(
    ("name", "point", "what"),
    [
        ("test_convnext", "stage4", "forward_features"),
        ("test_vit", "whole", "forward"),
        ("test_efficientnet", "stage5", ""),
    ],
)
def test_of_any_network_timm_has_the_same_features_or_it_is_refused(tmp_path, capsys, name, point, what):
    results, out = tmp_path / "results", tmp_path / "out"
    few = ["--set", "probe.epochs=1", "--evaluate", "none", "--results", results]
    words = ["--backbone-from", f"timm:{name}", "-d", "digits@2%", "-s", "1", "--probes", point]
    assert call(capsys, "probe", *words, *few)[0] == 0
    run = runs(results, "pretrain")[0]
    code, _, err = call(capsys, "export", run.id, "--to", out, "--results", results)
    if not what:
        assert (code, out.exists()) == (2, False)
        assert "computes more than the stages that were trained (such as conv_head)" in err
        return
    assert run.weights is not None
    backbone = build_backbone(name, 1)
    backbone.load_state_dict(under(read_tensors(run.weights)[0], "backbone."))
    image = torch.linspace(-1, 1, 2 * 3 * 32 * 32).reshape(2, 3, 32, 32)
    net = timm.create_model(f"local-dir:{out}", pretrained=True).eval()
    with torch.no_grad():
        ours, theirs = backbone.eval()(image), getattr(net, what)(image)
    assert torch.equal(theirs.reshape(ours.shape), ours)
    line = next(line for line in (out / "README.md").read_text().splitlines() if "what was probed" in line)
    assert ("forward_features" in line) == (what == "forward_features")
