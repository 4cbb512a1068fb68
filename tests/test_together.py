"""Several seeds trained at once are the seeds trained one by one, each in an attempt of its own."""

import math
from typing import Any

import pytest
import torch

from bench.checkpoint import read_tensors
from bench.data.batches import Pixels
from bench.errors import Apart, Diverged, Interrupted, Superseded
from bench.inputs import Inputs
from bench.launch.control import RunOptions, Stop
from bench.speed import Speed
from bench.stacked import StackedSteps
from bench.together import pretrain_together
from bench.train import Steps
from tests.learning import MemoryAttempt, make_method, noise_data, pretrain_config
from tests.test_train import StopAfter, quiet, rows, run

SEEDS = (0, 1, 2)
# In fp32 with Adam, after two epochs: the distance between the weights of both, as a share of the way they have gone.
DRIFT = {"patchvae": 0.05, "bigan": 0.05, "beta-vae-gan": 0.15}
DATA = noise_data(size=16)


def config(name, seed=0, **train):
    return pretrain_config(name, seed, size=16, **{"flip": True, **train})


def run_together(configs, attempts, stop=None, data=DATA, **options) -> dict[int, Any]:
    """How each cell ended."""
    endings = pretrain_together(
        configs,
        data,
        attempts,
        device="cpu",
        stop=stop or Stop(),
        progress=[quiet] * len(configs),
        options=RunOptions(threads=1, **options),
    )
    found: dict[int, Any] = dict(endings)
    assert len(found) == len(configs)
    return found


def attempts_of(folder, count=3) -> Any:
    return [MemoryAttempt(folder / str(i)) for i in range(count)]


def weights(attempt):
    return read_tensors(attempt.dir / "model.safetensors")[0]


def same_bits(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], v) for k, v in second.items())


def slow(*names):
    return [pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", ["beta-vae", "bigan", "supervised", *slow("patchvae", "patchvae-gan-lw")])
def test_in_fp64_with_sgd_they_are_three_runs_apart_to_1e_12(name):
    """Three steps with flips, over the end of an epoch whose last batch is short."""
    data = noise_data(train=7, size=16)
    settings = config(name, batch_size=4)["train"]
    pixels = Pixels(data.train, "cpu", settings["scale"], torch.float64)
    apart = [make_method(name, seed, torch.float64, size=16) for seed in SEEDS]
    stacked = [make_method(name, seed, torch.float64, size=16) for seed in SEEDS]
    begin = {key: value.clone() for key, value in apart[0].state_dict().items()}
    together = StackedSteps(stacked, pixels, settings, SEEDS)
    together.optimizer = torch.optim.SGD(together.engine.parameters.values(), lr=1e-5)
    alone = [Steps(method, pixels, settings, seed) for method, seed in zip(apart, SEEDS, strict=True)]
    for steps in alone:
        steps.optimizer = torch.optim.SGD(steps.method.parameters(), lr=1e-5)
    for _ in range(3):
        losses, count = together.next()
        for steps, fused in zip(alone, losses, strict=True):
            values, number = steps.next()
            assert count == number
            for key, value in values.items():
                assert fused[key].item() == pytest.approx(value.item(), rel=1e-12, abs=1e-12)
    for one, fused in zip(apart, stacked, strict=True):
        for key, value in one.state_dict().items():
            scale = max(1.0, value.abs().max().item())
            assert (fused.state_dict()[key] - value).abs().max().item() <= 1e-12 * scale, key
    assert any(not torch.equal(value, apart[0].state_dict()[key]) for key, value in begin.items())


def flat_vector(tensors, method):
    return torch.cat([tensors[name].flatten().double() for name, _ in method.named_parameters()])


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", ["patchvae", *slow("beta-vae-gan", "bigan")])
def test_in_fp32_with_adam_they_drift_from_runs_apart_by_rounding(name, flat, tmp_path):
    configs = [config(name, seed, batch_size=16) for seed in SEEDS[:2]]
    fused = attempts_of(tmp_path / "together", 2)
    found = run_together(configs, fused, switches=Speed(flat_update=flat))
    for i, one in enumerate(configs):
        attempt = MemoryAttempt(tmp_path / f"alone{i}")
        result = run(one, attempt, data=DATA)
        assert found[i]["steps"] == result["steps"]
        assert found[i]["params"] == result["params"]
        assert found[i]["metrics"] == pytest.approx(result["metrics"], rel=0.01, abs=0.01)
        assert [row.keys() for row in fused[i].rows] == [row.keys() for row in attempt.rows]
        method = make_method(name, i, size=16)
        begin, end = flat_vector(method.state_dict(), method), flat_vector(weights(attempt), method)
        assert (flat_vector(weights(fused[i]), method) - end).norm() <= DRIFT[name] * (end - begin).norm()


CONFIGS = [config("supervised", seed) for seed in SEEDS]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Three seeds together, left alone: ten steps in two epochs."""
    attempts = attempts_of(tmp_path_factory.mktemp("whole"))
    endings = run_together(CONFIGS, attempts)
    return attempts, endings


@pytest.mark.parametrize("steps", [2, 5])
@pytest.mark.parametrize("flat", [False, True])
def test_a_group_that_was_stopped_ends_bit_for_bit_as_one_that_was_not(steps, flat, whole, tmp_path):
    attempts = attempts_of(tmp_path)
    speed = Speed(flat_update=flat)
    if flat:
        whole = attempts_of(tmp_path / "whole"), None
        run_together(CONFIGS, whole[0], switches=speed)
    first = run_together(CONFIGS, attempts, StopAfter(steps), switches=speed)
    assert all(isinstance(error, Interrupted) for error in first.values())
    found = run_together(CONFIGS, attempts, switches=speed)
    for i, attempt in enumerate(attempts):
        assert found[i]["steps"] == 10
        assert rows(attempt) == rows(whole[0][i])
        assert same_bits(weights(attempt), weights(whole[0][i]))


def test_each_has_its_share_of_the_time_and_its_own_reconstructions(whole):
    _, endings = whole
    total = sum(ending["seconds"] for ending in endings.values())
    for ending in endings.values():
        assert ending["seconds"] == pytest.approx(total / 3, rel=0.2)
        assert ending["images_per_second"] == pytest.approx(80 / ending["seconds"])
    losses = {ending["metrics"]["loss"] for ending in endings.values()}
    assert len(losses) == 3


def test_a_seed_can_leave_the_group_and_go_on_alone(whole, tmp_path):
    attempts = attempts_of(tmp_path)
    run_together(CONFIGS, attempts, StopAfter(4))
    result = run(CONFIGS[1], attempts[1], data=DATA)
    assert result["metrics"] == pytest.approx(whole[1][1]["metrics"], rel=0.01)
    assert attempts[1].checkpoint[1]["step"] == 4


def test_seeds_that_were_begun_alone_can_join_where_they_are_at_one_step(whole, tmp_path):
    attempts = attempts_of(tmp_path)
    for i, steps in enumerate((4, 4, 6)):
        with pytest.raises(Interrupted):
            run(CONFIGS[i], attempts[i], StopAfter(steps), data=DATA)
    found = run_together(CONFIGS, attempts)
    assert isinstance(found[2], Apart)
    assert str(found[2]) == "it goes on from step 6, the other seeds from step 4"
    for i in (0, 1):
        assert found[i]["metrics"] == pytest.approx(whole[1][i]["metrics"], rel=0.01)


def test_alone_at_its_step_a_seed_is_not_trained_here(tmp_path):
    attempts = attempts_of(tmp_path, 2)
    with pytest.raises(Interrupted):
        run(CONFIGS[0], attempts[0], StopAfter(4), data=DATA)
    found = run_together(CONFIGS[:2], attempts)
    assert {type(ending) for ending in found.values()} == {Apart}


def ruined(monkeypatch, seed, step=0):
    """Have a seed's weights ruined after a step."""
    from bench import stacked

    inner = stacked.StackedSteps.next

    def next_step(self):
        if self.done == step:
            with torch.no_grad():
                self.engine.parameters["classifier.bias"][seed].fill_(math.inf)
        return inner(self)

    monkeypatch.setattr(stacked.StackedSteps, "next", next_step)


@pytest.mark.parametrize("step", [0, 7])
def test_a_seed_that_diverges_ends_as_it_would_alone_and_the_others_keep_every_bit(
    step, whole, tmp_path, monkeypatch
):
    ruined(monkeypatch, 1, step)
    attempts = attempts_of(tmp_path)
    found = run_together(CONFIGS, attempts, checkpoint_every_steps=3)
    assert isinstance(found[1], Diverged)
    assert found[1].step == step + 1
    assert not (attempts[1].dir / "model.safetensors").exists()
    assert len(attempts[1].rows) == step // 5
    for i in (0, 2):
        assert rows(attempts[i]) == rows(whole[0][i])
        assert same_bits(weights(attempts[i]), weights(whole[0][i]))


def test_weights_that_are_not_finite_after_the_last_step_are_not_kept(whole, tmp_path, monkeypatch):
    from bench import stacked

    def ruin(engine, *arguments):
        values = train_step(engine, *arguments)
        with torch.no_grad():
            engine.parameters["classifier.bias"][2].fill_(math.inf)
        return values

    train_step = stacked.train_step
    monkeypatch.setattr(stacked, "train_step", ruin)
    one_step = [config("supervised", seed, batch_size=40, epochs=1) for seed in SEEDS]
    attempts = attempts_of(tmp_path)
    found = run_together(one_step, attempts)
    assert isinstance(found[2], Diverged)
    assert str(found[2]).startswith("a weight is not finite")
    assert [(a.dir / "model.safetensors").exists() for a in attempts] == [True, True, False]


@pytest.mark.parametrize("error", [Superseded("taken over"), OSError(28, "No space left on device")])
def test_one_whose_checkpoint_cannot_be_written_ends_alone(error, whole, tmp_path):
    attempts = attempts_of(tmp_path)

    def refuse(tensors, meta):
        raise error

    attempts[0].save_checkpoint = refuse
    found = run_together(CONFIGS, attempts, checkpoint_every_steps=3)
    assert found[0] is error
    for i in (1, 2):
        assert same_bits(weights(attempts[i]), weights(whole[0][i]))


def test_where_none_is_left_nothing_more_is_computed(tmp_path, monkeypatch):
    asked = []
    inner = Inputs.at
    monkeypatch.setattr(Inputs, "at", lambda self, step: asked.append(step) or inner(self, step))
    for seed in SEEDS:
        ruined(monkeypatch, seed)
    found = run_together(CONFIGS, attempts_of(tmp_path))
    assert all(isinstance(error, Diverged) for error in found.values())
    assert max(asked) <= 4


def test_what_cannot_be_stacked_is_trained_alone(tmp_path, monkeypatch):
    from bench import stacked

    def fails(*_):
        raise RuntimeError("vmap: it looks at a value")

    monkeypatch.setattr(stacked, "train_step", fails)
    found = run_together(CONFIGS, attempts_of(tmp_path))
    assert {type(ending) for ending in found.values()} == {Apart}
    assert str(found[0]) == "its first step with other seeds failed: RuntimeError: vmap: it looks at a value"


def test_bf16_together_is_bf16_alone_but_for_rounding(tmp_path):
    attempts = attempts_of(tmp_path, 2)
    speed = Speed(precision="bf16")
    found = run_together(CONFIGS[:2], attempts, switches=speed)
    for i in (0, 1):
        alone = run(CONFIGS[i], MemoryAttempt(tmp_path / f"alone{i}"), data=DATA, switches=speed)
        assert found[i]["metrics"]["loss"] == pytest.approx(alone["metrics"]["loss"], rel=0.02)
        assert all(t.dtype != torch.bfloat16 for t in weights(attempts[i]).values())
