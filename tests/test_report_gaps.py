"""What a report says of what is missing."""

import pytest

from bench.report import build
from bench.report.layout import gap_lines
from tests.synthetic_runs import Runs


def lines(runs):
    (table,) = build(runs.root).tables
    return gap_lines(table)


def test_what_is_missing_is_called_so_once(tmp_path):
    runs = Runs(tmp_path)
    runs.cells(["beta-vae"], [0, 1, 2])
    runs.probe(runs.pretrain("patchvae", 0), "conv1-5")
    runs.pretrain("patchvae", 2, state="failed", error="no space left")
    missing, failed = lines(runs)[::-1]
    assert missing == "PatchVAE, seed 1"
    assert failed.startswith("PatchVAE, seed 2: failed (pretraining: no space left) [")


def test_a_missing_probe_is_named_by_both_seeds_where_seeds_are_crossed(tmp_path):
    runs = Runs(tmp_path)
    missing = {("patchvae", 0, 1), ("beta-vae", 1, 0), ("beta-vae", 2, 0), ("beta-vae", 2, 1)}
    for method in ("beta-vae", "patchvae"):
        for seed in (0, 1, 2):
            pretrain = runs.pretrain(method, seed)
            for probe_seed in (0, 1):
                if (method, seed, probe_seed) not in missing:
                    runs.probe(pretrain, "conv1-5", seed=probe_seed)
    assert sorted(lines(runs)) == [
        "PatchVAE, seed 0 (probe seed 1)",
        "β-VAE, seeds 1 (probe seed 0), 2 (probe seeds 0-1)",
    ]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_an_evaluation_that_came_to_no_number_says_so_and_is_not_averaged(tmp_path, value):
    runs = Runs(tmp_path)
    for seed, psnr in enumerate((value, 12.0, 13.0)):
        runs.evaluation(runs.pretrain("beta-vae", seed), "reconstruction", {"psnr": psnr, "rate": 3.0})
    (table,) = build(runs.root).tables
    assert table.rows[0].cells[0].values == (12.0, 13.0)
    (line,) = gap_lines(table)
    assert line.startswith("β-VAE at PSNR, seed 0: no number (what came out is not finite) [")


def test_what_an_evaluation_does_not_give_of_a_method_is_not_measured(tmp_path):
    runs = Runs(tmp_path)
    runs.evaluation(runs.pretrain("beta-vae", 0), "reconstruction", {"psnr": 12.0, "rate": 3.0})
    runs.evaluation(runs.pretrain("bigan", 0), "reconstruction", {"psnr": 12.0})
    (line,) = lines(runs)
    assert line.startswith("BiGAN at rate, seed 0: not measured (this evaluation gives none here) [")
