"""`bench data`: what is there, told without decoding anything."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.cli import main
from bench.commands import data
from bench.data import registry


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two classes of two 8-pixel images on each side of the split."""
    monkeypatch.setenv("BENCH_DATA", str(tmp_path))
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "own" / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                Image.fromarray(draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return tmp_path


def listed(capsys, *words):
    assert main(["data", "list", "--json", *words]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_data_set_is_listed_with_where_it_comes_from(tree, capsys):
    facts = {fact["name"]: fact for fact in listed(capsys)}
    assert list(facts) == list(registry.DATASETS)
    assert facts["digits"]["found"]
    assert not facts["cifar10"]["found"]
    assert "https://www.cs.toronto.edu" in facts["cifar10"]["problem"]
    assert main(["data", "list"]) == 0
    assert facts["cifar10"]["problem"] in capsys.readouterr().out


def test_what_is_prepared_is_told_from_what_is_not(tree, capsys):
    name = "folder:own@8"
    assert listed(capsys, name)[0]["prepared"] is None
    loaded = registry.load(name, tree)
    (fact,) = listed(capsys, name)
    assert fact["prepared"]["sha256"] == loaded.fingerprint
    assert fact["prepared"]["counts"] == {"train": 4, "test": 4, "pool": 4}
    # Of another size: other arrays.
    assert listed(capsys, "folder:own@16")[0]["prepared"] is None


def test_an_entry_cut_short_is_not_called_prepared(tree, capsys):
    registry.load("folder:own@8", tree)
    (fact,) = listed(capsys, "folder:own@8")
    with (Path(fact["prepared"]["path"]) / "images.npy").open("r+b") as file:
        file.truncate(100)
    assert listed(capsys, "folder:own@8")[0]["prepared"] is None


def test_a_part_that_is_none_names_the_nearest(capsys):
    assert main(["data", "lits"]) == 2
    assert "did you mean 'list'?" in capsys.readouterr().err


def test_every_part_has_a_page_of_help(capsys):
    for name in data.PARTS:
        assert main(["data", name, "--help"]) == 0
    assert main(["data", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in data.PARTS)
