"""One contract over every registered evaluation and every method that it applies to."""

import dataclasses
import json
import math

import numpy as np
import pytest

from bench.errors import Interrupted, UsageError, WeightsError
from bench.evaluate import evaluate
from bench.evaluations import registry
from bench.evaluations.registry import EVALUATIONS, choose
from bench.launch.control import RunOptions, Stop
from bench.records import PICTURES
from bench.settings import parse_settings
from models.registry import METHODS
from tests.evaluating import PRETRAINED, judge, pretrained
from tests.learning import MemoryAttempt, noise_data
from tests.test_train import quiet

USUAL = [name for name, row in EVALUATIONS.items() if not row.weights]
PAIRS = [(e, m) for e in USUAL for m in METHODS if EVALUATIONS[e].applies(METHODS[m])]
TIMES = {"seconds", "peak_memory_bytes"}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each method pretrained once."""
    folder, found = tmp_path_factory.mktemp("pretrained"), {}

    def make(name):
        found[name] = found.get(name) or pretrained(name, folder)[:2]
        return found[name]

    return make


@pytest.mark.parametrize(("name", "method"), PAIRS)
def test_an_evaluation_gives_known_finite_numbers_and_the_same_bits_twice(name, method, made, tmp_path):
    pretrain, weights = made(method)
    result, attempt = judge(name, pretrain, weights, tmp_path / "1")
    row = EVALUATIONS[name]
    assert result["evaluation"] == name
    assert result["metrics"]
    for key, value in result["metrics"].items():
        metric = row.metric(key)
        assert metric is not None
        assert type(value) is float
        assert math.isfinite(value)
        assert metric.unit != "share" or 0 <= value <= 1
    assert result["n_test"] == 20
    assert len(result["weights"]) == 64
    assert json.loads(json.dumps(result, allow_nan=False)) == result

    again, second = judge(name, pretrain, weights, tmp_path / "2")
    assert {k: v for k, v in again.items() if k not in TIMES} == {
        k: v for k, v in result.items() if k not in TIMES
    }
    assert set(second.arrays) == set(attempt.arrays)
    for name_, arrays in attempt.arrays.items():
        for key, values in arrays.items():
            assert np.array_equal(values, second.arrays[name_][key]), (name_, key)
            assert values.dtype.kind in "iufb"
            # Only what is told apart as pictures may hold images.
            assert name_ in PICTURES or values.ndim < 4, (name_, key)


@pytest.mark.parametrize("name", EVALUATIONS)
def test_settings_are_typed_checked_and_reachable_by_set(name):
    row = EVALUATIONS[name]
    defaults = row.settings_cls()
    with pytest.raises(dataclasses.FrozenInstanceError):
        defaults.anything = 1
    for field in dataclasses.fields(row.settings_cls):
        value = getattr(defaults, field.name)
        key = f"{name}.{field.name}"
        assert parse_settings([f"{key}={value}"], []) == {key: value}


@pytest.mark.parametrize("name", USUAL)
def test_weights_that_are_gone_or_broken_are_said_to_be(name, made, tmp_path):
    method = next(m for e, m in PAIRS if e == name)
    config, _ = made(method)
    with pytest.raises(WeightsError, match="model"):
        judge(name, config, tmp_path / "model.safetensors", tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"cut short")
    with pytest.raises(WeightsError, match="broken"):
        judge(name, config, tmp_path / "model.safetensors", tmp_path)


@pytest.mark.parametrize("name", USUAL)
def test_an_evaluation_stops_when_it_is_asked_to(name, made, tmp_path):
    method = next(m for e, m in PAIRS if e == name)
    pretrain, weights = made(method)
    stop = Stop()
    stop.request()
    with pytest.raises(Interrupted):
        judge(name, pretrain, weights, tmp_path, stop=stop)


def test_an_evaluation_of_another_version_is_refused(made, tmp_path):
    from bench.config import evaluate_config

    pretrain, weights = made("random")
    config = evaluate_config(pretrain, {"name": "noise"}, image_size=32, evaluation="features")
    config["evaluation_version"] = 99
    with pytest.raises(UsageError, match="version 99"):
        evaluate(
            config,
            noise_data(),
            weights,
            PRETRAINED,
            MemoryAttempt(tmp_path),  # pyright: ignore[reportArgumentType]
            device="cpu",
            stop=Stop(),
            progress=quiet,
            options=RunOptions(threads=1),
        )


def test_what_a_study_may_print_of_an_evaluation_is_measured_by_it():
    from bench.studies.metrics import METRICS

    for metric in METRICS.values():
        if metric.source in EVALUATIONS:
            known = EVALUATIONS[metric.source].metric(metric.name)
            assert known is not None, metric.name
            assert metric.percent == (known.unit == "share"), metric.name


def test_names_are_chosen_as_elsewhere_and_none_is_none():
    assert list(choose(())) == list(choose(("all",))) == USUAL
    assert choose(("none",)) == ()
    assert choose(("!features",)) == tuple(name for name in USUAL if name != "features")
    assert choose(("rec*",)) == ("reconstruction",)
    with pytest.raises(UsageError, match="did you mean 'features'"):
        choose(("feature",))
    with pytest.raises(UsageError, match="did you mean 'features'"):
        registry.spec("feature")
