"""`--drop-leaks`, pools that hold test images, and what a run keeps of a data set's leaks."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from bench.cli import main
from bench.commands import computing
from bench.data import guards, leak_records, perceptual, registry
from bench.data.arrays import Decoded
from bench.data.fractions import typed_name
from bench.data.source import Source
from bench.errors import DataError, UsageError
from bench.launch import local
from bench.launch.leaking import refuse_leaking
from bench.plan import Selection, make_plan
from bench.selection import select
from tests.fake_trainer import FakeTrainer
from tests.photographs import photographs, recompressed, save_tree

IMAGES = photographs(60, seed=2)
OWN, OTHER = "folder:own@32", "folder:other@32"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """In `own` training images 0 and 5 are test images, 6 nearly one; `other` tests on images 1 and 2 of own."""
    where = tmp_path_factory.mktemp("data")
    near = recompressed(IMAGES[6:7])
    own = {
        "train": {"cat": IMAGES[:5], "dog": IMAGES[5:12]},
        "test": {"cat": IMAGES[[0, 20]], "dog": np.concatenate([IMAGES[[5]], near])},
    }
    other = {
        "train": {"cat": IMAGES[30:34], "dog": IMAGES[34:38]},
        "test": {"cat": IMAGES[[1, 21]], "dog": IMAGES[[2, 22]]},
    }
    for name, splits in (("own", own), ("other", other)):
        save_tree(where / name, splits)
    return where


@pytest.fixture
def fake(monkeypatch):
    """Cells that take no time, and no torch."""
    monkeypatch.setattr(local, "TorchTrainer", FakeTrainer)
    monkeypatch.setattr(computing, "resolve_device", lambda _: ("cpu", "a processor"))


def numbers(split):
    """Which of IMAGES a split holds."""
    where = {image.tobytes(): i for i, image in enumerate(IMAGES)}
    return [where[image.tobytes()] for image in np.asarray(split.images[np.arange(len(split))])]


def test_a_loaded_data_set_knows_its_leaks(root):
    leaks = registry.load(OWN, root).leaks
    assert leaks is not None
    assert {key: leaks[key] for key in ("test", "equal", "near")} == {"test": 4, "equal": 2, "near": 1}
    # Of a part of the training images: those of that part.
    part = registry.load(f"{OWN}@50%", root)
    assert part.leaks is not None
    assert part.leaks["equal"] == sum(i in (0, 5) for i in numbers(part.train))


def test_without_leaks_the_training_images_that_are_tested_are_gone_and_nothing_else(root):
    whole, left = registry.load(OWN, root), registry.load(f"{OWN}@noleaks", root)
    assert numbers(left.train) == [i for i in range(12) if i not in (0, 5, 6)]
    assert left.pool is left.train
    assert (left.test.images == whole.test.images).all()
    assert left.leaks is not None
    assert left.leaks["equal"] == left.leaks["near"] == 0
    assert left.leaks["dropped"] == {"train": 3, "pool": 3}
    assert left.fingerprint not in (whole.fingerprint, registry.load(OTHER, root).fingerprint)
    assert left.fingerprint == registry.load(f"{OWN}@noleaks", root).fingerprint


def test_a_fraction_without_leaks_is_the_fraction_less_them(root):
    part, left = registry.load(f"{OWN}@50%", root), registry.load(f"{OWN}@50%@noleaks", root)
    assert numbers(left.train) == [i for i in numbers(part.train) if i not in (0, 5, 6)]


def test_what_another_test_split_holds_is_left_out_too(root):
    left = registry.load(f"{OWN}@noleaks={OTHER}", root)
    assert numbers(left.train) == [i for i in range(12) if i not in (0, 1, 2, 5, 6)]


def test_identity_says_it_and_a_name_comes_back_from_it(root):
    assert "drop_leaks" not in registry.identity(OWN, root)
    own, other = registry.identity(f"{OWN}@noleaks", root), registry.identity(f"{OWN}@noleaks={OTHER}", root)
    assert own["drop_leaks"] is True
    # Whoever changes what is found raises the version: cells of one id are trained on the same images.
    assert own == registry.identity(OWN, root) | {"drop_leaks": True, "leaks_found_by": 1}
    assert (perceptual.DISTANCE, perceptual.AGREEMENT, leak_records.SCHEMA) == (8, 0.6, 1)
    assert other["drop_leaks"] == registry.identity(OTHER, root)
    assert typed_name({"name": "cifar100", "fraction": 0.1, "drop_leaks": True}) == "cifar100@10%@noleaks"
    named = {"name": "a", "drop_leaks": {"name": "b", "fraction": 0.5}}
    assert typed_name(named) == "a@noleaks=b@50%"


def test_a_pool_with_test_images_of_what_is_probed_stops_the_run_before_it_begins(root):
    plan = make_plan(Selection(("beta-vae",), (OTHER,), pretrain_on=OWN), root)
    ids = {cell.id for cell in plan.cells}
    with pytest.raises(DataError) as caught:
        refuse_leaking(plan, ids, root, False)
    (line,) = str(caught.value).splitlines()
    assert (
        "2 of 4 test images are in the pool byte for byte (the first: image 1 of the pool is test image 0)"
        in line
    )
    assert "--drop-leaks" in line
    # Nothing is computed, nothing is refused; nor is what sees no image.
    refuse_leaking(plan, set(), root, False)
    random = make_plan(Selection(("random",), (OTHER,), pretrain_on=OWN), root)
    refuse_leaking(random, {cell.id for cell in random.cells}, root, False)
    # The other way about there is none, nor where they are left out, nor in a data set's own training split.
    for selection in (
        Selection(("beta-vae",), (OWN,), pretrain_on=OTHER),
        Selection(("beta-vae",), (OTHER,), pretrain_on=OWN, drop_leaks=True),
        Selection(("beta-vae",), (OWN,)),
    ):
        plan = make_plan(selection, root)
        refuse_leaking(plan, {cell.id for cell in plan.cells}, root, False)


def test_pools_of_another_size_are_compared_by_their_files(root):
    with pytest.raises(DataError, match="2 of 4 test images are in the pool as files of the same bytes"):
        guards.refuse_shared("folder:own@16", OTHER, root)
    guards.refuse_shared("folder:other@16", OWN, root)


def test_a_pool_is_refused_by_bytes_alone(root, tmp_path, monkeypatch):
    """Looking for near-equal images among millions takes hours, and says nothing that is asked here."""
    shutil.copytree(root, tmp_path / "data", ignore=shutil.ignore_patterns(".bench"))
    monkeypatch.setattr(perceptual, "within", lambda *_: pytest.fail("near-equal images were looked for"))
    with pytest.raises(DataError, match="2 of 4 test images are in the pool byte for byte"):
        guards.refuse_shared(OWN, OTHER, tmp_path / "data")
    monkeypatch.setattr(leak_records, "signatures", lambda *_: pytest.fail("images were looked at again"))
    with pytest.raises(DataError, match="2 of 4 test images are in the pool byte for byte"):
        guards.refuse_shared(OWN, OTHER, tmp_path / "data")


def test_what_only_another_may_write_is_kept_apart(root, tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    data = registry.load(OWN, root)
    row, source = registry.spec(OWN), registry.find(OWN, root)
    entry = leak_records.entry_of(row, source, root, data)
    assert entry is not None
    assert entry.parent == root / ".bench"
    monkeypatch.setattr(leak_records.os, "access", lambda *_: False)
    # What its owner has found is read there; else it is kept where this user may write.
    assert leak_records.entry_of(row, source, root, data) == entry
    monkeypatch.setattr(leak_records, "LEAKS", "none.json")
    apart = leak_records.entry_of(row, source, root, data)
    assert apart is not None
    assert apart.parent == tmp_path / "cache"
    found = leak_records.look(data, apart)
    assert leak_records.known(apart) is not None
    assert found.counts() == {**(data.leaks or {}), **found.counts()}


def test_unlabelled_images_of_a_pool_are_looked_at_in_the_data_set_itself(root, monkeypatch):
    train, test, rest = IMAGES[:10], IMAGES[20:30], IMAGES[[40, 25]]
    labels = np.array([0, 1] * 5)
    decoded = Decoded(
        np.concatenate([train, rest]), np.append(labels, [-1, -1]), 10, 0, test, labels, ("cat", "dog")
    )
    row = dataclasses.replace(registry.spec("digits"), name="pooled", loader="tests.test_drop_leaks:unused")
    monkeypatch.setitem(registry.DATASETS, "pooled", row)
    monkeypatch.setattr(registry, "_find", lambda *_: Source(None, list, lambda *_: decoded, light=True))
    with pytest.raises(
        DataError, match=r"1 of 10 test images are in the pool .*image 11 of the pool is test image 5"
    ):
        guards.refuse_shared("pooled", "pooled", root)
    left = registry.load("pooled@noleaks", root)
    assert numbers(left.train) == list(range(10))
    assert numbers(left.pool) == [*range(10), 40]


def test_a_class_that_is_all_leaks_is_one_line(root, tmp_path):
    save_tree(
        tmp_path / "half", {"train": {"cat": IMAGES[:3], "dog": IMAGES[3:6]}, "test": {"cat": IMAGES[:3]}}
    )
    with pytest.raises(DataError, match="without leaks class 'cat' of folder:half@32 has no training image"):
        registry.load("folder:half@32@noleaks", tmp_path)


def test_the_suffix_may_be_typed_and_comes_last():
    assert select("data set", ["digits@noleaks,digits@50%@noleaks"], ["digits"], "folder:") == [
        "digits@noleaks",
        "digits@50%@noleaks",
    ]
    with pytest.raises(UsageError, match="write digits@50%@noleaks"):
        registry.identity("digits@noleaks@50%", None)


def test_drop_leaks_is_another_cell_and_goes_with_the_command_line(root):
    plain = make_plan(Selection(("beta-vae",), (OTHER,), pretrain_on=OWN), root)
    dropped = make_plan(Selection(("beta-vae",), (OTHER,), pretrain_on=OWN, drop_leaks=True), root)
    assert not {cell.id for cell in plain.cells} & {cell.id for cell in dropped.cells}
    first, probe = list(dropped.cells)[:2]
    assert first.source == f"{OWN}@noleaks=folder:{root / 'other'}@32"
    assert first.config["dataset"]["drop_leaks"]["name"] == "folder:other"
    assert probe.source == f"{OTHER}@noleaks"
    assert probe.config["dataset"]["drop_leaks"] is True


def test_a_refusal_is_one_line_and_nothing_is_written(root, tmp_path, capsys, fake):
    words = [
        "-m",
        "beta-vae",
        "-d",
        OTHER,
        "--pretrain-on",
        OWN,
        "--preset",
        "smoke",
        "-s",
        "1",
        "--evaluate",
        "none",
    ]
    assert main(["run", *words, "--data", str(root), "--results", str(tmp_path / "results")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "2 of 4 test images are in the pool" in line
    assert not (tmp_path / "results").exists()


def test_a_run_keeps_what_is_known_and_its_report_says_it(root, tmp_path, capsys, fake):
    words = [
        "-m",
        "random",
        "-d",
        OWN,
        "--preset",
        "smoke",
        "-s",
        "1",
        "--evaluate",
        "none",
        "--probes",
        "conv1",
    ]
    place = ["--results", str(tmp_path)]
    assert main(["run", *words, "--data", str(root), *place]) == 0
    assert main(["run", *words, "--data", str(root), *place, "--drop-leaks"]) == 0
    kept = [json.loads(path.read_text()) for path in tmp_path.glob("runs/*/attempts/0001/provenance.json")]
    counts = {row["data"]["leaks"]["equal"] for row in kept}
    assert counts == {0, 2}
    capsys.readouterr()
    assert main(["report", *place]) == 0
    text = (tmp_path / "report" / "tables.md").read_text()
    assert "2 of 4 test images are also in the training split (byte-equal), 1 near-equal" in text
    assert "without images that are in the test split" in text
