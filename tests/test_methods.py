"""One contract over every registered method: trained alone, several seeds at once, and captured whole."""

import copy
import math

import pytest
import torch

from bench.contract import check_method, promises
from bench.engines import PlainEngine, StackedEngine, train_step
from models.method import Batch
from models.registry import METHODS, resolve_config
from tests.learning import make_batch, make_method

SEEDS = (0, 1, 2)
STEPS = 2
FP32_DRIFT = (
    1e-2  # relative, of every logged loss: Adam's first steps amplify rounding of near-zero gradients
)


def train_apart(methods, make_optimizer, dtype):
    logs = []
    for seed, method in zip(SEEDS, methods, strict=True):
        engine = PlainEngine(method)
        optimizer = make_optimizer(engine.parameters.values())
        for step in range(STEPS):
            batch, noises, schedule = make_batch(method, seed, step, dtype=dtype)
            logs.append(train_step(engine, optimizer, batch, noises, schedule))
    return logs


def train_together(methods, make_optimizer, dtype):
    engine = StackedEngine(methods)
    optimizer = make_optimizer(engine.parameters.values())
    logs = []
    for step in range(STEPS):
        drawn = [make_batch(methods[0], seed, step, dtype=dtype) for seed in SEEDS]
        batch = Batch(*(torch.stack(field) for field in zip(*(d[0] for d in drawn), strict=True)))
        noises = [
            {k: torch.stack([d[1][i][k] for d in drawn]) for k in drawn[0][1][i]}
            for i in range(len(methods[0].phases))
        ]
        logs.append(train_step(engine, optimizer, batch, noises, drawn[0][2]))
    return engine, logs


# Compiling takes seconds a method: every family and both switches are among these.
COMPILED = ("beta-vae", "patchvae-gan-lw", "bigan", "supervised")


# Of the others of a family what differs is in these; `make test-long` holds them to it too.
OFTEN = (*COMPILED, "patchvae", "random", "scratch")


@pytest.mark.parametrize(
    "name", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in METHODS]
)
def test_every_method_keeps_the_contract(name):
    """`bench.contract.methods` and `losses` say what is promised; `tests/test_contract.py` breaks each promise."""
    check_method(name, [p for p in promises("method") if p != "one-graph" or name in COMPILED])


@pytest.mark.parametrize("name", COMPILED)
def test_three_seeds_at_once_have_the_same_losses_in_fp32_with_adam(name):
    def adam(parameters):
        return torch.optim.Adam(parameters, lr=1e-4, betas=(0.5, 0.999))

    apart = [make_method(name, seed) for seed in SEEDS]
    together = copy.deepcopy(apart)
    logs = train_apart(apart, adam, torch.float32)
    _, fused = train_together(together, adam, torch.float32)
    for s in range(len(SEEDS)):
        for step in range(STEPS):
            for key, value in logs[s * STEPS + step].items():
                assert fused[step][key][s].item() == pytest.approx(value.item(), rel=FP32_DRIFT, abs=1e-3), (
                    key
                )


@pytest.mark.parametrize("name", ["beta-vae-gan", "patchvae-gan"])
def test_the_adversary_and_the_autoencoder_do_not_see_each_others_gradient(name):
    method = make_method(name)
    plain = make_method(name.removesuffix("-gan"))
    batch, noises, schedule = make_batch(method, 0, 0)
    joint = method("reconstruct_and_discriminate", batch, noises[0], schedule)["loss"]
    alone = plain("elbo", batch, noises[0], schedule)["loss"]
    for child in ("backbone", "heads", "decoder"):
        ours = torch.autograd.grad(joint, list(method.get_submodule(child).parameters()), retain_graph=True)
        theirs = torch.autograd.grad(alone, list(plain.get_submodule(child).parameters()), retain_graph=True)
        for a, b in zip(ours, theirs, strict=True):
            torch.testing.assert_close(a, b)


def test_a_seed_starts_every_method_from_the_same_backbone():
    first = make_method("beta-vae", seed=3).backbone.state_dict()
    for name in METHODS:
        for key, value in make_method(name, seed=3).backbone.state_dict().items():
            assert torch.equal(value, first[key]), (name, key)
    other = make_method("beta-vae", seed=4).backbone.state_dict()
    assert not torch.equal(first["net.conv1.weight"], other["net.conv1.weight"])


def test_switches_change_nothing_else_at_the_start():
    plain, switched = make_method("patchvae"), make_method("patchvae-gan-lw")
    for key, value in plain.state_dict().items():
        assert torch.equal(value, switched.state_dict()[key]), key


def test_reference_applies_the_elbo_gradient_twice_and_the_default_does_not():
    """Plain SGD with the adversary's weight at zero shows the slip alone."""

    def moved(elbo_twice):
        method = make_method("beta-vae-gan", dtype=torch.float64)
        config = resolve_config("beta-vae-gan", protocol="reference" if elbo_twice else "paper", beta_gan=0.0)
        assert config.elbo_twice is elbo_twice
        method = type(method)(config, method.backbone, 32, None).double()
        state = make_method("beta-vae-gan", dtype=torch.float64).state_dict()
        method.load_state_dict(state)
        engine = PlainEngine(method.train())
        batch, noises, schedule = make_batch(method, 0, 0, dtype=torch.float64)
        train_step(engine, torch.optim.SGD(engine.parameters.values(), lr=1e-6), batch, noises, schedule)
        return method.state_dict()["decoder.0.weight"] - state["decoder.0.weight"]

    torch.testing.assert_close(moved(True), 2 * moved(False))


def test_temperature_of_both_protocols():
    paper = make_method("patchvae")
    assert paper.schedule(0) == {"temperature": 1.0}
    assert paper.schedule(10_000)["temperature"] == pytest.approx(math.exp(-0.3))
    assert paper.schedule(10**6) == {"temperature": 0.1}

    reference = type(paper)(resolve_config("patchvae", protocol="reference"), paper.backbone, 32)
    temperature, expected = 1.0, []
    for steps in range(1, 5002):
        expected.append(temperature)
        if steps % 1000 == 1:
            temperature = max(temperature * math.exp(-3e-5 * steps), 0.1)
    for step in (0, 1, 2, 999, 1000, 1001, 2000, 2001, 5000):
        assert reference.schedule(step)["temperature"] == pytest.approx(expected[step]), step


def test_one_step_of_adam_is_torchs_on_a_closed_form():
    """The first Adam step moves every entry by lr against the sign of its gradient."""
    method = make_method("supervised")
    before = method.state_dict()["classifier.weight"].clone()
    engine = PlainEngine(method)
    batch, noises, schedule = make_batch(method, 0, 0)
    grad = torch.autograd.grad(
        method("classify", batch, {}, {})["loss"], [engine.parameters["classifier.weight"]]
    )[0]
    train_step(engine, torch.optim.Adam(engine.parameters.values(), lr=1e-3), batch, noises, schedule)
    moved = method.state_dict()["classifier.weight"] - before
    big = grad.abs() > 1e-4
    torch.testing.assert_close(moved[big], -1e-3 * grad.sign()[big], rtol=2e-3, atol=0)
