"""Two results folders side by side: what is identical, what differs beyond chance, what only one of them has."""

import html
import json
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from scipy import stats as reference

from bench.cli import main
from bench.report import build
from bench.report.compare import compare
from bench.report.compare_files import markdown, page, sides, table
from tests.synthetic_runs import Runs, stream


@pytest.fixture
def folders(tmp_path):
    return Runs(tmp_path / "a"), Runs(tmp_path / "b")


def fill(runs, levels, seeds: Iterable[int] = range(4), luck=0.01):
    """A seed's luck is shared by whatever has the seed; what is left is a little of each level's own."""
    for method, level in levels.items():
        for seed in seeds:
            top1 = level + luck * (seed % 3 - 1) + stream(method, level, seed).normal(0, 5e-4)
            runs.probe(runs.pretrain(method, seed), "conv1-5", top1=top1, n_test=10_000, predictions=False)


def held(a, b):
    found = compare(build(a.root), build(b.root), ("before", "after"))
    return {one.key.label: one for one in found.cells}, found


def test_the_same_runs_are_identical_to_the_last_bit(folders):
    a, b = folders
    for runs in folders:
        fill(runs, {"patchvae": 0.3, "beta-vae": 0.28})
    cells, found = held(a, b)
    assert {one.state for one in cells.values()} == {"identical"}
    assert "identical to the last bit" in page(found)


def test_shared_seeds_are_paired_and_what_differs_is_said(folders):
    a, b = folders
    fill(a, {"patchvae": 0.3, "beta-vae": 0.28}, luck=0.02)
    fill(b, {"patchvae": 0.32, "beta-vae": 0.28}, luck=0.02)
    cells, found = held(a, b)
    assert cells["patchvae"].state == "differs"
    assert cells["patchvae"].paired
    assert cells["patchvae"].difference == pytest.approx(0.02, abs=2e-3)
    assert cells["beta-vae"].state == "identical"
    assert "| patchvae cifar100 conv1-5 |" in markdown(found)
    assert table(found).count("\n") == 1 + len(found.cells)


def test_other_seeds_are_two_samples(folders):
    a, b = folders
    fill(a, {"patchvae": 0.30}, seeds=range(4))
    fill(b, {"patchvae": 0.31}, seeds=range(4, 9))
    cells, _ = held(a, b)
    one = cells["patchvae"]
    x, y = (build(runs.root).tables[0].rows[0].cells[0].values for runs in (a, b))
    test: Any = reference.ttest_ind(y, x, equal_var=False)
    assert not one.paired
    assert one.n == (4, 5)
    assert one.p == pytest.approx(test.pvalue)
    assert one.half == pytest.approx((test.confidence_interval().high - test.confidence_interval().low) / 2)


def test_what_only_one_has_is_said_and_one_seed_decides_nothing(folders):
    a, b = folders
    fill(a, {"patchvae": 0.3, "beta-vae": 0.28}, seeds=[0])
    fill(b, {"patchvae": 0.4}, seeds=[0])
    cells, _ = held(a, b)
    assert cells["beta-vae"].state == "only in A"
    assert (cells["patchvae"].state, cells["patchvae"].p) == ("cannot be told", None)


def scores(runs, change):
    """Every published accuracy becomes `change` of itself and its id."""
    for path in runs.root.glob("runs/*/result.json"):
        row = json.loads(path.read_text())
        for rule in row.get("rules", {}).values():
            rule["top1"] = change(rule["top1"], row["id"])
        path.write_text(json.dumps(row))


def test_the_same_runs_with_other_numbers_are_counted(folders):
    a, b = folders
    for runs in folders:
        fill(runs, {"patchvae": 0.3})
    scores(b, lambda top1, id: top1 + (1 if int(id, 16) % 2 else -1) * 1e-4)
    cells, found = held(a, b)
    assert (cells["patchvae"].state, cells["patchvae"].same_runs) == ("not told apart", True)
    assert "1 cell of the same run ids with other numbers" in page(found)
    assert "same run ids" not in markdown(held(a, a)[1])


def test_other_runs_with_the_same_numbers_are_told_from_the_same_runs(folders):
    a, b = folders
    for runs in folders:
        for seed in range(3):
            pretrain = runs.pretrain("patchvae", seed, pictures=False)
            runs.probe(pretrain, "conv1-5", top1=0.3 + seed / 100, n_test=10_000, predictions=False)
    cells, _ = held(a, b)
    (one,) = cells.values()
    assert (one.same, one.difference) == (True, 0.0)
    assert replace(one, same_runs=False).state == "other runs, same numbers"
    assert replace(one, same_runs=True).state == "identical"


def test_what_chance_explains_is_not_called_equal(folders):
    a, b = folders
    fill(a, {"patchvae": 0.3}, seeds=range(4))
    fill(b, {"patchvae": 0.3005}, seeds=range(4, 8))
    cells, found = held(a, b)
    assert cells["patchvae"].state == "not told apart"
    assert "not told apart: which does not make them equal" in markdown(found)


def test_what_could_not_be_read_and_what_is_not_done_is_said(folders):
    a, b = folders
    for runs in folders:
        fill(runs, {"patchvae": 0.3}, seeds=range(2))
    a.pretrain("bigan", 0, state="failed", error="out of memory")
    next(b.root.glob("runs/*/result.json")).write_text("{")
    _, found = held(a, b)
    text = markdown(found)
    assert "A is before: 4 of 5 runs done" in text
    assert "B, not read: " in text
    assert all(line in html.unescape(page(found)) for line in sides(found))


def test_the_command_writes_three_files_and_names_hostile_ones_safely(folders, tmp_path, capsys):
    a, b = folders
    fill(a, {"patchvae": 0.3})
    fill(b, {"patchvae": 0.32})
    out = tmp_path / "out"
    assert main(["report", str(b.root), "--compare", str(a.root), "--out", str(out)]) == 0
    capsys.readouterr()
    assert {path.name for path in out.iterdir()} == {"compare.html", "compare.md", "compare.csv"}
    assert main(["report", str(b.root), "--compare", str(a.root), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cells"][0]["state"] == "differs"
    found = compare(build(a.root), build(b.root), ("<b>x", "y|z"))
    assert "<b>x" not in page(found)
    assert r"y\|z" in markdown(found)


def test_a_folder_without_runs_is_refused(folders, tmp_path):
    a, _ = folders
    fill(a, {"patchvae": 0.3}, seeds=[0])
    assert main(["report", str(a.root), "--compare", str(tmp_path / "nowhere")]) == 2
