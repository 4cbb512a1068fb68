"""What a report may average, what it must say, and what it must not print."""

import dataclasses
import subprocess
import sys

import pytest

from bench.errors import UsageError
from bench.report import build, collect, matching, panel
from bench.stats import Estimate
from models import registry
from tests.synthetic_runs import Runs

POINTS = ("conv1", "conv1-3", "conv1-5")


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results")


def row(table, label):
    return next(r for r in table.rows if r.label == label)


def mean(cell):
    assert cell.estimate is not None
    return cell.estimate


def only(report):
    assert len(report.tables) == 1
    return report.tables[0]


def test_a_cell_is_the_mean_and_t_interval_over_seeds(runs):
    from scipy import stats as reference

    values = [0.28, 0.31, 0.29]
    for seed, value in enumerate(values):
        runs.probe(runs.pretrain("patchvae", seed), "conv1-5", top1=value)
    cell = only(build(runs.root)).rows[0].cells[0]
    assert mean(cell).mean == pytest.approx(sum(values) / 3)
    assert mean(cell).half == pytest.approx(reference.t.ppf(0.975, 2) * reference.sem(values))
    assert (mean(cell).n, cell.state) == (3, "done")
    assert mean(dataclasses.replace(cell, estimate=cell.optimism)).mean == pytest.approx(0.004)


def test_probe_seeds_are_not_counted_as_pretraining_seeds(runs):
    for seed in (0, 1):
        pretrain = runs.pretrain("patchvae", seed)
        for probe_seed in (0, 1, 2):
            runs.probe(pretrain, "conv1-5", seed=probe_seed)
    table = only(build(runs.root))
    assert mean(table.rows[0].cells[0]).n == 2
    assert ("Seeds", "0-1, 3 probes on each") in table.facts


def test_rows_and_columns_come_in_the_papers_order_controls_last(runs):
    runs.cells(["random", "scratch", "supervised", "bigan", "patchvae", "beta-vae"], [0], POINTS)
    table = only(build(runs.root))
    assert [c.title for c in table.columns] == ["Conv1", "Conv[1-3]", "Conv[1-5]"]
    assert [r.method for r in table.rows] == [
        "beta-vae",
        "patchvae",
        "bigan",
        "supervised",
        "random",
        "scratch",
    ]
    assert [r.group for r in table.rows] == ["methods"] * 3 + ["labelled"] + ["controls"] * 2


def test_scratch_shows_its_one_value_in_every_column(runs):
    runs.cells(["patchvae", "scratch"], [0, 1], POINTS)
    table = only(build(runs.root))
    cells = row(table, "Scratch (end to end)").cells
    assert len({c.estimate for c in cells}) == 1
    assert all(c.end_to_end for c in cells)
    assert "end to end" in dict(table.legend)


def test_scratch_alone_has_a_column_of_its_own(runs):
    runs.cells(["scratch"], [0])
    assert [c.title for c in only(build(runs.root)).columns] == ["End to end"]


@pytest.mark.parametrize(
    "other",
    [
        {"pretrain": {"epochs": 5}},
        {"pretrain": {"backbone": "resnet18"}},
        {"pretrain": {"settings": {"pretrain.lr": 1e-3}}},
        {"pretrain": {"dataset": "miniplaces"}, "probe": {"dataset": "cifar100"}},
        {"probe": {"epochs": 7}},
        {"probe": {"protocol": "clean"}},
        {"probe": {"settings": {"probe.lr": 0.1}}},
    ],
    ids=str,
)
def test_runs_of_different_settings_are_never_averaged(runs, other):
    runs.cells(["patchvae", "random", "scratch"], [0, 1])
    for seed in (2, 3):
        pretrain = runs.pretrain("patchvae", seed, **other.get("pretrain", {}))
        runs.probe(pretrain, "conv1-5", **other.get("probe", {}))
    report = build(runs.root)
    assert len(report.tables) == 2
    for table in report.tables:
        assert [mean(c).n for c in row(table, "PatchVAE").cells] == [2]
    assert len({table.name for table in report.tables}) == 2


def test_a_variant_of_a_method_is_a_row_of_its_own(runs):
    runs.cells(["patchvae"], [0, 1])
    for seed in (0, 1):
        runs.probe(runs.pretrain("patchvae", seed, settings={"num_parts": 8}), "conv1-5")
    first, third = build(runs.root).tables
    assert (first.number, third.number) == ("1", "3")
    assert [r.label for r in first.rows] == ["PatchVAE"]
    assert [r.label for r in third.rows] == ["N = 8", "N = 16"]
    assert row(first, "PatchVAE").cells[0].published == pytest.approx(0.2872)
    assert [r.cells[0].published for r in third.rows] == [pytest.approx(0.2874), pytest.approx(0.2894)]
    assert third.rows[1].cells[0].runs == first.rows[0].cells[0].runs


def test_settings_that_no_table_of_the_study_has_stand_in_a_table_of_their_own(runs):
    runs.cells(["patchvae", "beta-vae"], [0, 1])
    for seed in (0, 1):
        runs.probe(runs.pretrain("patchvae", seed, settings={"num_parts": 24}), "conv1-5")
    first, own = build(runs.root).tables
    assert (first.number, own.number) == ("1", "")
    assert [r.label for r in own.rows] == ["PatchVAE", "PatchVAE [num_parts=24]"]
    assert all(r.cells[0].published is None for r in own.rows)


def test_controls_join_every_table_that_probes_alike(runs):
    runs.cells(["patchvae", "random", "scratch"], [0])
    runs.probe(runs.pretrain("patchvae", 0, epochs=9), "conv1-5")
    report = build(runs.root)
    assert [[r.method for r in t.rows] for t in report.tables] == [["patchvae", "random", "scratch"]] * 2


def test_scratch_joins_the_protocol_whose_head_it_shares(runs):
    pretrain = runs.pretrain("patchvae", 0)
    runs.probe(pretrain, "conv1-5", protocol="reference")
    runs.probe(runs.pretrain("scratch", 0), "none", protocol="reference")
    runs.probe(pretrain, "conv1-5")
    report = build(runs.root)
    assert [(t.protocol, len(t.rows)) for t in report.tables] == [("paper", 1), ("reference", 2)]


def test_the_papers_number_stands_only_beside_its_data_set_and_backbone(runs):
    runs.cells(["patchvae"], [0], POINTS)
    runs.cells(["patchvae"], [0], dataset="miniplaces")
    runs.cells(["patchvae"], [0], backbone="resnet18")
    published = {
        (column.dataset, dict(table.facts)["Backbone"], column.freeze): cell
        for table in build(runs.root).tables
        for column, cell in zip(table.columns, table.rows[0].cells, strict=True)
    }
    cell = published["cifar100", "resnet9", "conv1"]
    assert cell.published == pytest.approx(0.4307)
    assert cell.difference == pytest.approx(mean(cell).mean - 0.4307)
    assert published["cifar100", "resnet18", "conv1-5"].published is None
    assert published["miniplaces", "resnet9", "conv1-5"].published is None


def test_the_imagenet_row_has_the_papers_number_and_the_home_row_has_none(runs):
    runs.cells(["patchvae", "supervised"], [0])
    runs.probe(runs.pretrain("supervised", 0, dataset="imagenet", epochs=1), "conv1-5", dataset="cifar100")
    table = only(build(runs.root))
    imagenet, home = (r for r in table.rows if r.method == "supervised")
    assert home.cells[0].published is None
    assert imagenet.cells[0].published == pytest.approx(0.5436)
    assert imagenet.label.endswith("1 epoch")
    assert imagenet.pretrained_on == "imagenet"


def test_each_protocol_has_its_rule_and_another_can_be_asked_for(runs):
    pretrain = runs.pretrain("patchvae", 0)
    for protocol in ("paper", "clean", "reference"):
        runs.probe(pretrain, "conv1-5", protocol=protocol, top1=0.3)
    rules = {t.protocol: (t.columns[0].rule, t.rows[0].cells[0].estimate) for t in build(runs.root).tables}
    assert {protocol: rule for protocol, (rule, _) in rules.items()} == {
        "paper": "last", "clean": "val", "reference": "best-test",
    }  # fmt: skip
    assert rules["paper"][1] == Estimate(0.3, None, 1, None)
    assert rules["reference"][1] is not None
    assert rules["reference"][1].mean == pytest.approx(0.304)
    asked = {t.protocol: t for t in build(runs.root, rule="best-test").tables}
    assert mean(asked["paper"].rows[0].cells[0]).mean == pytest.approx(0.304)
    assert asked["clean"].rows[0].cells[0].estimate is None
    assert asked["clean"].gaps[0].state == "no such rule"
    with pytest.raises(UsageError, match="best-test"):
        build(runs.root, rule="best")


def test_the_best_and_what_cannot_be_told_from_it_are_marked(runs):
    luck = (0.0, 0.02, -0.01, 0.01, 0.015)
    noise = (0.001, -0.001, 0.0005, -0.0005, 0.0)
    for seed, (shared, own) in enumerate(zip(luck, noise, strict=True)):
        for method, level in (("beta-vae", 0.30), ("patchvae", 0.301), ("bigan", 0.20)):
            top1 = level + shared + own * {"beta-vae": 1, "patchvae": -1, "bigan": 3}[method]
            runs.probe(runs.pretrain(method, seed), "conv1-5", top1=top1, n_test=10_000, predictions=False)
        runs.probe(runs.pretrain("supervised", seed), "conv1-5", top1=0.6)
    table = only(build(runs.root))
    standing = {r.method: r.cells[0].standing for r in table.rows}
    assert standing == {"beta-vae": "tied", "patchvae": "best", "bigan": "below", "supervised": None}


def test_one_seed_cannot_be_ranked(runs):
    runs.cells(["beta-vae", "patchvae"], [0])
    table = only(build(runs.root))
    assert [r.cells[0].standing for r in table.rows] == ["unknown", "unknown"]
    assert mean(table.rows[0].cells[0]).half is None
    assert "no interval" in table.caption


@pytest.mark.parametrize("predictions", [True, False])
def test_a_warning_says_when_the_untrained_backbone_wins(runs, predictions):
    for seed in range(4):
        jitter = (0.0, 0.004, -0.004, 0.008)[seed]
        for method, top1 in (("random", 0.30), ("patchvae", 0.20 + jitter), ("beta-vae", 0.40 - jitter)):
            runs.probe(
                runs.pretrain(method, seed), "conv1-5", top1=top1, n_test=2000, predictions=predictions
            )
    table = only(build(runs.root))
    assert len(table.warnings) == 1
    assert "PatchVAE by 9.80" in table.warnings[0]
    assert "β-VAE" not in table.warnings[0]
    assert ("seeds only" in table.warnings[0]) != predictions


def test_no_warning_without_evidence(runs):
    runs.probe(runs.pretrain("random", 0), "conv1-5", top1=0.30)
    runs.probe(runs.pretrain("patchvae", 0), "conv1-5", top1=0.20)
    assert only(build(runs.root)).warnings == ()


def test_what_is_missing_is_named_with_its_reason(runs):
    runs.cells(["beta-vae"], [0, 1, 2], POINTS)
    runs.probe(runs.pretrain("patchvae", 0), "conv1")
    runs.pretrain("patchvae", 1, state="failed", error="loss is not finite from step 37 on\nmore")
    runs.probe(runs.pretrain("patchvae", 2), "conv1", state="failed", error="no space left")
    table = only(build(runs.root))
    gaps = {(g.column, g.seeds, g.state, g.detail) for g in table.gaps}
    assert all(g.row == "PatchVAE" for g in table.gaps)
    assert gaps == {
        ("", "1", "failed", "pretraining: loss is not finite from step 37 on"),
        ("Conv1", "2", "failed", "probe: no space left"),
        ("Conv[1-3], Conv[1-5]", "0, 2", "missing", ""),
    }
    assert [c.state for c in row(table, "PatchVAE").cells] == ["partial", "missing", "missing"]
    assert table.usual_n == 3


def test_a_pretraining_without_probes_is_a_row_of_gaps_or_pending(runs):
    runs.cells(["beta-vae"], [0])
    runs.pretrain("patchvae", 0, state="interrupted")
    runs.pretrain("patchvae", 0, dataset="digits")
    report = build(runs.root)
    assert row(only(report), "PatchVAE").cells[0].state == "missing"
    assert only(report).gaps[0].state == "interrupted"
    assert report.pending[0] == "PatchVAE on Digits, seed 0: done (pretrained, not probed)"


def test_mixed_sources_and_devices_are_said(runs):
    runs.probe(runs.pretrain("patchvae", 0, source="aaaa"), "conv1-5")
    assert not any("source" in note for note in only(build(runs.root)).notes)
    runs.probe(runs.pretrain("patchvae", 1, source="bbbb", device="cuda"), "conv1-5", source="bbbb")
    notes = " ".join(only(build(runs.root)).notes)
    assert "2 states of the source (aaaa, bbbb)" in notes
    assert "different devices (cpu, cuda)" in notes


def test_the_schedule_is_held_against_the_papers(runs):
    runs.cells(["patchvae"], [0])
    assert any("not the paper's (90 epochs" in note for note in only(build(runs.root)).notes)


def test_an_empty_or_missing_folder_gives_an_empty_report(tmp_path, runs):
    assert build(runs.root).tables == ()
    report = build(tmp_path / "nowhere")
    assert (report.tables, report.total) == ((), 0)


def test_a_broken_file_is_named_and_the_rest_read(runs):
    runs.cells(["patchvae"], [0, 1])
    victim = next(runs.root.glob("runs/*/result.json"))
    victim.unlink()
    victim.write_text("{")
    report = build(runs.root)
    assert len(report.problems) == 1
    assert report.done == 3


def test_a_method_that_is_not_installed_is_still_shown(runs, monkeypatch):
    runs.cells(["patchvae", "bigan"], [0])
    fewer = {name: m for name, m in registry.METHODS.items() if name != "bigan"}
    for module in (registry, collect, panel):
        monkeypatch.setattr(module, "METHODS", fewer)
    matching._in_force.cache_clear()
    assert [r.label for r in only(build(runs.root)).rows] == ["PatchVAE", "BiGAN"]
    assert panel.spec("bigan").title == ""
    matching._in_force.cache_clear()


def test_reporting_loads_neither_torch_nor_pandas(runs, tmp_path):
    runs.cells(["patchvae", "random"], [0, 1])
    code = (
        "import sys; from bench.report import build, write, render_terminal\n"
        f"report = build({str(runs.root)!r}); write(report, {str(tmp_path / 'out')!r}); render_terminal(report)\n"
        "sys.exit(bool({'torch', 'timm', 'pandas', 'statsmodels', 'seaborn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "PatchVAE" in done.stdout
