"""What several devices would compute as something else than one does is refused in one line."""

import dataclasses
import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.distributed import HashStore  # pyright: ignore[reportPrivateImportUsage]

from bench.cli import main
from bench.devices.batch_norm import synchronise
from bench.devices.share import Share
from bench.devices.team import Images, Team
from bench.errors import UsageError
from bench.inputs import Inputs
from bench.launch.control import RunOptions, Stop
from bench.launch.distributed import refuse_coupled
from bench.train import pretrain
from models.registry import METHODS
from tests.fake_trainer import anything
from tests.learning import noise_data, pretrain_config

RUN = ["run", "-m", "random,bigan", "-d", "digits", "-s", "1", "--device", "cpu"]
SAYS = "bigan compares the examples of a batch with one another (couples_examples)"


@pytest.fixture
def coupled(monkeypatch):
    monkeypatch.setitem(METHODS, "bigan", dataclasses.replace(METHODS["bigan"], couples_examples=True))


@pytest.fixture
def tasks(tmp_path):
    """A profile whose pretrainings have two tasks without --devices."""
    path = tmp_path / "p.toml"
    path.write_text("[pretrain]\ntasks_per_node = 2\n")
    return ["--slurm", "--profile", str(path)]


@pytest.mark.usefixtures("coupled")
def test_a_method_that_couples_examples_is_refused_on_several_devices(tmp_path, tasks, capsys):
    results = ["--results", str(tmp_path / "results")]
    for words in (["--devices", "2"], ["--devices", "2", "--dry-run"], tasks, ["--slurm", "--nodes", "2"]):
        assert main([*RUN, *words, *results]) == 2
        assert SAYS in capsys.readouterr().err
        assert not (tmp_path / "results").exists()
    refuse_coupled("bigan", 1)
    refuse_coupled("beta-vae", 2)


@pytest.mark.usefixtures("coupled")
def test_no_rank_trains_a_method_that_couples_examples():
    with pytest.raises(UsageError, match="trained on one device, not on 2"):
        pretrain(
            pretrain_config("bigan", size=16),
            noise_data(9, 4, 16),
            anything(None),
            device="cpu",
            stop=Stop(),
            progress=lambda *_: None,
            options=RunOptions(),
            share=Share(0, 2),
        )


def test_batch_norm_of_each_device_is_refused_where_a_profile_alone_says_how_many_there_are(tasks, capsys):
    assert main([*RUN, *tasks, "--batch-norm", "per-device"]) == 2
    said = capsys.readouterr().err
    assert "the profile's pretrainings have 2 tasks, so add --devices 2" in said
    assert "--nodes" not in said


def test_batch_norm_of_each_device_needs_two_images_in_the_smallest_batch():
    settings = pretrain_config("bigan", batch_size=6)["train"] | {"batch_norm_devices": 2}

    def inputs(images):
        return Inputs(anything(SimpleNamespace(phases=())), anything(range(images)), settings, 0, Share(0, 2))

    with pytest.raises(UsageError, match="the smallest batch has 3 for 2 devices"):
        inputs(9)
    assert inputs(10).per_epoch == 2


@pytest.mark.parametrize(("device", "refused"), [("cuda", True), ("cpu", False)])
def test_gpus_are_not_mixed_with_processes_that_have_none(device, refused, monkeypatch):
    team = Team(Images(None, False, {}), device, size=2)
    monkeypatch.setattr(team, "_start_missing", lambda _: None)
    team._store = HashStore()
    for rank, backend in enumerate(("nccl", "gloo")):
        team._store.set(f"rank {rank}", json.dumps({"node": f"node{rank}", "backend": backend}))
    if not refused:
        assert team.facts()["backend"] == "gloo"
        return
    with pytest.raises(UsageError, match="rank 1 on node1 has no GPU of its own"):
        team.facts()


def test_the_gradient_of_a_gradient_through_synchronised_batch_norm_is_refused_in_one_line(monkeypatch):
    share = Share(0, 2)
    monkeypatch.setattr(share, "sums", lambda vector: vector)
    layer = nn.BatchNorm2d(3)
    synchronise(layer, share)
    share.turn_to(4)
    x = torch.randn(2, 3, 2, 2, requires_grad=True)
    loss = layer(x).square().sum()
    torch.autograd.grad(loss, [x], retain_graph=True)
    with pytest.raises(UsageError, match="gradient penalty"):
        torch.autograd.grad(loss, [x], create_graph=True)
