"""The published numbers are the paper's, and stand only where the paper has them."""

import dataclasses
import math
import subprocess
import sys

import pytest

from bench.studies import METRICS, STUDIES, Claim, Column, Contrast, Row, Study, Table
from models.registry import METHODS, setting_names

STUDY = STUDIES["patchvae"]
TABLE_1 = STUDY.table("1")
EVERY_CLAIM = [
    pytest.param(table, claim, id=f"{table.name}-{claim.name}")
    for table in STUDY.tables
    for claim in table.claims
]


def test_table_1_has_ten_methods_three_data_sets_three_columns():
    assert len(TABLE_1.rows) == 10
    assert TABLE_1.datasets == ("cifar100", "indoor67", "places205")
    assert len(TABLE_1.columns) == 9
    assert all(n is not None for row in TABLE_1.rows for n in row.published)
    assert [row.method for row in TABLE_1.rows] == [name for name, m in METHODS.items() if not m.control]


# Sums of columns, taken from the paper's text.
COLUMN_SUMS = {
    "1": [459.75, 419.57, 327.92, 236.27, 218.90, 164.86, 299.22, 263.40, 129.52],
    "2": [247.98, 369.44],
    "3": [142.05, 67.46],
    "4": [85.81, 43.35],
    "5": [85.84, 42.61],
    "6": [89.38, 43.28],
    "7": [9.199, 222.433, 0.524],
}


@pytest.mark.parametrize("table", STUDY.tables, ids=lambda table: table.name)
def test_every_table_adds_up_to_the_papers(table):
    assert all(n is not None for row in table.rows for n in row.published)
    columns = zip(*(row.published for row in table.rows), strict=True)
    assert [math.fsum(column) for column in columns] == pytest.approx(COLUMN_SUMS[table.name])


def test_all_seven_tables_are_there_and_name_where_they_are_printed():
    assert [table.name for table in STUDY.tables] == list(COLUMN_SUMS)
    assert all(
        table.source.endswith(f"Table {table.name}") for table in (*STUDY.tables, *STUDY.architectures)
    )


@pytest.mark.parametrize("table", STUDY.tables, ids=lambda table: table.name)
def test_every_row_is_a_method_with_settings_that_it_has(table):
    for row in table.every_row:
        assert row.method in METHODS
        assert set(row.settings) <= set(setting_names(row.method))


@pytest.mark.parametrize(("table", "claim"), EVERY_CLAIM)
def test_every_claim_is_what_the_papers_own_numbers_say(table, claim):
    pairs = [
        (column, table.number(table.row(contrast.a), column), table.number(table.row(contrast.b), column))
        for column in table.columns
        if claim.speaks_of(column.dataset, *column.kind)
        for contrast in claim.contrasts
        if column.dataset not in contrast.except_on
    ]
    assert pairs
    differences = [(a - b, *claim.region(column.unit)) for column, a, b in pairs]
    holds = [low < difference < high for difference, low, high in differences]
    if claim.over == "each":
        assert all(holds)
    else:
        mean = math.fsum(difference for difference, *_ in differences) / len(differences)
        low, high = claim.region(pairs[0][0].unit)
        assert low < mean < high
        assert not all(holds), "then it can be claimed of each"


def test_table_1_spot_checks():
    for title, place, number in (("β-VAE", 2, 28.57), ("PatchVAE-GAN + L_w", 8, 13.39), ("BiGAN", 4, 17.09)):
        assert TABLE_1.number(TABLE_1.row(title), TABLE_1.columns[place]) == number


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="2 numbers for 1 columns"):
        dataclasses.replace(
            TABLE_1, columns=(Column("cifar100", "conv1"),), rows=(Row("x", "patchvae", (1.0, 2.0)),)
        )


def test_an_unknown_table_is_named():
    with pytest.raises(KeyError, match="no table '9'"):
        STUDIES["patchvae"].table("9")
    assert isinstance(TABLE_1, Table)


def test_on_other_data_sets_a_table_has_its_columns_and_no_numbers_of_the_papers():
    here = TABLE_1.on(["miniplaces", "cifar100", "cifar100@10%"])
    assert here.datasets == ("miniplaces", "cifar100", "cifar100@10%")
    assert [c.freeze for c in here.columns] == ["conv1", "conv1-3", "conv1-5"] * 3
    assert here.row("β-VAE").published == (None, None, None, 44.12, 39.65, 28.57, None, None, None)
    assert here.row("Random (untrained)").published == ()
    assert here.on(TABLE_1.datasets).row("β-VAE").published[:3] == (44.12, 39.65, 28.57)


def test_why_a_number_cannot_be_compared_stays_where_that_number_is():
    psnr = STUDY.table("7").columns[0]
    assert "6.02 dB" in psnr.incomparable
    assert STUDY.table("7").on(["miniplaces"]).columns[0].incomparable == ""


def spoken_of(table, name):
    claim = next(claim for claim in table.claims if claim.name == name)
    return [column.dataset for column in table.columns if claim.speaks_of(column.dataset, *column.kind)]


def test_a_claim_about_every_data_set_runs_over_those_that_were_run():
    here = TABLE_1.on(["miniplaces", "cifar100@10%"])
    assert spoken_of(here, "patchvae-beats-beta-vae-frozen") == ["miniplaces", "cifar100@10%"]


def test_a_claim_about_one_data_set_is_about_its_fractions_and_about_no_other():
    here = STUDY.table("3").on(["miniplaces", "cifar100@10%"])
    assert spoken_of(here, "parts-help-on-cifar100") == ["cifar100@10%"]
    assert spoken_of(here, "parts-do-not-help-on-indoor67") == []


def test_what_evaluations_measure_may_be_a_column():
    assert METRICS["psnr"].source == "reconstruction"
    assert METRICS["knn_top1"].percent
    assert METRICS["knn_top1"].unit == METRICS["top1"].unit == "%"
    assert METRICS["rate"].higher_is_better is None
    assert METRICS["distortion"].higher_is_better is False
    assert not any("*" in name for name in METRICS)


def claim_of(**changes):
    fields = {"name": "a-claim", "text": "", "quote": "", "where": "", "contrasts": (Contrast("a", "b"),)}
    return Claim(**fields | changes)


def test_the_region_of_a_claim_follows_the_direction_that_is_good():
    inf = math.inf
    better, worse, same = (
        claim_of(),
        claim_of(expect="not better", margin=1.0),
        claim_of(expect="similar", margin=1.0),
    )
    assert better.region(METRICS["top1"]) == (0, inf)
    assert better.region(METRICS["fid"]) == (-inf, 0)
    assert claim_of(margin=2.0).region(METRICS["fid"]) == (-inf, -2.0)
    assert worse.region(METRICS["top1"]) == (-inf, 1.0)
    assert worse.region(METRICS["fid"]) == (-1.0, inf)
    assert same.region(METRICS["rate"]) == (-1.0, 1.0)
    with pytest.raises(ValueError, match="neither way of rate is better"):
        better.region(METRICS["rate"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "A claim"}, "lower-case words"),
        ({"contrasts": ()}, "compares no rows"),
        ({"expect": "similar"}, "without a margin"),
        ({"expect": "best"}, "expect is 'best'; allowed: better, not better, similar"),
        ({"over": "most"}, "over is 'most'; allowed: each, average"),
        ({"margin": -1.0}, "must not be negative"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        claim_of(**changes)


def test_a_claim_about_what_is_not_there_is_refused():
    for changes, words in (
        ({"contrasts": (Contrast("PatchVAE", "VAE"),)}, "no row 'VAE'; it has β-VAE"),
        ({"contrasts": (Contrast("PatchVAE", "β-VAE"),), "freezes": ("conv1-9",)}, "about no column"),
    ):
        with pytest.raises(ValueError, match=words):
            dataclasses.replace(TABLE_1, claims=(claim_of(**changes),))
    with pytest.raises(ValueError, match="with itself"):
        Contrast("PatchVAE", "PatchVAE")


@pytest.mark.parametrize("what", ["columns", "rows"])
def test_a_table_without_rows_or_columns_is_refused(what):
    with pytest.raises(ValueError, match=f"table 1: it has no {what}"):
        dataclasses.replace(TABLE_1, claims=(), **{what: ()})


@pytest.mark.parametrize("key", ["pretrain.lr", "probe.lr", "features.k"])
def test_the_rows_of_a_table_differ_in_settings_of_their_methods_alone(key):
    with pytest.raises(ValueError, match=f"row 'x': {key} is no setting of a method, .* --set {key}=0.1"):
        Row("x", "patchvae", settings={"num_parts": 8, key: 0.1})


def several_metrics(**changes):
    columns = (Column("digits", "conv1"), Column("digits", "conv1-3"), Column("cifar100", None, "psnr"))
    rows = (Row("a", "patchvae"), Row("b", "beta-vae"))
    return Table("1", "", "", "resnet9", "last", {}, columns, rows, claims=(claim_of(**changes),))


@pytest.mark.parametrize("changes", [{}, {"datasets": ("digits",)}, {"expect": "similar", "margin": 1.0}])
def test_no_average_is_over_several_metrics(changes):
    with pytest.raises(ValueError, match=r"table 1, claim a-claim: no average .* \(top1, psnr\): name one"):
        several_metrics(over="average", **changes)
    several_metrics(over="each", **changes)
    one = several_metrics(over="average", metrics=("top1",), **changes)
    assert one.on(["cifar100", "digits"]).claims == one.claims


def test_columns_and_names_are_checked():
    with pytest.raises(ValueError, match="unknown metric 'top3'; allowed: top1"):
        Column("cifar100", "conv1", "top3")
    with pytest.raises(ValueError, match="top1 needs a freeze point"):
        Column("cifar100", None)
    with pytest.raises(ValueError, match="'β-VAE' is there twice"):
        dataclasses.replace(TABLE_1, rows=(*TABLE_1.rows, TABLE_1.rows[0]))
    with pytest.raises(ValueError, match="two tables have the same name"):
        Study("x", "", "", "", (TABLE_1, TABLE_1))


def test_the_tables_of_layers_have_the_papers_totals():
    assert [table.name for table in STUDY.architectures] == ["8", "9", "10", "11", "12"]
    assert all(table.totals == table.published for table in STUDY.architectures)


def test_importing_a_study_loads_neither_torch_nor_pandas():
    code = (
        "import sys, bench.studies; sys.exit(bool({'torch', 'pandas', 'scipy', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
