"""Whether seeds are faster together is measured, and a stack that cannot be is none."""

import pytest

from bench import stacked
from bench.launch.control import RunOptions
from bench.perf import together as perf
from bench.together_speed import measure
from tests.learning import noise_data, pretrain_config

DATA = noise_data(size=16)
CONFIGS = [pretrain_config("supervised", seed, size=16, flip=True) for seed in range(2)]


def test_which_way_is_faster_is_measured_on_steps_of_both():
    options = RunOptions(threads=1)
    found = measure(CONFIGS, DATA, device="cpu", options=options)
    assert found.together is not None
    assert found.times_faster == found.apart / found.together > 0
    assert (
        str(found)
        == f"2 seeds together measured at {found.times_faster:.2f} of the speed of one after another"
    )


def test_what_cannot_be_stacked_is_measured_as_never_faster(monkeypatch):
    def fails(*_):
        raise RuntimeError("vmap: it looks at a value")

    monkeypatch.setattr(stacked, "train_step", fails)
    found = measure(CONFIGS, DATA, device="cpu", options=RunOptions(threads=1))
    assert (found.together, found.times_faster) == (None, 0.0)
    assert str(found) == "2 seeds cannot be trained together: RuntimeError: vmap: it looks at a value"


@pytest.mark.slow
def test_ways_of_training_seeds_are_measured_side_by_side():
    facts = perf.measure(perf.Wish("supervised", seeds=2, batch=4, size=16, rounds=2), lambda _: None)
    assert {perf.APART, perf.TOGETHER, perf.PROCESSES} <= facts["ways"].keys()
    assert facts["ways"][perf.APART]["times_faster"] == 1.0
    assert all(len(t["each_round"]) == 2 and t["images_per_second"] > 0 for t in facts["ways"].values())
    assert len(perf.rows(facts)) == len(facts["ways"])
    assert facts["switches_together"]["winograd"] is False
