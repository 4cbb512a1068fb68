"""Tables become cells: those that rows and tables share are there once, and what restricts them is obeyed."""

from dataclasses import replace
from typing import Any

import pytest

from bench.errors import UsageError
from bench.plan import Plan, Selection
from bench.studies import STUDIES, Column, Row, Study
from bench.study_plan import Restriction, choose_tables, merge, number_range, plan_tables

STUDY = STUDIES["patchvae"]
BASE = Selection((), (), seeds=(0, 1), preset="smoke")
HERE = Restriction(BASE, datasets=("digits",))


def planned(names, restriction=HERE, study=STUDY):
    return plan_tables(choose_tables(study, [names]), restriction)


def row_cells(plan, title):
    row = next(row for row in plan.rows if row.row.title == title)
    return [cell for group in row.groups for cell in Plan((group,)).cells]


def ids(cells):
    return {cell.id for cell in cells}


def names_of(texts):
    return [table.name for table in choose_tables(STUDY, texts)]


def test_tables_are_named_by_numbers_ranges_and_globs():
    assert names_of(["1"]) == ["1"]
    assert names_of(["3,1"]) == ["3", "1"]
    assert names_of(["3-6"]) == ["3", "4", "5", "6"]
    assert names_of(["all"]) == names_of(["1-7"]) == [str(n) for n in range(1, 8)]
    assert names_of(["all,!2,!7"]) == ["1", "3", "4", "5", "6"]
    assert number_range(["1", "2", "4"]) == "1, 2, 4"
    assert number_range(["a", "b", "c"]) == "a, b, c"


@pytest.mark.parametrize("name", ["13", "0", "one"])
def test_a_table_that_is_not_there_is_named_with_those_that_are(name):
    with pytest.raises(
        UsageError, match=r"unknown table '\w+': patchvae has 1-7 \(8-12 are printed by"
    ) as error:
        names_of([name])
    assert error.value.exit_code == 2


def test_nothing_is_run_for_a_table_of_layers():
    with pytest.raises(
        UsageError, match=r"table 9 describes networks, .*`bench list architectures` prints it"
    ):
        names_of(["9"])


def test_table_1_is_every_method_at_every_freeze_point_with_its_controls():
    (plan,) = planned("1")
    labels = [cell.label for cell in plan.cells if cell.kind != "pretrain" and "seed 0" in cell.label]
    assert len(labels) == 11 * 3 + 1
    assert {text.split()[0] for text in labels} >= {
        "patchvae-gan-lw",
        "bigan",
        "supervised",
        "random",
        "scratch",
    }
    assert "random digits seed 0 conv1-3" in labels
    assert "scratch digits seed 0 end to end" in labels


@pytest.mark.parametrize(("table", "title"), [("3", "N = 16"), ("4", "d_p = 6"), ("6", "β_occ = 0.6")])
def test_table_1s_patchvae_is_a_row_of_the_other_tables(table, title):
    first, other = planned(f"1,{table}")
    mine = ids(row_cells(other, title))
    assert len(mine) == 4
    assert mine <= ids(row_cells(first, "PatchVAE"))


def test_no_other_row_is_shared():
    plans = planned("1,3-6")
    every = [
        (plan.table.name, row.row.title)
        for plan in plans
        for row in plan.rows
        if row.row.method == "patchvae"
    ]
    distinct = {frozenset(ids(row_cells(plan, row.row.title)) - ids(row_cells(plans[0], "PatchVAE")))
                for plan in plans for row in plan.rows if row.row.method == "patchvae"}  # fmt: skip
    assert len(every) == 1 + 5 + 3 + 3 + 3
    # PatchVAE of Table 1, and three rows that are the same, leave nothing.
    assert len(distinct) == len(every) - 4 + 1


def test_in_a_merged_plan_every_cell_is_once_and_seed_follows_seed():
    plans = planned("all")
    plan = merge(plans, BASE.seeds)
    found = [cell.id for cell in plan.cells]
    assert len(found) == len(set(found)) < sum(len(list(one.cells)) for one in plans)
    assert set(found) == {cell.id for one in plans for cell in one.cells}
    seeds = [group.pretrain.config["seed"] for group in plan.groups]
    assert seeds == sorted(seeds)
    assert "digits" in plan.located


def test_a_merged_pretraining_has_the_probes_of_all_its_tables():
    plan = merge(planned("3,1"), (0,))
    group = next(g for g in plan.groups if g.pretrain.config["method_config"].get("num_parts") == 16)
    freezes = [cell.config["freeze"] for cell in Plan((group,)).cells if cell.kind == "probe"]
    assert sorted(freezes) == ["conv1", "conv1-3", "conv1-5"]


def test_methods_restrict_the_rows():
    first, third = planned("1,3", replace(HERE, methods=("patchvae", "bigan")))
    assert [row.row.title for row in first.rows] == ["PatchVAE", "BiGAN"]
    assert len(third.rows) == 5
    first, third = planned("1,3", replace(HERE, methods=("bigan",)))
    assert third.rows == ()
    assert third.left_out == ("table 3 has no row of these methods; it has patchvae, random",)
    with pytest.raises(UsageError, match="table 3 has no row of these methods"):
        planned("3", replace(HERE, methods=("bigan",)))


def test_freeze_points_restrict_the_columns():
    (plan,) = planned("1", replace(HERE, probes=("conv1,conv1-5",)))
    probes = {cell.config["freeze"] for cell in plan.cells if cell.kind == "probe"}
    assert probes == {"conv1", "conv1-5", "none"}
    with pytest.raises(UsageError, match="table 3 has no column of these freeze points; it has conv1-5"):
        planned("3", replace(HERE, probes=("conv1",)))
    with pytest.raises(UsageError, match="unknown freeze point 'conv9'"):
        planned("3", replace(HERE, probes=("conv9",)))


def test_the_backbone_is_the_tables_unless_another_is_named():
    (plan,) = planned("2")
    assert {group.pretrain.config["backbone"] for row in plan.rows for group in row.groups} == {"resnet18"}
    (plan,) = planned("2", replace(HERE, backbone="resnet9"))
    assert ids(row_cells(plan, "β-VAE")) < ids(row_cells(planned("1")[0], "β-VAE"))
    with pytest.raises(UsageError, match="table 1 is about conv1, where convnext_atto cannot be frozen"):
        planned("1", replace(HERE, backbone="convnext_atto"))


def test_settings_apply_to_all_rows_but_must_not_contradict_one():
    more = replace(HERE, base=replace(BASE, settings={"part_dim": 3, "pretrain.lr": 0.001}))
    (plan,) = planned("3", more)
    configs = [
        group.pretrain.config for row in plan.rows for group in row.groups if row.row.method == "patchvae"
    ]
    assert {c["method_config"]["part_dim"] for c in configs} == {3}
    assert {c["train"]["lr"] for c in configs} == {0.001}
    assert {c["method_config"]["num_parts"] for c in configs} == {4, 8, 16, 32, 64}
    with pytest.raises(
        UsageError, match="--set part_dim=3 contradicts table 4, row 'd_p = 6', which is about part_dim=6"
    ):
        planned("4", more)


def test_a_row_of_another_data_set_is_left_out_where_that_is_not_here():
    (plan,) = planned("1")
    assert "Imagenet Pretrained" not in [row.row.title for row in plan.rows]
    assert any("Imagenet Pretrained is left out: imagenet needs a data folder" in t for t in plan.left_out)
    (plan,) = planned("1", replace(HERE, pretrain_on="digits"))
    assert plan.left_out == ()
    assert ids(row_cells(plan, "Imagenet Pretrained")) == ids(row_cells(plan, "Supervised (same images)"))
    with pytest.raises(UsageError, match="imagenet"):
        plan_tables([replace(STUDY.table("1"), controls=())], replace(HERE, methods=("supervised",)))


def test_data_sets_that_are_not_here_end_in_a_line_that_says_what_to_type(tmp_path):
    tables = choose_tables(STUDY, ["2"])
    with pytest.raises(UsageError, match=r"table 2: imagenet not found under .*; -d NAME runs the table"):
        plan_tables(tables, replace(HERE, datasets=None), tmp_path)
    mixed = replace(STUDY.table("3").on(["digits", "cifar100"]), claims=())
    with pytest.raises(UsageError, match=r"table 3: cifar100 not found .*; -d digits leaves it out"):
        plan_tables([mixed], replace(HERE, datasets=None), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_tables_own_data_sets_are_run_where_none_is_named():
    (plan,) = plan_tables([STUDY.table("3").on(["digits"])], replace(HERE, datasets=None))
    assert plan.table.datasets == ("digits",)
    assert {cell.source for cell in plan.cells} == {"digits"}


def test_a_table_of_reconstructions_is_pretrainings_and_their_evaluations():
    base = replace(BASE, evaluations=("features", "reconstruction"))
    (plan,) = planned("7", replace(HERE, base=base, backbone="resnet9"))
    judged = [cell.config["evaluation"] for cell in row_cells(plan, "β-VAE") if cell.kind == "evaluate"]
    assert judged == ["features", "reconstruction"] * 2
    assert "probe" not in {cell.kind for cell in plan.cells}


def test_a_column_that_nobody_asked_to_compute_is_told_of(monkeypatch):
    monkeypatch.setattr("bench.study_plan.EVALUATIONS", {})
    (plan,) = planned("7", replace(HERE, backbone="resnet9"))
    assert plan.left_out[0].startswith("table 7: PSNR, FID, SSIM is not computed unless it is asked for")
    (plan,) = planned("3")
    assert plan.left_out == ()


def own(**changes):
    fields: dict[str, Any] = {"title": "mine", "method": "patchvae"}
    table = replace(
        STUDY.table("3"), columns=(Column("digits", "conv1-5"),), rows=(Row(**fields | changes),), claims=()
    )
    return Study("own", "", "", "", (table,))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "patchva"}, "table 3, row 'mine': unknown method 'patchva': did you mean 'patchvae'"),
        ({"settings": {"num_part": 4}}, "table 3, row 'mine': no selected method has a setting 'num_part'"),
        ({"settings": {"num_parts": "4"}}, "table 3, row 'mine': num_parts is '4'; it must be 4"),
        ({"settings": {"num_parts": 0}}, "num_parts is 0; it must be greater than 0"),
    ],
)
def test_a_row_that_cannot_be_run_is_named(changes, words):
    with pytest.raises(UsageError) as error:
        planned("all", study=own(**changes))
    assert words in str(error.value)
