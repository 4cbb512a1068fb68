"""A claim that cannot be told says the true reason, and no claim is supported by a part of what it names."""

import pytest

from bench.report import build
from bench.report.said import evidence
from bench.studies import Claim, Column, Contrast, Row, Study, Table
from tests.synthetic_runs import Runs, stream
from tests.test_report_claims import LUCK

A_B, A_C = Contrast("A", "B"), Contrast("A", "C")
METHODS = {"A": "patchvae", "B": "beta-vae", "C": "bigan"}


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results")


def fill(runs, title, level, seeds=(0, 1, 2, 3, 4), dataset="cifar100", freeze="conv1-5", noise=3e-4):
    for seed in seeds:
        pretrain = runs.pretrain(METHODS[title], seed, dataset=dataset, pictures=False)
        top1 = level + LUCK[seed] + stream(title, seed).normal(0, noise)
        runs.probe(pretrain, freeze, top1=top1, n_test=10_000, predictions=False)


def judged(runs, *said, datasets=("cifar100",), freezes=("conv1", "conv1-5")):
    columns = tuple(Column(dataset, freeze) for dataset in datasets for freeze in freezes)
    rows = tuple(Row(title, method) for title, method in METHODS.items())
    schedule = dict.fromkeys(datasets, (3, 3))
    table = Table("1", "Ours", "here", "resnet9", "last", schedule, columns, rows, claims=said)
    report = build(runs.root, study=Study("own", "Own", "me", "", (table,)), with_figures=False)
    return report.claims[0]


def said(*contrasts, **more):
    return Claim("one", "One.", "one", "1", contrasts or (A_B,), **more)


@pytest.mark.parametrize("over", ["each", "average"])
def test_a_claim_that_names_two_data_sets_is_not_supported_by_one(runs, over):
    fill(runs, "A", 0.30)
    fill(runs, "B", 0.28)
    named = ("cifar100", "indoor67")
    one = judged(runs, said(datasets=named, freezes=("conv1-5",), over=over), datasets=named)
    assert one.verdict == "undecided"
    assert "it speaks of indoor67, and nothing was run there" in one.reason
    assert [c.n for c in one.comparisons] == [5, 0]
    assert "no spread" not in one.reason


def test_a_claim_that_names_two_freeze_points_is_not_supported_by_one(runs):
    fill(runs, "A", 0.30)
    fill(runs, "B", 0.28)
    one = judged(runs, said(datasets=("cifar100",), freezes=("conv1", "conv1-5")))
    assert one.verdict == "undecided"
    assert one.reason == "it speaks of cifar100 at Conv1, and nothing was run there"


def test_a_claim_of_every_data_set_says_which_those_are(runs):
    for dataset in ("cifar100", "digits"):
        fill(runs, "A", 0.30, dataset=dataset)
        fill(runs, "B", 0.28, dataset=dataset)
    one = judged(runs, said(freezes=("conv1-5",)), datasets=("cifar100", "digits", "indoor67"))
    assert one.verdict == "supported"
    assert "Of the data sets run: " in evidence(one)
    assert len(one.datasets_run) == 2


def test_a_data_set_run_at_another_freeze_point_is_not_told_as_not_run(runs):
    fill(runs, "A", 0.30)
    fill(runs, "B", 0.28)
    one = judged(runs, said(datasets=("cifar100",), freezes=("conv1",)))
    assert one.verdict == "not run"
    assert one.reason == "it speaks of cifar100 at Conv1, and nothing was run there"


def test_a_mean_with_a_part_missing_says_what_is_missing(runs):
    fill(runs, "A", 0.30)
    fill(runs, "B", 0.28)
    one = judged(runs, said(A_B, A_C, over="average", freezes=("conv1-5",)))
    assert one.verdict == "undecided"
    assert one.reason == (
        "the mean is taken only where all of its differences are there; 1 of 2 comparisons not run"
    )


def test_rows_that_share_no_seed_were_run(runs):
    fill(runs, "A", 0.30, seeds=(0, 1))
    fill(runs, "B", 0.28, seeds=(2, 3))
    one = judged(runs, said(freezes=("conv1-5",)))
    assert (one.verdict, one.p) == ("undecided", None)
    assert one.reason == "the rows that it compares have no seed in common"
    assert one.comparisons[0].missing == "no seed in common"


def test_what_is_missing_has_no_p_and_no_number_of_seeds_stands_in_for_it(runs):
    fill(runs, "A", 0.30)
    fill(runs, "B", 0.28)
    one = judged(runs, said(A_B, A_C, freezes=("conv1-5",)))
    assert (one.verdict, one.p) == ("undecided", None)
    assert one.reason == "1 of 2 comparisons not run"
    assert "p = " not in evidence(one)


def test_what_goes_the_other_way_keeps_its_p_where_something_is_missing(runs):
    fill(runs, "A", 0.25)
    fill(runs, "B", 0.28)
    one = judged(runs, said(A_B, A_C, freezes=("conv1-5",)))
    assert one.verdict == "contradicted"
    assert one.p is not None


def test_more_claims_in_a_table_ask_for_more_seeds(runs):
    fill(runs, "A", 0.285, noise=0.006)
    fill(runs, "B", 0.28, noise=0.006)
    fill(runs, "C", 0.28, noise=0.006)
    few = judged(runs, said(freezes=("conv1-5",)))
    more = [Claim(f"n-{i}", "N.", "n", "1", (Contrast("C", "B"),), freezes=("conv1-5",)) for i in range(9)]
    many = judged(runs, said(freezes=("conv1-5",)), *more)
    numbers = [int(one.reason.split()[1]) for one in (few, many)]
    assert few.reason == f"about {numbers[0]} seeds would tell, at the differences seen"
    assert 5 < numbers[0] < numbers[1]


def test_a_metric_without_test_images_never_blames_the_test_set(runs):
    for seed, own in enumerate((0.5, -0.5, 0.5, -0.5)):
        for title, sign in (("A", 1), ("B", -1)):
            pretrain = runs.pretrain(METHODS[title], seed, pictures=False)
            runs.evaluation(pretrain, "reconstruction", {"psnr": 20 + sign * own + 1e-5 * (title == "A")})
    rows = tuple(Row(title, method) for title, method in METHODS.items())
    claim = said(metrics=("psnr",))
    table = Table(
        "7", "Ours", "here", "resnet9", "", {}, (Column("cifar100", None, "psnr"),), rows, claims=(claim,)
    )
    report = build(runs.root, study=Study("own", "Own", "me", "", (table,)), with_figures=False)
    assert report.claims[0].reason == "no number of seeds would tell at the differences seen"


def test_the_papers_own_differences_are_counted_by_what_the_claim_says(runs):
    for seed in range(2):
        for title in ("A", "B"):
            runs.evaluation(runs.pretrain(METHODS[title], seed, pictures=False), "fid", {"fid": 90.0 + seed})
    rows = (Row("A", METHODS["A"], (80.0,)), Row("B", METHODS["B"], (90.0,)))
    columns = (Column("cifar100", None, "fid"),)
    for expect, margin, inside in (
        ("better", 0.0, True),
        ("similar", 5.0, False),
        ("not better", 5.0, False),
    ):
        claim = said(expect=expect, margin=margin)
        table = Table("7", "Ours", "here", "resnet9", "", {}, columns, rows, claims=(claim,))
        report = build(runs.root, study=Study("own", "Own", "me", "", (table,)), with_figures=False)
        (one,) = report.claims[0].comparisons
        assert (one.published, one.published_as_expected) == (-10.0, inside)
