import pytest

from bench.attempts import Attempt
from bench.estimate import CELL_SECONDS, ENOUGH, make_estimator
from bench.plan import Selection, make_plan
from bench.records import open_results

IMAGES = 1437


def plan(seeds=(0,), preset="quick", methods=("patchvae",)):
    return make_plan(Selection(methods, ("digits",), tuple(seeds), probes=("conv1",), preset=preset))


def finished(results, cell, per_image, features=0.0, device="AMD EPYC", **provenance):
    """A cell that took so many seconds an image."""
    epochs = cell.config["train" if cell.kind == "pretrain" else "probe"]["epochs"]
    seconds = epochs * IMAGES * per_image
    body = {"seconds": seconds, "images_per_second": 1 / per_image, "feature_seconds": features * IMAGES}
    Attempt(results, cell.config, provenance={"device": device, **provenance}).finish(body)


@pytest.fixture
def results(tmp_path):
    open_results(tmp_path)
    return tmp_path


def test_a_cell_takes_what_finished_cells_like_it_took_scaled_to_its_epochs(results):
    for group in plan(range(ENOUGH), "smoke").groups:
        finished(results, group.pretrain, 0.01)
        finished(results, group.dependents[0], 0.002, features=0.003)
    (group,) = plan([7], "quick").groups
    estimator = make_estimator(results, [group.pretrain, *group.dependents], "cpu")
    assert estimator.seconds(group.pretrain) == pytest.approx(CELL_SECONDS + 8 * IMAGES * 0.01)
    assert estimator.seconds(group.dependents[0]) == pytest.approx(
        CELL_SECONDS + IMAGES * (15 * 0.002 + 0.003)
    )
    assert estimator.basis == f"from {2 * ENOUGH} finished cells like them"


def test_an_evaluation_takes_what_one_of_the_same_data_took_whatever_its_method(results):
    judged = make_plan(Selection(("patchvae", "bigan"), ("digits",), (0,), evaluations=("features",)))
    first, second = (group.dependents[-1] for group in judged.groups)
    rough = make_estimator(results, [second], "cpu").seconds(second)
    assert CELL_SECONDS < rough < 100
    Attempt(results, first.config, provenance={"device": "AMD EPYC"}).finish({"seconds": 42.0})
    assert make_estimator(results, [second], "cpu").seconds(second) == CELL_SECONDS + 42.0


def test_other_methods_and_other_devices_tell_nothing(results):
    finished(results, plan([0], "smoke").groups[0].pretrain, 9.0, device="NVIDIA H200")
    finished(results, plan([0], "smoke", ("bigan",)).groups[0].pretrain, 9.0)
    cell = plan([7]).groups[0].pretrain
    estimator = make_estimator(results, [cell], "cpu")
    assert estimator.seconds(cell) < 100
    assert "rough guess" in estimator.basis


@pytest.mark.parametrize(("seeds", "tells"), [([0, 1, 2], False), ([0], True)])
def test_a_cell_that_was_trained_with_other_seeds_tells_nothing(seeds, tells, results):
    finished(results, plan([0], "smoke").groups[0].pretrain, 0.01, together={"seeds": seeds, "why": ""})
    cell = plan([7]).groups[0].pretrain
    estimator = make_estimator(results, [cell], "cpu")
    assert ("finished cell" in estimator.predict(cell).source) is tells


@pytest.mark.parametrize(("number", "tells"), [(4, False), (1, True)])
def test_a_cell_of_several_devices_tells_nothing_of_one(number, tells, results):
    finished(results, plan([0], "smoke").groups[0].pretrain, 0.01, devices={"world_size": number})
    cell = plan([7]).groups[0].pretrain
    estimator = make_estimator(results, [cell], "cpu")
    assert ("finished cell" in estimator.predict(cell).source) is tells


def test_a_job_with_a_gpu_that_torch_does_not_see_tells_of_jobs_with_a_gpu(results):
    finished(results, plan([0], "smoke").groups[0].pretrain, 0.01, scheduler={"gpus": "0"})
    cell = plan([7]).groups[0].pretrain
    assert make_estimator(results, [cell], "gpu").seconds(cell) == pytest.approx(
        CELL_SECONDS + 8 * IMAGES * 0.01
    )


def test_what_takes_no_steps_takes_no_time(results):
    cell = plan(methods=("random",)).groups[0].pretrain
    assert make_estimator(results, [cell], "cpu").seconds(cell) == CELL_SECONDS


def test_the_rough_guess_grows_with_the_work_and_falls_with_a_gpu(results):
    short, long = (plan(preset=p).groups[0].pretrain for p in ("smoke", "full"))
    rough = make_estimator(results, [short, long], "cpu")
    assert rough.seconds(long) > 20 * rough.seconds(short)
    assert make_estimator(results, [long], "gpu").seconds(long) < rough.seconds(long) / 10


def test_a_result_of_another_kind_tells_nothing_and_breaks_nothing(results):
    cell = plan([0]).groups[0].pretrain
    Attempt(results, cell.config, provenance={"device": "cpu"}).finish({"seconds": "long"})
    estimator = make_estimator(results, [cell], "cpu")
    assert estimator.rates == {}
    assert estimator.seconds(cell) > CELL_SECONDS
