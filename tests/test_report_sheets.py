"""Which runs may share a table: several data sets side by side, and never two settings in one column."""

import pytest

from bench.errors import UsageError
from bench.report import build
from tests.synthetic_runs import Runs

POINTS = ("conv1", "conv1-3", "conv1-5")


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results")


def test_data_sets_stand_side_by_side_in_one_table(runs):
    runs.cells(["beta-vae", "patchvae"], [0, 1], POINTS)
    runs.cells(["beta-vae", "patchvae"], [0, 1], POINTS, dataset="digits")
    (table,) = build(runs.root).tables
    assert [(c.dataset, c.freeze) for c in table.columns] == [
        (name, point) for name in ("digits", "cifar100") for point in POINTS
    ]
    assert table.groups == ("Digits", "CIFAR100")
    assert all(cell.estimate is not None for row in table.rows for cell in row.cells)
    assert [row.cells[0].published for row in table.rows] == [None, None]


def test_mixed_protocols_never_share_a_table(runs):
    runs.cells(["beta-vae", "patchvae"], [0, 1, 2])
    pretrain = runs.pretrain("beta-vae", 3)
    runs.probe(pretrain, "conv1-5", protocol="reference")
    tables = build(runs.root).tables
    assert [table.protocol for table in tables] == ["paper", "reference"]
    assert [[cell.estimate.n for row in t.rows for cell in row.cells if cell.estimate] for t in tables] == [
        [3, 3],
        [1],
    ]
    assert len({table.title for table in tables}) == 2


def test_schedules_of_one_data_set_never_share_a_table(runs):
    runs.cells(["beta-vae", "patchvae"], [0, 1])
    runs.cells(["beta-vae", "patchvae"], [0, 1], epochs=9)
    tables = build(runs.root).tables
    assert len(tables) == 2
    assert all(cell.estimate.n == 2 for t in tables for row in t.rows for cell in row.cells if cell.estimate)


def test_a_table_with_gaps_failures_and_single_seeds_shows_them(runs):
    runs.cells(["beta-vae"], [0, 1, 2], POINTS)
    runs.probe(runs.pretrain("patchvae", 0), "conv1")
    runs.pretrain("patchvae", 1, state="failed", error="loss is not finite")
    (table,) = build(runs.root).tables
    patchvae = table.rows[1]
    assert [cell.state for cell in patchvae.cells] == ["partial", "missing", "missing"]
    assert patchvae.cells[0].estimate is not None
    assert (patchvae.cells[0].estimate.n, patchvae.cells[0].estimate.half) == (1, None)
    low, high = patchvae.cells[0].wilson or (1, 0)
    assert low < patchvae.cells[0].estimate.mean < high
    assert any(gap.state == "failed" for gap in table.gaps)


def test_columns_in_which_nothing_was_begun_are_told_and_not_drawn(runs):
    runs.cells(["beta-vae", "patchvae"], [0])
    (table,) = build(runs.root).tables
    assert [column.title for column in table.columns] == ["Conv[1-5]"]
    assert any("Conv1, Conv[1-3]" in note for note in table.notes)
    assert any("indoor67, places205" in note for note in table.notes)


def test_a_table_needs_two_of_its_rows_to_compare(runs):
    runs.cells(["patchvae"], [0, 1])
    assert [table.number for table in build(runs.root).tables] == ["1"]
    for seed in (0, 1):
        runs.probe(runs.pretrain("patchvae", seed, settings={"part_dim": 3}), "conv1-5")
    assert [table.number for table in build(runs.root).tables] == ["1", "4"]


def test_a_method_that_no_table_declares_stands_in_the_first(runs):
    runs.cells(["patchvae", "supervised"], [0])
    (table,) = build(runs.root).tables
    assert [(row.label, row.group) for row in table.rows] == [
        ("PatchVAE", "methods"),
        ("Supervised (same images)", "labelled"),
    ]


def test_the_notice_says_that_the_schedule_is_not_the_papers(runs):
    runs.cells(["patchvae"], [0])
    (notice,) = build(runs.root).notices
    assert "3 epochs of pretraining, 3 of probing" in notice
    assert "90 + 90" in notice


def test_the_notice_names_a_data_set_that_the_paper_does_not_have(runs):
    runs.cells(["patchvae"], [0], dataset="miniplaces", size=64)
    (notice,) = build(runs.root).notices
    assert notice == (
        "The schedule is not the paper's: 3 epochs of pretraining, 3 of probing (MiniPlaces, which is not among its"
        " data sets)."
    )


def test_evaluations_stand_beside_the_probes_of_their_pretraining(runs):
    for seed in (0, 1):
        for method in ("beta-vae", "patchvae"):
            pretrain = runs.pretrain(method, seed)
            runs.probe(pretrain, "conv1-5")
            runs.evaluation(pretrain, "reconstruction", {"psnr": 20.0 + seed, "ssim": 0.5})
    tables = {table.number: table for table in build(runs.root).tables}
    assert set(tables) == {"1", "7"}
    seventh = tables["7"]
    assert [column.title for column in seventh.columns] == ["PSNR", "FID", "SSIM"]
    assert seventh.rows[0].cells[0].values == (20.0, 21.0)
    assert any("resnet18" in note for note in seventh.notes)
    assert all(cell.published is None for row in seventh.rows for cell in row.cells)


def test_rows_are_held_against_a_baseline_with_their_own_intervals(runs):
    for seed, luck in enumerate((0.0, 0.02, -0.01)):
        for method, level in (("beta-vae", 0.28), ("patchvae", 0.30 + 0.001 * seed)):
            runs.probe(
                runs.pretrain(method, seed), "conv1-5", top1=level + luck, n_test=10_000, predictions=False
            )
    (table,) = build(runs.root, baseline="beta-vae").tables
    assert table.baseline == "β-VAE"
    assert table.rows[0].cells[0].against is None
    against, own = table.rows[1].cells[0].against, table.rows[1].cells[0].estimate
    assert against is not None
    assert own is not None
    assert against.difference == pytest.approx(0.021, abs=1e-4)
    assert against.half is not None
    assert own.half is not None
    # Seeds share their luck, so the paired interval is the narrower one.
    assert against.half < own.half / 3
    assert not against.by_image
    with pytest.raises(UsageError, match="beta-vae"):
        build(runs.root, baseline="beta-va")


def test_a_notice_is_given_once_however_many_tables_the_runs_stand_in(runs):
    for method in ("beta-vae", "patchvae"):
        pretrain = runs.pretrain(method, 0)
        runs.probe(pretrain, "conv1-5")
        runs.evaluation(pretrain, "reconstruction", {"psnr": 20.0, "ssim": 0.5})
    report = build(runs.root)
    assert {table.number for table in report.tables} >= {"1", "7"}
    assert len(report.notices) == 1
