"""`bench perf pretrain --authors`: a clone's own step is taken, nothing of it stays, ratios are right."""

import copy
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from bench.cli import main
from bench.errors import UsageError
from bench.perf import clone, shown
from bench.perf.authors import CORRECTED, AuthorsSteps
from bench.perf.facts import ratios, spread
from bench.perf.pretrain import Wish, measure
from bench.perf.steps import random_images
from tests.test_perf import facts

CPU = torch.device("cpu")
SMALL = {"batch": 4, "size": 16, "device": CPU}
# What a clone is called by, of no one's content: it counts its batches in a list that each import makes anew.
FILES = {
    "run.py": """
from torch.utils.tensorboard import SummaryWriter
import model, loss, utils
from utils.commons import load_vae_model, taken
from model import Discriminator
from loss import BetaVaeLoss, BetaVaeConcreteLoss, DiscLoss
import torch

def train(loader, network, optimizer, loss, writer):
    print("noise")
    for x, _ in loader:
        before = [p.detach().clone() for p in network.parameters()]
        optimizer.zero_grad()
        loss(network(x), x).backward()
        optimizer.step()
        writer.add_scalar("loss", 0.0, args.steps)
        taken.append((tuple(x.shape), x.is_contiguous(), type(loss).__name__, x.std().item()))
        args.steps += 1

def train_vaegan(loader, disc, network, opt_d, opt_v, d_loss, v_loss, writer):
    for x, _ in loader:
        d_loss(disc(x), torch.ones(len(x)).cuda()).backward()
        opt_d.step()
        taken.append(("gan", disc.features.get_submodule("output-conv").in_channels, type(d_loss).__name__))
    args.steps += 1
""",
    "model.py": """
from torch import nn
class Discriminator(nn.Module):
    def __init__(self, size, nc, ndf, scale):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(nc, 256, size, bias=False))
        self.features.add_module("output-conv", nn.Conv2d(64, 1, 1, bias=False))
    def forward(self, x):
        return self.features(x).flatten()
""",
    "loss.py": """
from torch import nn
class BetaVaeLoss(nn.Module):
    def __init__(self, **kwargs):
        super().__init__()
        print("noise", kwargs)
    def forward(self, a, b):
        return (a - b).square().mean()
class BetaVaeConcreteLoss(BetaVaeLoss):
    pass
class DiscLoss(BetaVaeLoss):
    def __init__(self, beta):
        super().__init__(beta=beta)
""",
    "utils/__init__.py": "from .timer import Timer",
    "utils/commons.py": """
from torch import nn
taken = []
def load_vae_model(shape, arch, **kwargs):
    assert shape == (3, 16, 16) and kwargs["scale"] == 8
    return nn.Conv2d(3, 3, 1, bias=arch == "vae"), 0
""",
    "utils/timer.py": "class Timer: pass",
    "utils/torchsummary.py": "",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A clone whose files are taken for those that were released."""
    for name, content in FILES.items():
        file = tmp_path / "clone" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    released = {name: clone.blob_id(content.encode()) for name, content in FILES.items()}
    monkeypatch.setattr(clone, "RELEASED", released)
    return tmp_path / "clone"


def steps(folder, method):
    return AuthorsSteps(folder, method, random_images(4, 16, 10), **SMALL)


def test_the_clones_own_training_takes_a_step_on_our_batch_as_contiguous_floats(folder, capsys):
    theirs = steps(folder, "beta-vae")
    theirs.next()
    taken = theirs._run.taken
    assert len(taken) == 2
    assert taken[0] == taken[1]
    assert taken[0][:3] == ((4, 3, 16, 16), True, "BetaVaeLoss")
    # ImageNet's scale: pixels drawn at random have a deviation of 0.29 of [0, 1].
    assert taken[0][3] == pytest.approx(0.289 / 0.226, rel=0.05)
    assert theirs.parameters == 12
    assert theirs.note is None
    assert steps(folder, "patchvae")._run.taken[0][2] == "BetaVaeConcreteLoss"
    assert capsys.readouterr().out == ""


def test_an_adversary_that_does_not_fit_is_the_papers_and_said_to_be(folder):
    cuda = torch.Tensor.cuda
    theirs = steps(folder, "patchvae-gan")
    assert theirs._run.taken == [("gan", 256, "DiscLoss")]
    assert theirs.note == CORRECTED
    assert theirs.parameters == 9 + 3 * 256 * 16 * 16 + 256
    assert torch.Tensor.cuda is cuda


def test_a_clone_leaves_no_module_no_path_and_no_file_behind(folder, monkeypatch):
    mine = object()
    monkeypatch.setitem(sys.modules, "utils", mine)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    before, path = dict(sys.modules), list(sys.path)
    steps(folder, "beta-vae")
    assert sys.modules["utils"] is mine
    assert {n for n in sys.modules if n.partition(".")[0] in ("run", "model", "loss", "utils")} == {"utils"}
    assert sys.modules.get("torch.utils.tensorboard") is before.get("torch.utils.tensorboard")
    assert sys.path == path
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*.*")) == sorted(FILES)


@pytest.mark.parametrize(
    ("name", "old", "new", "words"),
    [
        ("model.py", "class Discriminator", "class Other", "ImportError: cannot import name 'Discriminator'"),
        ("run.py", "args.steps += 1", "pass", "its step of beta-vae is none"),
        ("loss.py", "(a - b)", "(a - b[0, 0, 0, 0, 0])", "its step of beta-vae fails: IndexError"),
    ],
)
def test_a_clone_whose_step_fails_is_refused_in_one_line(folder, name, old, new, words):
    (folder / name).write_text(FILES[name].replace(old, new))
    with pytest.raises(UsageError, match=words) as refused:
        steps(folder, "beta-vae")
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)


def test_line_endings_make_no_other_version(folder):
    for name, content in FILES.items():
        (folder / name).write_bytes(content.replace("\n", "\r\n").encode())
    clone.check_clone(folder)


def test_a_folder_without_the_code_and_another_version_are_refused_in_one_line(folder, tmp_path, capsys):
    (folder / "loss.py").write_text("pass")
    for where, words in [
        (
            tmp_path / "nowhere",
            "run.py cannot be read (No such file or directory); give a clone of github.com",
        ),
        (folder, "loss.py is not as the authors released it; `git checkout 816f4b49fd8b`"),
    ]:
        assert main(["perf", "pretrain", "--authors", str(where), "--data", str(tmp_path)]) == 2
        said = capsys.readouterr().err
        assert words in said
        assert said.count("\n") == 1


def wish(folder=None, **more):
    return Wish(
        ("beta-vae",), random_images(4, 16, 10), 10, batch=4, size=16, rounds=3, memory=False,
        authors=None if folder is None else str(folder), **more,
    )  # fmt: skip


def test_each_round_has_the_authors_step_and_what_they_lack_is_said(folder):
    told = []
    found = measure(replace(wish(folder), methods=("beta-vae", "bigan"), rounds=2), told.append)
    vae, bigan = found["rows"]
    assert [way["way"] for way in vae["ways"]] == ["plain", "fast", "authors"]
    plain, fast, authors = vae["ways"]
    for k in range(2):
        assert fast["times_authors"]["each"][k] == pytest.approx(
            fast["times_faster"]["each"][k] / authors["times_faster"]["each"][k]
        )
    assert plain["times_authors"]["each"] == pytest.approx([1 / v for v in authors["times_faster"]["each"]])
    assert "times_authors" not in authors
    assert vae["authors"]["parameters"] == 12
    assert vae["authors"]["parameters_of_ours"] > 500_000
    assert [way["way"] for way in bigan["ways"]] == ["plain", "fast"]
    assert bigan["authors"] == {"missing": "not among the authors' methods"}
    assert told == ["beta-vae: plain, fast, authors", "bigan: plain, fast (not among the authors' methods)"]


def beside_authors(**more):
    """A measurement with the authors' step."""
    found = facts()
    part = found["pretrain"]
    part |= {"authors": {"repository": clone.REPOSITORY, "commit": clone.COMMIT}, "beside": 2, **more}
    row = part["rows"][0]
    row["authors"] = {"parameters": 5, "parameters_of_ours": 1234567, "note": CORRECTED}
    for way in row["ways"]:
        way["times_authors"] = spread([1.5, 1.6, 1.7])
    theirs = copy.deepcopy(row["ways"][0]) | {"way": "authors"}
    del theirs["times_authors"], theirs["peak_bytes"]
    row["ways"].append(theirs)
    return found


def test_a_table_has_the_ratio_to_the_authors_and_what_was_changed_of_theirs():
    text = shown.text(beside_authors())
    assert max(map(len, text.splitlines())) <= 102
    assert "5 parameters, ours 1,234,567" in text
    assert CORRECTED in text
    assert "2 processes take each turn at the same time" in text
    assert "1.60 (1.50–1.70)" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("patchvae-gan  ")][
        -1
    ] == "authors"


def test_ways_are_compared_by_their_ratio_to_the_authors_and_the_authors_not_at_all():
    named = [key for key, _ in ratios(beside_authors())]
    assert ("patchvae-gan no-keep-memory", "authors / way") in named
    assert not any("authors" in what for what, _ in named)


@pytest.mark.slow
@pytest.mark.authors
@pytest.mark.parametrize(
    ("method", "note"), [("beta-vae", None), ("patchvae", None), ("patchvae-gan", CORRECTED)]
)
def test_the_released_code_trains_networks_as_large_as_ours(method, note, tmp_path):
    where = os.environ.get("BENCH_AUTHORS")
    if not where:
        pytest.skip("BENCH_AUTHORS is not set")
    clone.check_clone(Path(where))
    asked = replace(wish(where), methods=(method,), size=32, rounds=1)
    (row,) = measure(asked, lambda _: None)["rows"]
    assert row["authors"]["parameters"] == row["authors"]["parameters_of_ours"]
    assert row["authors"]["note"] == note
    assert json.dumps(row)
