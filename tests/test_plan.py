"""From a selection to cells, in an order that is of use before it ends."""

import time
from dataclasses import replace

import pytest

from bench.errors import UsageError
from bench.plan import Selection, make_plan, states
from models.registry import METHODS

SMALL = Selection(
    methods=("beta-vae", "random", "scratch"), datasets=("digits",), seeds=(0, 1), preset="smoke"
)


def labels(plan):
    return [cell.label for cell in plan.cells]


def test_each_pretraining_is_followed_by_its_probes_and_seeds_come_one_after_another():
    assert labels(make_plan(SMALL))[:10] == [
        "beta-vae digits seed 0 pretrain",
        "beta-vae digits seed 0 conv1",
        "beta-vae digits seed 0 conv1-3",
        "beta-vae digits seed 0 conv1-5",
        "random digits seed 0 pretrain",
        "random digits seed 0 conv1",
        "random digits seed 0 conv1-3",
        "random digits seed 0 conv1-5",
        "scratch digits seed 0 pretrain",
        "scratch digits seed 0 end to end",
    ]
    assert all("seed 1" in text for text in labels(make_plan(SMALL))[10:])


def test_every_cell_is_there_once():
    plan = make_plan(replace(SMALL, methods=tuple(METHODS), probe_seeds=3, seeds=(0, 1, 2)))
    ids = [cell.id for cell in plan.cells]
    assert len(ids) == len(set(ids)) == len(plan) == 3 * (12 + 3 * (11 * 3 + 1))


def test_a_cell_is_called_by_the_settings_that_are_not_its_methods_own():
    plan = make_plan(
        replace(SMALL, methods=("patchvae",), seeds=(0,), settings={"num_parts": 4, "part_dim": 6})
    )
    assert labels(plan)[:2] == [
        "patchvae (num_parts=4) digits seed 0 pretrain",
        "patchvae (num_parts=4) digits seed 0 conv1",
    ]
    plan = make_plan(replace(SMALL, methods=("patchvae",), seeds=(0,), protocol="reference"))
    assert labels(plan)[0] == "patchvae digits seed 0 pretrain"


def test_probe_seeds_are_crossed_with_pretraining_seeds_and_default_to_them():
    plan = make_plan(replace(SMALL, methods=("random",), probes=("conv1",), seeds=(5,)))
    assert [cell.config["seed"] for cell in plan.cells] == [5, 5]
    plan = make_plan(replace(SMALL, methods=("random",), probes=("conv1",), seeds=(5, 6), probe_seeds=2))
    probes = [(c.config["pretrain"]["seed"], c.config["seed"]) for c in plan.cells if c.kind == "probe"]
    assert probes == [(5, 0), (5, 1), (6, 0), (6, 1)]


def test_a_pretraining_on_another_data_set_is_shared_by_all_that_probe_it(tmp_path):
    from PIL import Image

    for name, size in (("birds", 40), ("boats", 41)):
        for split in ("train", "test"):
            for label in ("a", "b"):
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                Image.new("RGB", (size, size)).save(folder / "0.png")
    both = (f"folder:{tmp_path / 'birds'}", f"folder:{tmp_path / 'boats'}")
    plan = make_plan(
        replace(
            SMALL,
            methods=("supervised",),
            datasets=both,
            seeds=(0,),
            probes=("conv1-5",),
            pretrain_on="digits",
        )
    )
    assert labels(plan) == [
        "supervised digits seed 0 pretrain",
        "supervised folder:birds seed 0 from digits conv1-5",
        "supervised folder:boats seed 0 from digits conv1-5",
    ]
    assert [cell.config["image_size"] for cell in plan.cells] == [32, 64, 64]
    assert str(tmp_path) not in str([cell.config for cell in plan.cells])


def test_freeze_points_are_selected_by_name_and_belong_to_the_backbone():
    plan = make_plan(replace(SMALL, methods=("random",), probes=("conv1-5,conv1",), seeds=(0,)))
    assert [cell.config.get("freeze") for cell in plan.cells] == [None, "conv1-5", "conv1"]
    with pytest.raises(UsageError, match="freeze point"):
        make_plan(replace(SMALL, probes=("conv1-9",)))


def test_what_is_asked_wrongly_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UsageError, match="download"):
        make_plan(replace(SMALL, datasets=("cifar100",)), tmp_path)
    with pytest.raises(UsageError, match="must be greater"):
        make_plan(replace(SMALL, settings={"latent_dim": 0}))
    assert not list(tmp_path.iterdir())


def test_images_smaller_than_the_stride_are_refused(monkeypatch):
    from bench import plan as module

    monkeypatch.setattr(module, "backbone_stride", lambda name: 64)
    with pytest.raises(UsageError, match="smaller than the stride"):
        make_plan(SMALL)


def test_a_decoder_that_could_not_rebuild_its_images_is_refused_before_any_work(monkeypatch):
    from bench import plan as module

    monkeypatch.setattr(module, "backbone_stride", lambda name: 24)
    with pytest.raises(UsageError, match="32 pixels must be a multiple of the stride of resnet9, 24 pixels"):
        make_plan(replace(SMALL, methods=("random", "patchvae")))
    assert len(make_plan(replace(SMALL, methods=("random", "supervised"))))


def test_thousands_of_cells_are_planned_in_seconds(tmp_path):
    begun = time.process_time()
    plan = make_plan(replace(SMALL, methods=tuple(METHODS), seeds=tuple(range(110))))
    assert len(plan) == 110 * (12 + 11 * 3 + 1) > 5_000
    assert {s for s, _ in states(plan, tmp_path).values()} == {"new"}
    assert time.process_time() - begun < 5


BOTH = replace(SMALL, evaluations=("features", "reconstruction"), seeds=(0,), probes=("conv1",))


def test_evaluations_follow_the_probes_of_the_pretrainings_to_which_they_apply():
    assert labels(make_plan(BOTH)) == [
        "beta-vae digits seed 0 pretrain",
        "beta-vae digits seed 0 conv1",
        "beta-vae digits seed 0 features",
        "beta-vae digits seed 0 reconstruction",
        "random digits seed 0 pretrain",
        "random digits seed 0 conv1",
        "random digits seed 0 features",
        "scratch digits seed 0 pretrain",
        "scratch digits seed 0 end to end",
    ]
    plan = make_plan(BOTH)
    assert {cell.kind for cell in plan.cells} == {"pretrain", "probe", "evaluate"}
    assert [cell.method for cell in plan.groups[0].dependents] == ["beta-vae"] * 3
    with pytest.raises(UsageError, match="did you mean 'features'"):
        make_plan(replace(BOTH, evaluations=("feature",)))


def evaluations(selection):
    return {c.config["evaluation"]: c for c in make_plan(selection).cells if c.kind == "evaluate"}


def test_an_evaluation_is_known_by_all_that_changes_it_and_by_nothing_else():
    usual = evaluations(BOTH)
    for same in (
        replace(BOTH, probe_seeds=3),
        replace(BOTH, settings={"probe.lr": 0.5, "probe.epochs": 1}),
        replace(BOTH, settings={"features.k": 20}),
    ):
        assert {cell.id for cell in evaluations(same).values()} == {cell.id for cell in usual.values()}
    for other in (replace(BOTH, settings={"features.k": 3}), replace(BOTH, settings={"features.l2": 0.5})):
        changed = evaluations(other)
        assert changed["features"].id != usual["features"].id
        assert changed["reconstruction"].id == usual["reconstruction"].id
    with pytest.raises(UsageError, match="features: k is 0"):
        make_plan(replace(BOTH, settings={"features.k": 0}))


def test_features_are_judged_on_the_scale_that_a_probe_of_the_same_protocol_sees():
    def scale(**more):
        cells = make_plan(replace(BOTH, methods=("random",), **more)).cells
        return next(c.config["evaluate"]["scale"] for c in cells if c.kind == "evaluate")

    assert scale() == scale(protocol="reference") == "imagenet"
    assert scale(protocol="clean") == "symmetric"
    assert scale(settings={"probe.scale": "symmetric"}) == "symmetric"
    assert scale(protocol="clean", settings={"features.scale": "imagenet"}) == "imagenet"
    paper, reference = (
        evaluations(replace(BOTH, methods=("random",), protocol=p)) for p in ("paper", "reference")
    )
    assert paper["features"].id == reference["features"].id


def test_a_method_is_asked_only_for_images_of_the_size_that_it_makes(tmp_path):
    from PIL import Image

    for split in ("train", "test"):
        for label in ("a", "b"):
            folder = tmp_path / "birds" / split / label
            folder.mkdir(parents=True)
            Image.new("RGB", (40, 40)).save(folder / "0.png")
    there = replace(BOTH, methods=("beta-vae",), pretrain_on="digits")
    large, small = (replace(there, datasets=(f"folder:{tmp_path / 'birds'}@{n}",)) for n in (64, 32))
    assert set(evaluations(large)) == {"features"}
    assert set(evaluations(small)) == {"features", "reconstruction"}
    assert evaluations(small)["features"].label == "beta-vae folder:birds seed 0 from digits features"


def test_what_differs_from_the_defaults_is_told_in_the_keys_of_set():
    from bench.config import schedule, variant

    def told(**more):
        return {name: variant(cell.config) for name, cell in evaluations(replace(BOTH, **more)).items()}

    assert set(told().values()) == set(told(protocol="clean").values()) == {""}
    changed = told(methods=("beta-vae",), settings={"features.k": 3, "latent_dim": 8})
    assert changed == {"features": "latent_dim=8,features.k=3", "reconstruction": "latent_dim=8"}
    assert schedule(evaluations(replace(BOTH, methods=("beta-vae",)))["features"].config) == "2"
