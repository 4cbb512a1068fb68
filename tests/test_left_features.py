"""What a dry run knows of features that an earlier probe of the same pretraining leaves."""

import copy
from pathlib import Path
from typing import Any

import pytest

from bench import feature_store
from bench.estimate import make_estimator
from bench.forecast import Way, estimator_here
from bench.launch.control import RunOptions
from bench.launch.workers.share import Jobs
from bench.micro.left import leaving, there_still
from bench.micro.measurement import Measurement, Parts
from bench.micro.signature import Images
from bench.plan import Cell, Selection, make_plan
from bench.probe_speed import PLAIN_PROBE, choose_probe
from tests.learning import MemoryAttempt, noise_data
from tests.test_probe import probe_config, run, save_weights

IMAGES = Images(1437, 360, 10, 1437)
POINTS = ("conv1", "conv1-3", "conv1-5")
# Seconds of an image's features at each, computed from the image.
FEATURES = {"conv1": 0.010, "conv1-3": 0.025, "conv1-5": 0.040}
FAST = choose_probe("cpu", "auto", "fp32")


def plan(**more):
    return make_plan(Selection(("beta-vae",), ("digits",), preset="quick", probes=POINTS, **more))


def measured(point, size=100, memory=0):
    wall, processor = Parts(4.0, 0.1, FEATURES[point]), Parts(2.0, 0.1, FEATURES[point] / 2)
    return Measurement(wall, processor, memory=memory, images=0, feature_bytes=size, point=point)


def before(cells, speed=FAST):
    return {k: [one.config["freeze"] for one in found] for k, found in leaving(cells, speed).items()}


def test_a_probe_finds_what_those_of_its_pretraining_before_it_have_left():
    cells = list(plan(seeds=(0, 1)).cells)
    found = before(cells)
    assert len(found) == 6
    for cell in cells:
        if cell.kind == "probe":
            at = POINTS.index(cell.config["freeze"])
            assert found[cell.id] == list(POINTS[:at])
    # Of what is further on nothing can be made.
    assert set(map(tuple, before(cells[::-1]).values())) == {()}


def changed(cell, **probe):
    config = copy.deepcopy(cell.config)
    config["probe"] |= probe
    return Cell(config, "digits")


@pytest.mark.parametrize(
    ("change", "finds"),
    [
        ({"lr": 1.0}, ["conv1"]),
        ({"flip": True}, []),
        ({"scale": "symmetric"}, []),
        ({"frozen_bn": "batch"}, None),
    ],
    ids=str,
)
def test_on_what_its_features_depend_and_on_what_not(change, finds):
    first = next(cell for cell in plan().cells if cell.kind == "probe")
    second = changed(first, **change)
    assert before([first, second]).get(second.id) == finds


def test_features_are_left_only_where_they_are_shared():
    first, *others = (cell for cell in plan().cells if cell.kind == "probe")
    again = changed(first, lr=1.0)
    assert before([first, again, *others], PLAIN_PROBE) == {}
    bf16 = before([first, again, *others], choose_probe("cpu", "auto", "bf16"))
    assert bf16 == {first.id: [], again.id: ["conv1"], others[0].id: [], others[1].id: []}


def test_seconds_are_those_of_the_rest_of_the_way():
    cell = next(cell for cell in plan().cells if cell.config.get("freeze") == "conv1-3")
    one = measured("conv1-3")
    alone, count = one.seconds(cell.config, IMAGES), 1437 + 360
    assert alone - one.seconds(cell.config, IMAGES, left=[measured("conv1")]) == pytest.approx(0.010 * count)
    # The same once more is there whole.
    assert alone - one.seconds(cell.config, IMAGES, left=[measured("conv1"), one]) == pytest.approx(
        0.025 * count
    )
    # Noise makes no negative time.
    assert alone - one.seconds(cell.config, IMAGES, left=[measured("conv1-5")]) == pytest.approx(
        0.025 * count
    )
    processor = [
        one.seconds(cell.config, IMAGES, processor=True, left=left) for left in ([], [measured("conv1")])
    ]
    assert processor[0] - processor[1] == pytest.approx(0.005 * count)


@pytest.mark.parametrize("fits", [True, False])
def test_a_dry_run_counts_on_them_if_they_fit_the_budget(fits, tmp_path):
    whole = plan()
    todo = list(whole.cells)
    counted = 1437 * (2 if todo[1].config["probe"]["flip"] else 1) + 360
    size = RunOptions.cache_bytes // counted // (2 if fits else 1)
    probes = [cell for cell in todo if cell.kind == "probe"]
    found = {}
    for speed in ("auto", "plain"):
        estimator = estimator_here(Path(tmp_path), whole, todo, Way("cpu", 1, speed), (), "cpu")
        for cell in probes:
            estimator.measured[estimator.signature_key(cell)] = measured(cell.config["freeze"], size)
        found[speed] = [estimator.predict(cell) for cell in probes]
    saved = [plain.seconds - fast.seconds for fast, plain in zip(*found.values(), strict=True)]
    expected = [0.0, 0.010 * counted, 0.025 * counted] if fits else [0.0, 0.0, 0.0]
    assert saved == pytest.approx(expected, abs=1e-6)


def test_memory_holds_what_is_left_besides_a_probes_own(tmp_path):
    whole = plan()
    probes = [cell for cell in whole.cells if cell.kind == "probe"]
    counted = 1437 * (2 if probes[0].config["probe"]["flip"] else 1) + 360
    found = []
    for speed in ("auto", "plain"):
        estimator = estimator_here(Path(tmp_path), whole, list(whole.cells), Way("cpu", 1, speed), (), "cpu")
        for cell, size in zip(probes, (100, 100, 50), strict=True):
            estimator.measured[estimator.signature_key(cell)] = measured(cell.config["freeze"], size, 1 << 30)
        found.append([estimator.predict(cell).memory or 0 for cell in probes])
    more = [fast - plain for fast, plain in zip(*found, strict=True)]
    assert more == [0, 100 * counted, 200 * counted]


def test_the_oldest_are_given_up_first_and_the_same_point_needs_no_room():
    conv1, middle, last = (cell for cell in plan().cells if cell.kind == "probe")
    again = changed(conv1, lr=1.0)
    size = 100
    each = size * (IMAGES.pool + IMAGES.test)

    def found(cell, before, room):
        told = there_still(cell, before, lambda c: measured(c.config["freeze"], size), IMAGES, room)
        return [one.parts.features for one in told]

    assert found(again, [conv1], each) == [0.010]
    assert found(last, [conv1, middle], 3 * each) == [0.025, 0.010]
    assert found(last, [conv1, middle], 2 * each) == [0.025]
    assert found(last, [conv1, middle], each) == []
    # Of one that was not measured nothing is known.
    assert there_still(last, [conv1], lambda _: None, IMAGES, each) == []


@pytest.mark.parametrize(
    ("done", "jobs", "counts"), [(0, 1, True), (0, 2, True), (0, 3, False), (1, 1, True), (1, 2, False)]
)
def test_probes_of_one_pretraining_share_nothing_in_several_processes(done, jobs, counts, tmp_path):
    whole = plan(seeds=(0, 1))
    todo = [cell for group in whole.groups[done:] for cell in group.cells]
    estimator = estimator_here(Path(tmp_path), whole, todo, Way("cpu", 1, "auto", jobs=Jobs(jobs)), (), "cpu")
    assert bool(estimator.before) == counts


def test_they_are_those_that_a_process_does_find(tmp_path, monkeypatch, compiled):
    """Probes of one pretraining in turn, and how many passes over images each begins with."""
    turns: Any = (
        ("conv1", {}),
        ("conv1", {"lr": 1.0}),
        ("conv1-3", {}),
        ("conv1-5", {"scale": "symmetric"}),
        ("conv1-5", {}),
        ("conv1-5", {"frozen_bn": "batch"}),
        ("none", {}),
    )
    cells = [
        Cell({**probe_config(point, epochs=1, batch_size=32, **settings), "pretrain_id": "x"}, "noise")
        for point, settings in turns
    ]
    # Those whose features are computed batch by batch have no pass of their own.
    passes = {cell.id: 0 for cell in cells if cell.config["freeze"] == "none"}
    passes |= {cell.id: 0 for cell in cells if cell.config["probe"]["frozen_bn"] == "batch"}
    passes |= {k: 0 if found else 2 for k, found in before(cells).items()}
    weights, data = save_weights(tmp_path / "weights.safetensors"), noise_data()
    counted, compute = [], feature_store.compute
    monkeypatch.setattr(feature_store, "compute", lambda *given: (counted.append(1), compute(*given))[1])
    feature_store.SHELF.items.clear()
    for cell in cells:
        counted.clear()
        run(cell.config, weights, MemoryAttempt(tmp_path / cell.id), data, probing=FAST)
        assert len(counted) == passes[cell.id], cell.config
    feature_store.SHELF.items.clear()


def test_an_estimator_that_was_told_of_no_plan_counts_every_cell_alone(tmp_path):
    assert make_estimator(Path(tmp_path), list(plan().cells), "cpu").before == {}
