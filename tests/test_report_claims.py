"""What a report concludes of a paper's claims: supported, contradicted, undecided, not run, each with its reason."""

import pytest

from bench.report import build
from bench.studies import STUDIES, Claim, Column, Contrast, Row, Study, Table
from tests.synthetic_runs import Runs, stream

# Seeds share their luck, so that a paired difference is far sharper than either mean.
LUCK = (0.0, 0.02, -0.01, 0.01, 0.015)
OWN = (0.0002, -0.0002, 0.0004, 0.0, -0.0004)


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results")


def fill(runs, levels, seeds=5, freeze="conv1-5", **more):
    """Probes whose accuracies are a level, the seed's luck and a little of their own."""
    for method, level in levels.items():
        for seed in range(seeds):
            top1 = level + LUCK[seed] + stream(method, seed).normal(0, 3e-4)
            pretrain = runs.pretrain(method, seed, **more)
            runs.probe(pretrain, freeze, top1=top1, n_test=10_000, predictions=False, epochs=3)


def claims(runs, **options):
    return {claim.name: claim for claim in build(runs.root, **options).claims}


FAMILIES = {
    "beta-vae": 0.28, "beta-vae-lw": 0.29, "beta-vae-gan": 0.30, "beta-vae-gan-lw": 0.31,
    "patchvae": 0.30, "patchvae-lw": 0.31, "patchvae-gan": 0.32, "patchvae-gan-lw": 0.33,
}  # fmt: skip


def test_a_claim_that_every_pair_shows_is_supported(runs):
    fill(runs, FAMILIES)
    claim = claims(runs)["patchvae-beats-beta-vae-frozen"]
    assert claim.verdict == "supported"
    assert claim.p is not None
    assert claim.p < 0.05
    assert [one.n for one in claim.comparisons] == [5] * 4
    assert all(one.as_expected for one in claim.comparisons)
    assert claim.comparisons[0].difference == pytest.approx(0.02, abs=2e-3)
    assert claim.comparisons[0].published == pytest.approx((28.72 - 28.57) / 100)
    assert claim.reason == ""


def test_one_pair_the_other_way_contradicts_a_claim_about_every_pair(runs):
    fill(runs, {**FAMILIES, "patchvae-lw": 0.25})
    claim = claims(runs)["patchvae-beats-beta-vae-frozen"]
    assert claim.verdict == "contradicted"
    assert [one.as_expected for one in claim.comparisons].count(False) == 1


def test_what_is_within_the_noise_is_undecided_and_says_how_many_seeds_would_tell(runs):
    noise = (0.012, -0.01, 0.004, -0.006, 0.01)
    fill(runs, {"beta-vae": 0.28})
    for seed in range(5):
        top1 = 0.281 + LUCK[seed] + noise[seed]
        runs.probe(runs.pretrain("patchvae", seed), "conv1-5", top1=top1, n_test=10_000, predictions=False)
    claim = claims(runs)["patchvae-beats-beta-vae-frozen"]
    assert claim.verdict == "undecided"
    assert "comparisons not run" in claim.reason
    (ran,) = [one for one in claim.comparisons if one.n]
    assert ran.seeds_needed is not None
    assert ran.seeds_needed > 5


def test_one_seed_decides_nothing_and_says_so(runs):
    fill(runs, FAMILIES, seeds=1)
    claim = claims(runs)["patchvae-beats-beta-vae-frozen"]
    assert (claim.verdict, claim.p) == ("undecided", None)
    assert claim.reason == "one seed in common decides nothing"


def test_a_claim_about_other_data_sets_is_not_run(runs):
    fill(runs, FAMILIES, freeze="conv1")
    claim = claims(runs)["patchvae-beats-beta-vae-fine-tuned"]
    assert claim.verdict == "not run"
    assert "indoor67, places205" in claim.reason


def test_an_exception_is_left_out_on_its_data_set_alone(runs):
    fill(runs, FAMILIES, seeds=1, freeze="conv1-3")
    fill(runs, FAMILIES, seeds=1, freeze="conv1-3", dataset="digits")
    claim = claims(runs)["patchvae-beats-beta-vae-last-block"]
    plain = [one.column for one in claim.comparisons if one.a == "PatchVAE"]
    assert len(claim.comparisons) == 7
    assert len(plain) == 1
    assert plain[0].startswith("Digits")


def test_a_mean_over_pairs_can_be_supported_where_a_pair_is_the_other_way(runs):
    fill(runs, {**FAMILIES, "beta-vae-lw": 0.279})
    claim = claims(runs)["weighted-loss-helps"]
    assert (claim.verdict, claim.average) == ("supported", True)
    assert claim.overall is not None
    assert claim.overall.difference == pytest.approx((-0.001 + 0.01 + 0.01 + 0.01) / 4, abs=2e-3)
    assert claim.overall.difference == pytest.approx(
        sum(claim.overall.by_seed.values()) / len(claim.overall.by_seed)
    )
    assert [one.as_expected for one in claim.comparisons].count(False) == 1


def test_test_images_are_counted_where_predictions_were_kept(runs):
    for seed in range(3):
        for method, top1 in (("beta-vae", 0.2), ("patchvae", 0.5 + 0.01 * seed)):
            runs.probe(runs.pretrain(method, seed), "conv1-5", top1=top1, n_test=1000)
    claim = claims(runs)["patchvae-beats-beta-vae-frozen"]
    (ran,) = [one for one in claim.comparisons if one.n]
    assert ran.by_image
    assert ran.split is not None
    assert 0 < ran.split.test_images < 1
    assert ran.split.probe_seed is None


def test_less_is_better_where_the_metric_says_so(runs):
    """beta-VAE reconstructs better: higher PSNR and SSIM, lower FID."""
    for seed in range(5):
        for method, sign in (("beta-vae", 1), ("patchvae", -1)):
            metrics = {"psnr": 20 + sign + OWN[seed] * sign, "ssim": 0.5 + 0.1 * sign + OWN[seed] * sign}
            pretrain = runs.pretrain(method, seed)
            runs.evaluation(pretrain, "reconstruction", metrics)
            runs.evaluation(pretrain, "fid", {"fid": 100 - 10 * sign + OWN[seed] * sign})
    report = build(runs.root)
    (table,) = report.tables
    assert (table.number, [column.metric for column in table.columns]) == ("7", ["psnr", "fid", "ssim"])
    assert [row.cells[1].standing for row in table.rows] == ["best", "below"]
    (claim,) = report.claims
    assert claim.verdict == "supported"
    assert {one.metric: one.as_expected for one in claim.comparisons} == {
        "psnr": True,
        "fid": True,
        "ssim": True,
    }


def test_a_missing_fid_says_why_and_nothing_stands_in_its_place(runs):
    for method in ("beta-vae", "patchvae"):
        runs.evaluation(runs.pretrain(method, 0), "reconstruction", {"psnr": 20.0, "ssim": 0.5})
    (table,) = build(runs.root).tables
    assert [column.metric for column in table.columns] == ["psnr", "fid", "ssim"]
    assert [row.cells[1].estimate for row in table.rows] == [None, None]
    assert {row.cells[1].why for row in table.rows} == {"no weights"}
    assert any("--fid-weights" in note for note in table.notes)
    assert not any("FID" in gap.column for gap in table.gaps)


def test_holm_runs_over_the_claims_of_a_table(runs):
    fill(runs, FAMILIES)
    found = claims(runs)
    tested = [claim for claim in found.values() if claim.p is not None]
    assert len(tested) > 2
    assert all(claim.verdict != "supported" or (claim.p is not None and claim.p < 0.05) for claim in tested)


def test_a_study_of_ones_own_has_its_claims_judged(runs):
    fill(runs, {"beta-vae": 0.28, "patchvae": 0.30}, dataset="digits")
    rows = (Row("A", "patchvae", (31.0,)), Row("B", "beta-vae", (30.0,)))
    said = Claim("a-above-b", "A is above B.", "A > B", "1", (Contrast("A", "B"),))
    table = Table("1", "Ours", "here", "resnet9", "last", {"digits": (3, 3)}, (Column("digits", "conv1-5"),), rows,
                  claims=(said,))  # fmt: skip
    report = build(runs.root, study=Study("own", "Own", "me", "", (table,)))
    assert [claim.verdict for claim in report.claims] == ["supported"]
    assert [row.cells[0].published for row in report.tables[0].rows] == [0.31, 0.30]


def test_no_study_means_no_claims_and_a_table_a_data_set(runs):
    fill(runs, {"beta-vae": 0.28, "patchvae": 0.30})
    report = build(runs.root, study=None)
    assert (report.claims, [table.number for table in report.tables]) == ((), [""])


def test_the_default_study_is_the_papers():
    assert "patchvae" in STUDIES
