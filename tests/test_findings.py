"""Claims as sentences and lines: what was measured, how sure, how the paper's own numbers stand."""

import dataclasses

import pytest

from bench.report import findings
from bench.report.model import Comparison, Report
from tests.synthetic_report import report
from tests.synthetic_verdicts import claims


def finding(name, **changes):
    claim = dataclasses.replace(next(c for c in claims() if c.name == name), **changes)
    (group,) = findings.findings(dataclasses.replace(report(), claims=(claim,)))
    return group.findings[0]


def test_claims_are_grouped_by_the_tables_they_are_of():
    groups = findings.findings(report())
    assert [(g.name, len(g.findings)) for g in groups] == [("table-1", 4), ("table-7", 1)]
    assert all(g.table is not None for g in groups)
    lost = findings.findings(Report("", (), (), (), (), 0, 0, claims=claims()[:1]))
    assert lost[0].table is None


def test_differences_are_told_from_the_least_to_the_greatest():
    assert finding("patchvae-beats-beta-vae-frozen").measured == (
        "8 of 8 differences lie where they are expected: +1.80 to +3.40 points"
        " (n = 3 seeds; test images counted as a sample), p = 0.002.",
    )


def test_a_claim_of_the_mean_tells_the_mean():
    found = finding("weighted-loss-helps")
    assert found.measured == (
        f"Mean of {len(found.claim.comparisons)} differences: +0.61 ± 1.40 points"
        " (n = 3 seeds; test images counted as a sample), p = 0.310.",
    )
    assert [line.mean for part in found.parts for line in part.lines][:2] == [True, False]


def test_a_single_difference_is_told_with_its_rows():
    one = Comparison("A", "B", "Digits, PSNR", "psnr", 1, difference=0.9)
    found = finding("beta-vae-reconstructs-better", comparisons=(one,))
    assert found.measured == ("A − B, Digits, PSNR: +0.90 dB (n = 1 seed).",)


def test_metrics_are_never_put_on_one_axis():
    found = finding("beta-vae-reconstructs-better")
    assert [part.metric.name for part in found.parts] == ["psnr", "ssim", "fid"]
    assert found.measured == (
        "2 of 2 differences lie where they are expected: PSNR +0.90 dB; SSIM +0.020 (n = 1 seed).",
    )
    assert found.paper == (
        "Of the paper's own 3 differences 3 lie where the claim says: PSNR +0.52 dB; SSIM +0.054; FID −4.95."
    )


def test_what_was_not_run_has_no_difference_and_still_the_papers():
    found = finding("adversary-helps")
    (line,) = found.parts[0].lines
    assert (line.difference, line.p, line.expected, line.published) == ("—", "", "", "+1.32")
    assert found.measured == ()
    assert "published" in line.strip
    assert 'class="bar"' not in line.strip


def test_what_was_not_run_is_told_once():
    some = claims()[0].comparisons[:2] + claims()[3].comparisons
    told = "2 of 2 differences lie where they are expected"
    for reason, end in (("1 of 3 comparisons not run", "p = 0.002."), ("", "p = 0.002. 1 more was not run.")):
        (sentence,) = finding("patchvae-beats-beta-vae-frozen", comparisons=some, reason=reason).measured
        assert sentence.startswith(told)
        assert sentence.endswith(end)


def test_rows_that_share_no_seed_are_not_told_as_rows_not_run():
    apart = Comparison("A", "B", "Digits", "top1", 0, missing="no seed in common")
    some = (*claims()[0].comparisons[:2], apart)
    (sentence,) = finding("patchvae-beats-beta-vae-frozen", comparisons=some, reason="").measured
    assert sentence.endswith("p = 0.002. 1 more has no seed in common.")


def test_a_claim_of_every_data_set_names_those_that_were_run():
    found = finding("patchvae-beats-beta-vae-frozen", datasets_run=("CIFAR100 (10 %)", "MiniPlaces"))
    assert found.measured[1] == "Of the data sets run: CIFAR100 (10 %), MiniPlaces."


@pytest.mark.parametrize(
    "reason", ["one seed in common decides nothing", "One seed in common decides nothing."]
)
def test_a_reason_is_a_sentence(reason):
    assert finding("weighted-loss-helps", reason=reason).reason == "One seed in common decides nothing."
    assert finding("weighted-loss-helps", reason="").reason == ""


@pytest.mark.parametrize(
    ("p", "text"), [(None, ""), (0.0004, "p < 0.001"), (0.0312, "p = 0.031"), (1.0, "p = 1.000")]
)
def test_p_is_told_as_readers_expect_it(p, text):
    assert findings.p_text(p) == text


def test_a_metric_of_a_later_version_is_told_without_a_unit():
    one = Comparison("A", "B", "Digits", "sharpness", 2, difference=0.5)
    assert (
        finding("beta-vae-reconstructs-better", comparisons=(one,))
        .measured[0]
        .startswith("A − B, Digits: +0.50 (")
    )
