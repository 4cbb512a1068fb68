"""`bench data verify` says what is wrong with a data set, and how many of its test images are in training."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.data import leak_records, registry, verify, whole
from tests import official_trees
from tests.photographs import photographs, save_tree

IMAGES = photographs(40, seed=1, size=64)
NAME = "folder:own@32"


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Seven cats and twenty dogs to train on, two test images of which are among them; one is grey."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    cats, dogs = IMAGES[:7], IMAGES[7:27].copy()
    dogs[3] = dogs[3, :1]
    tests = {"cat": IMAGES[[2, 30]], "dog": np.concatenate([cats[:1], IMAGES[31:34]])}
    save_tree(tmp_path / "own", {"train": {"cat": cats, "dog": dogs}, "test": tests})
    return tmp_path


def verified(capsys, *words, code=0):
    assert main(["data", "verify", NAME, *words]) == code
    return capsys.readouterr().out


def facts_of(capsys, code=0):
    (facts,) = json.loads(verified(capsys, "--json", "--show", "9", code=code))
    return facts


def test_counts_balance_sizes_and_leaks_are_those_of_the_tree(tree, capsys):
    facts = facts_of(capsys)
    assert facts["images"] == {"train": 27, "test": 6, "pool": 27}
    balance = facts["balance"]["train"]
    assert (balance["min"], balance["median"], balance["max"], balance["unbalanced"]) == (7, 13.5, 20, True)
    assert not facts["balance"]["test"]["empty"]
    assert facts["sizes"]["shorter_side"]["min"] == facts["sizes"]["shorter_side"]["max"] == 64
    assert facts["grey"] == {"train": 1, "test": 0}
    assert facts["fingerprint"]["same"]
    assert facts["leaks"]["equal"] == 2
    pairs = [(p["train"], p["test"], p["same_class"]) for p in facts["pairs"]]
    assert pairs == [(2, 0, True), (0, 2, False)]
    assert facts["leaks"]["equal_files"] == 2
    assert (facts["pairs"][0]["train_path"], facts["pairs"][0]["test_path"]) == (
        "train/cat/002.png",
        "test/cat/000.png",
    )


def test_what_is_printed_names_the_leaks_and_the_large_class(tree, capsys):
    text = verified(capsys, "--show", "1", "--to", str(tree / "leaks.csv"))
    assert "2 of 6 test images are in the training split byte for byte (2 pairs, 2 of equal files)" in text
    assert "UNBALANCED" in text
    assert "7 (cat) to 20 (dog)" in text
    assert "train/cat/002.png, test/cat/000.png: same class" in text
    assert "and 1 more" in text
    with (tree / "leaks.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["train"], row["test"], row["train_class"], row["test_class"]) for row in rows] == [
        ("2", "0", "cat", "cat"),
        ("0", "2", "cat", "dog"),
    ]


def test_a_broken_file_is_named_and_the_rest_is_looked_at(tree, capsys):
    (tree / "own/train/dog/007.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    facts = facts_of(capsys, code=1)
    assert facts["corrupt"] == ["train/dog/007.png"]
    assert facts["images"]["train"] == 26
    assert (facts["sizes"]["files"], facts["sizes"]["unread"]) == (33, 1)
    assert "corrupt      1: train/dog/007.png" in verified(capsys, code=1)


def test_arrays_that_are_not_what_was_prepared_are_found(tree, capsys):
    assert facts_of(capsys)["sound"]
    (path,) = tree.glob(".bench/folder-own-*/images.npy")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    facts = facts_of(capsys, code=1)
    assert not facts["fingerprint"]["same"]
    assert "NOT" in verified(capsys, code=1)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["digits@10%"], "bench data verify digits"),
        (["cifer100"], "did you mean 'cifar100'?"),
        (["digits", "--to", "nowhere/x.csv"], "no folder nowhere"),
        (["digits", "--to", "/"], "--to / is a folder"),
        (["folder:nowhere"], "there is no folder"),
    ],
)
def test_what_cannot_be_verified_is_said_in_a_line(words, says, capsys, monkeypatch):
    monkeypatch.delenv("BENCH_DATA", raising=False)
    assert main(["data", "verify", *words]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line
    assert not Path("nowhere").exists()


def test_images_that_stay_compressed_are_looked_at_too(tree, capsys, monkeypatch):
    expected = facts_of(capsys)
    for module in (verify, whole):
        monkeypatch.setattr(module, "stays_compressed", lambda *_: True)
    (tree / "own/train/dog/019.png").write_bytes(b"broken")
    facts = facts_of(capsys, code=1)
    assert facts["corrupt"] == ["train/dog/019.png"]
    assert facts["fingerprint"] is None
    assert (facts["pairs"], facts["grey"]) == (expected["pairs"], expected["grey"])
    # What was found is kept, though there are no arrays beside which to keep it.
    assert list(tree.glob(".bench/folder-*.leaks/leaks.json"))
    monkeypatch.setattr(leak_records, "signatures", None)
    assert facts_of(capsys, code=1)["leaks"] == facts["leaks"]


@pytest.mark.parametrize("build", [official_trees.build_places205, official_trees.build_miniplaces_full])
def test_images_that_lie_below_the_data_set_s_folder_are_found_there(build, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    build(tmp_path, monkeypatch)
    name = "places205" if build is official_trees.build_places205 else "miniplaces-full"
    source = registry.find(name, tmp_path)
    assert source.layout is not None
    assert source.images_where is not None
    layout = source.layout()
    (train, _), (test, _) = layout.train[0], layout.test[0]
    shutil.copy(source.images_where / train, source.images_where / test)
    assert main(["data", "verify", name, "--json"]) == 0
    (facts,) = json.loads(capsys.readouterr().out)
    assert facts["sizes"]["files"] == sum(facts["images"][split] for split in ("train", "test"))
    assert facts["sizes"]["shorter_side"]["min"] > 0
    assert (facts["leaks"]["equal"], facts["leaks"]["equal_files"]) == (1, 1)
