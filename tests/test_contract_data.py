"""Each promise of a data set and of a backbone can be broken; the command says so with a line and a code."""

import dataclasses
import json

import numpy as np
import pytest
import timm
import torch
from torch import nn

from bench.cli import main
from bench.contract import ContractBroken, backbones, check_backbone, judge_dataset, promises
from bench.data.arrays import Decoded
from bench.data.source import DatasetSpec, File, Source, missing
from bench.errors import DataError
from models.backbones import Backbone

ROW = DatasetSpec(
    name="mine",
    title="Mine",
    image_size=8,
    num_classes=2,
    version=1,
    flip=False,
    paper=None,
    source="draw it so that {root}/mine exists",
    loader=f"{__name__}:reader",
    num_train=6,
    num_test=4,
)
CHANGES: dict = {}


def decoded() -> Decoded:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (11, 3, 8, 8), dtype=np.uint8)
    labels = np.array([0, 1] * 3 + [-1], np.int64)
    arrays = Decoded(images[:7], labels, 6, 0, images[7:], np.array([0, 1] * 2, np.int64), ("a", "b"))
    return dataclasses.replace(arrays, **CHANGES.get("decoded", {}))


def reader(spec, root):
    if "reader" in CHANGES:
        return CHANGES["reader"](spec, root)
    if root is None or not (root / "mine").exists():
        raise CHANGES.get("missing", missing)(spec, root)
    files = CHANGES.get("files", [File("a.png", 1, 1), File("b.png", 1, 1)])
    return Source(root / "mine", lambda: files, lambda *_: CHANGES.get("read", decoded)())


@pytest.fixture
def root(tmp_path):
    (tmp_path / "mine").mkdir()
    CHANGES.clear()
    yield tmp_path
    CHANGES.clear()


def writing(spec, root):
    if root is not None:
        (root / "index.json").write_text("{}")
    raise missing(spec, root)


def anywhere(spec, root):
    return Source(root, list, lambda *_: decoded())


def ever_new():
    return dataclasses.replace(
        decoded(), images=np.random.default_rng().integers(0, 256, (7, 3, 8, 8), np.uint8)
    )


GOOD = np.zeros((7, 3, 8, 8), np.uint8)
ALONE = np.array([0] * 6 + [-1], np.int64)
TESTED = np.zeros((4, 3, 8, 8), np.uint8)

# Promise, changes of the row, of what is read; what the line says.
BREAKS = {
    "a row without a title": ("row", {"title": " "}, {}, "title is empty"),
    "a row that says no folder": ("row", {"source": "ask me"}, {}, "where to put the data"),
    "a row with other braces": ("row", {"source": "{root} {names}"}, {}, "KeyError"),
    "a reader that is not there": ("row", {"loader": f"{__name__}:nobody"}, {}, "AttributeError"),
    "another error where nothing is": ("missing", {}, {"missing": lambda s, r: OSError("no")}, "raises OSError"),
    "a line without the name": ("missing", {}, {"missing": lambda s, r: DataError("not here")}, "does not name it"),
    "two lines": ("missing", {}, {"missing": lambda s, r: DataError("mine\nmine")}, "more than"),
    "a search that writes": ("missing", {}, {"reader": writing}, "writes into the data folder"),
    "found in an empty folder": ("missing", {}, {"reader": anywhere}, "in an empty"),
    "files in any order": ("found", {}, {"files": [File("b", 1, 1), File("a", 1, 1)]}, "not sorted"),
    "files by absolute paths": ("found", {}, {"files": [File("/a", 1, 1)]}, "below the data set's folder"),
    "what is no source": ("found", {}, {"reader": lambda s, r: {}}, "gives dict"),
    "floats": ("arrays", {}, {"decoded": {"images": GOOD.astype(np.float32)}}, "float32"),
    "another size": ("arrays", {"image_size": 16}, {}, "not (n, 3, 16, 16)"),
    "channels last": ("arrays", {}, {"decoded": {"images": GOOD.transpose(0, 2, 3, 1)}}, "not (n, 3, 8, 8)"),
    "a label too high": ("arrays", {}, {"decoded": {"test_labels": np.array([0, 1, 2, 0])}}, "not all from 0 to 1"),
    "a class without images": ("arrays", {}, {"decoded": {"labels": ALONE}}, "'b' has no training"),
    "a labelled pool": ("arrays", {}, {"decoded": {"num_train": 4}}, "trained on twice"),
    "two classes of one name": ("arrays", {}, {"decoded": {"classes": ("a", "a")}}, "same name"),
    "another number of images": ("counts", {"num_train": 7}, {}, "num_train is 7 in the row, 6"),
    "another number of classes": ("counts", {"num_classes": 3}, {}, "num_classes is 3 in the row, 2"),
    "other arrays each time": ("same-twice", {}, {"read": ever_new}, "other bytes or another order"),
}  # fmt: skip


def test_a_good_data_set_keeps_every_promise(root):
    verdicts = list(judge_dataset(ROW, root=root))
    assert [one.promise for one in verdicts] == list(promises("dataset"))
    assert [one for one in verdicts if one.kept is not True] == []


@pytest.mark.parametrize("what", BREAKS)
def test_a_data_set_that_breaks_a_promise_is_told_so(what, root):
    promise, row, changes, said = BREAKS[what]
    CHANGES.update(changes)
    (one,) = judge_dataset(dataclasses.replace(ROW, **row), [promise], root=root)
    assert one.kept is False, one
    assert said in one.text
    assert "\n" not in one.text


def test_a_test_image_among_those_of_training_is_a_remark(root):
    CHANGES["decoded"] = {"images": GOOD, "test_images": TESTED}
    (one,) = judge_dataset(ROW, ["disjoint"], root=root)
    assert one.kept is None
    assert "7 of 7 training and pool images are test images too" in one.text


def test_every_promise_of_a_data_set_is_broken_by_something():
    assert {promise for promise, *_ in BREAKS.values()} | {"disjoint"} == set(promises("dataset"))


class Small(nn.Module):
    """A network of two stages, as timm would build it."""

    def __init__(self, **changes):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 2, 2), nn.Conv2d(4, 6, 2, 2)
        self.feature_info = [
            {"module": "first", "num_chs": 4, "reduction": 2},
            {"module": "second", "num_chs": 6, "reduction": 4, **changes},
        ]

    def forward_features(self, x):
        return self.second(self.first(x))


class Doubling(Small):
    def forward_features(self, x):
        return self.second(2 * self.first(x))


class Deaf(Small):
    """A second stage that hears nothing."""

    def __init__(self):
        super().__init__()
        nn.init.zeros_(self.second.weight)


class Unused(Small):
    """A parameter below a stage that takes no part in it."""

    def __init__(self):
        super().__init__()
        self.second.register_parameter("spare", nn.Parameter(torch.ones(1)))


class Fickle(Small):
    """Initial weights that no seed decides."""

    def __init__(self):
        super().__init__()
        with torch.no_grad():
            self.first.weight += float(np.random.default_rng().random())


NETWORKS = {
    "a forward of its own": (Doubling, "stages", "one after another"),
    "other channels": (lambda: Small(num_chs=7), "shape", "6 channels, feature_info says 7"),
    "another stride": (lambda: Small(reduction=8), "shape", "[2, 6, 4, 4]"),
    "features that are all the same": (Deaf, "features", "same features"),
    "a parameter without a part": (Unused, "gradients", "second.spare has no part"),
    "weights of no seed": (Fickle, "seeds", "differs between two networks"),
}


@pytest.mark.parametrize("what", NETWORKS)
def test_a_backbone_that_breaks_a_promise_is_told_so(what, monkeypatch):
    network, promise, said = NETWORKS[what]
    monkeypatch.setattr(timm, "create_model", lambda name, **_: network())
    with pytest.raises(ContractBroken) as error:
        check_backbone("small", [promise], image_size=32)
    assert said in str(error.value)


def test_a_good_backbone_keeps_the_contract(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda name, **_: Small())
    check_backbone("small", image_size=32)
    assert set(promises("backbone")) == set(backbones.PROMISES)


def test_pieces_that_do_not_fit_and_names_that_timm_does_not_have_are_found_out(monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda name, **_: Small())
    whole = Backbone.forward
    monkeypatch.setattr(
        Backbone, "forward", lambda self, x, start=0, stop=None: whole(self, x, start, stop) + (start > 0)
    )
    with pytest.raises(ContractBroken, match="cut after stage 1"):
        check_backbone("small", ["pieces"], image_size=32)
    monkeypatch.setattr(Backbone, "forward", whole)
    built = backbones.BackboneCase("small", 32)
    built.backbone().net.add_module("third", nn.Linear(2, 2))
    with pytest.raises(backbones.NotKept, match="has no third"):
        backbones.timms(built)


def test_the_command_prints_a_line_a_promise_and_ends_with_1_where_one_is_broken(
    capsys, tmp_path, monkeypatch
):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert main(["contract", "digits", "--promises", "row,counts"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "data set digits"
    assert [line.split()[:2] for line in lines[1:3]] == [["kept", "row"], ["kept", "counts"]]
    assert lines[3] == "2 kept"
    assert main(["contract", "cifar10", "--data", str(tmp_path), "--json"]) == 1
    facts = {fact["promise"]: fact for fact in json.loads(capsys.readouterr().out)}
    assert (facts["found"]["kept"], facts["row"]["kept"], facts["arrays"]["kept"]) == (False, True, None)
    assert "cifar10 not found under" in facts["found"]["text"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["digitz"], "did you mean 'digits'?"),
        (["digits", "--promises", "count"], "did you mean 'counts'?"),
        (["folder:"], "lacks a path"),
    ],
)
def test_what_the_command_does_not_know_is_one_line_and_2(capsys, words, said):
    assert main(["contract", *words]) == 2
    assert said in capsys.readouterr().err
