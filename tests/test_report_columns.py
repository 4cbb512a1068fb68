"""What may stand in one column, and that nothing that was measured is lost."""

import pytest

from bench.errors import UsageError
from bench.report import build
from tests.synthetic_runs import Runs

POINTS = ("conv1", "conv1-3", "conv1-5")


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path / "results")


def table(report, title):
    return next(t for t in report.tables if title in t.title)


def test_evaluations_of_other_settings_never_share_a_column_and_are_told(runs):
    for seed in range(4):
        pretrain = runs.pretrain("patchvae", seed)
        runs.probe(pretrain, "conv1-5")
        runs.evaluation(pretrain, "features", {"knn_top1": 0.2 + seed / 1000})
        runs.evaluation(pretrain, "features", {"knn_top1": 0.3 + seed / 1000}, settings={"features.k": 5})
    beside = table(build(runs.root), "beside the probes")
    assert beside.rows[0].cells[0].values == (0.2, 0.201, 0.202, 0.203)
    assert any("4 runs of the evaluation features have other settings" in note for note in beside.notes)


def test_what_is_measured_beside_the_probes_has_a_table_of_its_own(runs):
    for seed in (0, 1):
        for method in ("patchvae", "random"):
            pretrain = runs.pretrain(method, seed)
            runs.probe(pretrain, "conv1-5")
            runs.evaluation(pretrain, "features", {"knn_top1": 0.2, "linear_top1": 0.3})
        runs.evaluation(
            runs.pretrain("patchvae", seed), "reconstruction", {"rate": 90.0 + seed, "distortion": 2e3}
        )
    beside = table(build(runs.root), "beside the probes")
    assert {c.metric for c in beside.columns} == {"knn_top1", "linear_top1", "rate", "distortion"}
    assert [row.label for row in beside.rows] == ["PatchVAE", "Random (untrained)"]


def test_freeze_points_that_a_table_lacks_stand_in_a_table_of_their_own(runs):
    for seed in (0, 1):
        runs.probe(runs.pretrain("patchvae", seed), "conv1-5")
        pretrain = runs.pretrain("patchvae", seed, settings={"num_parts": 4})
        for point in POINTS:
            runs.probe(pretrain, point)
    first, third, own = build(runs.root).tables
    assert (first.number, third.number, own.number) == ("1", "3", "")
    assert [c.freeze for c in own.columns] == ["conv1", "conv1-3"]
    assert [row.label for row in own.rows] == ["PatchVAE [num_parts=4]"]


def test_supervised_elsewhere_is_not_the_row_of_the_same_images(runs):
    for seed in (0, 1):
        pretrain = runs.pretrain("supervised", seed, dataset="imagenet", epochs=2)
        runs.probe(pretrain, "conv1-5", dataset="cifar100")
    (only,) = build(runs.root).tables
    assert [row.label for row in only.rows] == ["Imagenet Pretrained, 2 epochs"]


def test_what_was_pretrained_elsewhere_is_one_row_only_where_it_was_pretrained_alike(runs):
    for dataset, epochs in (("cifar100", 2), ("indoor67", 9)):
        runs.cells(["patchvae"], [0], dataset=dataset)
        pretrain = runs.pretrain("supervised", 0, dataset="imagenet", epochs=epochs)
        runs.probe(pretrain, "conv1-5", dataset=dataset)
    (first,) = [t for t in build(runs.root).tables if t.number == "1"]
    foreign = [row for row in first.rows if row.method == "supervised"]
    assert len(foreign) == 2
    assert all(sum(cell.estimate is not None for cell in row.cells) == 1 for row in foreign)


def test_an_untrained_network_stands_with_its_own_backbone(runs):
    for backbone, value in (("resnet9", 0.10), ("resnet18", 0.15)):
        for method in ("patchvae", "random"):
            pretrain = runs.pretrain(method, 0, backbone=backbone)
            runs.evaluation(pretrain, "features", {"knn_top1": value})
    tables = {dict(t.facts)["Backbone"]: t for t in build(runs.root).tables if "beside" in t.title}
    assert {name: [row.cells[0].values for row in t.rows] for name, t in tables.items()} == {
        "resnet9": [(0.10,), (0.10,)],
        "resnet18": [(0.15,), (0.15,)],
    }


def test_a_baseline_is_a_label_or_the_method_at_its_defaults(runs):
    for settings in ({}, {"num_parts": 4}, {"num_parts": 8}):
        for seed in (0, 1):
            runs.probe(runs.pretrain("patchvae", seed, settings=settings), "conv1-5")
    third = next(t for t in build(runs.root, baseline="patchvae").tables if t.number == "3")
    assert third.baseline == "N = 16"
    with pytest.raises(UsageError, match="N = 4"):
        build(runs.root, baseline="N = 5")


def test_a_baseline_that_could_be_several_rows_is_refused(runs):
    for parts in (4, 8):
        for seed in (0, 1):
            runs.probe(runs.pretrain("patchvae", seed, settings={"num_parts": parts}), "conv1-5")
    with pytest.raises(UsageError, match="'N = 4', 'N = 8'"):
        build(runs.root, baseline="patchvae")
