"""Engines that are faster somewhere compute what the plain one does, within their precision, and fall back to it."""

import pytest
import torch

from bench import accelerated
from bench.accelerated import Bf16Engine, CapturedStep, Compiling, CompilingEngine, pays, remember
from bench.checkpoint import read_tensors
from bench.engines import PlainEngine, train_step, updated_names
from bench.errors import Diverged, Interrupted
from bench.flat import FlatAdam
from bench.speed import Speed
from tests.learning import MemoryAttempt, make_batch, make_method, noise_data, pretrain_config
from tests.test_train import StopAfter, rows, run

BF16 = Speed(flat_update=True, precision="bf16")


@pytest.fixture(autouse=True)
def nothing_remembered():
    accelerated._remembered.clear()
    yield
    accelerated._remembered.clear()
    torch.compiler.reset()


@pytest.mark.parametrize("name", ["beta-vae-lw", "patchvae-gan", "bigan", "supervised"])
def test_losses_in_bf16_are_near_those_in_fp32_and_so_are_gradients_against_another_batchs(name):
    """Losses to 2 %; a phase's whole gradient is nearer by half than that of other images and draws."""
    engines = [kind(make_method(name, size=16)) for kind in (PlainEngine, Bf16Engine, PlainEngine)]
    draws = [make_batch(engines[0].method, 0, step, count=8) for step in (0, 0, 1)]
    for i, phase in enumerate(engines[0].method.phases):
        values, grads = [], []
        for engine, (batch, noises, schedule) in zip(engines, draws, strict=True):
            values.append(engine.losses(phase, batch, noises[i], schedule))
            wanted = [engine.parameters[n] for n in updated_names(engine.method, phase)]
            grads.append(torch.autograd.grad(values[-1]["loss"], wanted))
        assert all(value.dtype == torch.float32 for value in values[1].values())
        assert all(grad.dtype == torch.float32 for grad in grads[1])
        for key, value in values[0].items():
            assert values[1][key].item() == pytest.approx(value.item(), rel=0.02, abs=0.02), key
        plain, half, other = (torch.cat([g.flatten() for g in each]) for each in grads)
        assert (half - plain).norm() <= 0.5 * (other - plain).norm()


def test_weights_and_their_updates_stay_fp32_in_bf16_and_a_stopped_run_ends_alike(tmp_path):
    config = pretrain_config("beta-vae", epochs=1, size=16, batch_size=8)
    whole, parts = MemoryAttempt(tmp_path / "whole"), MemoryAttempt(tmp_path / "parts")
    data = noise_data(size=16)
    run(config, whole, data=data, switches=BF16)
    with pytest.raises(Interrupted):
        run(config, parts, StopAfter(2), data=data, switches=BF16)
    run(config, parts, data=data, switches=BF16)
    assert rows(parts) == rows(whole)
    for tensor in read_tensors(tmp_path / "whole/model.safetensors")[0].values():
        assert tensor.dtype != torch.bfloat16
    assert parts.checkpoint is not None
    assert all(t.dtype != torch.bfloat16 for t in parts.checkpoint[0].values())


def test_a_run_in_bf16_that_diverges_says_so(tmp_path):
    with pytest.raises(Diverged):
        run(pretrain_config("supervised", lr=1e30, epochs=2), MemoryAttempt(tmp_path), switches=BF16)


def compiling(name, backend, notes, full=4):
    method = make_method(name, size=16, dtype=torch.float64)
    engine = CompilingEngine(PlainEngine(method), full, notes.append, backend)
    engine.compile_now()
    return method, engine


def test_a_compiled_step_is_the_plain_step():
    """Traced and differentiated as a compiler does, without generating code: to 1e-10 in fp64 after two steps."""
    name = "bigan"
    notes: list[str] = []
    method, engine = compiling(name, "aot_eager", notes)
    plain = make_method(name, size=16, dtype=torch.float64)
    for each in (engine, PlainEngine(plain)):
        optimizer = torch.optim.SGD(each.parameters.values(), lr=1e-5)
        for step in range(2):
            batch, noises, schedule = make_batch(plain, 0, step, dtype=torch.float64)
            train_step(each, optimizer, batch, noises, schedule)
    assert notes == []
    assert engine.compiled
    assert all(p.requires_grad for p in method.parameters())
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(method.state_dict()[key], value, rtol=1e-10, atol=1e-10)


def test_a_short_batch_is_computed_as_it_is(monkeypatch):
    method, engine = compiling("supervised", "aot_eager", [], full=8)
    monkeypatch.setattr(engine, "_call", None)
    batch, noises, schedule = make_batch(method, 0, 0, dtype=torch.float64)
    assert engine.losses(method.phases[0], batch, noises[0], schedule)["loss"].isfinite()


def test_where_compiling_fails_the_run_goes_on_and_says_why():
    notes: list[str] = []
    method, engine = compiling("supervised", "aot_eager", notes)

    def fails(*_):
        raise RuntimeError("no C++ compiler")

    engine._call = fails
    batch, noises, schedule = make_batch(method, 0, 0, dtype=torch.float64)
    expected = PlainEngine(method).losses(method.phases[0], batch, noises[0], schedule)
    assert engine.losses(method.phases[0], batch, noises[0], schedule)["loss"] == expected["loss"]
    assert not engine.compiled
    assert notes == ["computed as it is, not compiled: RuntimeError: no C++ compiler"]


def test_compiling_pays_when_the_steps_to_go_save_more_than_it_costs():
    remember(seconds=30.0, share=0.5)
    assert pays(0.1, 601)
    assert not pays(0.1, 599)
    assert not pays(0.1, 601, phases=2)
    remember(share=1.02)
    assert not pays(0.1, 10**9)


@pytest.mark.parametrize(("to_go", "compiled"), [(10, False), (10**9, True)])
def test_it_is_decided_once_from_measured_steps(to_go, compiled, monkeypatch):
    method = make_method("supervised", size=16)
    engine = CompilingEngine(PlainEngine(method), 4, print, "eager")
    decides = Compiling(engine, False, torch.device("cpu"))
    clock = iter(range(10**6))
    monkeypatch.setattr(decides, "_now", lambda: float(next(clock)))
    for _ in range(accelerated.WARM_STEPS + accelerated.MEASURED_STEPS):
        decides.before_step(to_go)
        assert not engine.compiled
    decides.before_step(to_go)
    assert engine.compiled is compiled
    for _ in range(100):
        decides.before_step(to_go)
    assert engine.compiled is compiled
    assert ("share" in accelerated._remembered) is compiled


def test_a_run_that_was_compiled_is_compiled_again_when_it_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerated, "pays", lambda *_: True)
    monkeypatch.setattr(accelerated, "MEASURED_STEPS", 1)
    monkeypatch.setattr(accelerated, "WARM_STEPS", 0)
    begun = []
    monkeypatch.setattr(torch, "compile", lambda function, **_: begun.append(1) or function)
    attempt = MemoryAttempt(tmp_path)
    config = pretrain_config("supervised", epochs=1)
    switches = Speed(compile="if-it-pays")
    with pytest.raises(Interrupted):
        run(config, attempt, StopAfter(3), switches=switches)
    assert attempt.checkpoint is not None
    assert attempt.checkpoint[1]["compiled"] is True
    monkeypatch.setattr(accelerated, "pays", lambda *_: False)
    run(config, attempt, switches=switches)
    assert len(begun) == 2


def test_a_step_that_cannot_be_captured_is_computed_as_it_is():
    """As on a machine without a GPU."""
    if torch.cuda.is_available():
        pytest.skip("it can be captured here")
    notes: list[str] = []
    method, plain = make_method("bigan", size=16), make_method("bigan", size=16)
    results = []
    for each in (method, plain):
        updates = [updated_names(each, phase) for phase in each.phases]
        engine = PlainEngine(each)
        optimizer = FlatAdam(dict(each.named_parameters()), updates, 1e-3, (0.5, 0.999))
        batch, noises, schedule = make_batch(each, 0, 0)
        if each is method:
            results.append(CapturedStep(engine, optimizer, notes.append)(batch, noises, schedule))
        else:
            results.append(train_step(engine, optimizer, batch, noises, schedule))
    assert results[0] == results[1]
    assert notes[0].startswith("steps are not captured: ")
