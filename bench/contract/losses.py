"""What a method promises of its losses: pure tensor code that any engine may compute."""

import copy
import random
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from bench.contract.method_case import Inputs, MethodCase, call, cast, part
from bench.contract.verdicts import NotKept, Remark
from bench.engines import PlainEngine, StackedEngine, train_step, updated_names
from models.method import Batch, Method

SEEDS = (0, 1, 2)
COUPLED = "couples_examples=True: examples may touch one another, and it is trained on one device"
UNLESS = "; where they are compared on purpose, its MethodSpec says couples_examples=True"


def finite(case: MethodCase) -> None:
    """Each loss is a dict of finite scalars, "loss" among them, with a gradient."""
    method = trained(case)
    inputs = case.inputs(method)
    for number, phase in enumerate(method.phases):
        losses = case.losses(method, number, inputs)
        for name, value in losses.items():
            if not isinstance(value, Tensor) or value.shape != ():
                shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise NotKept(f"{phase.loss} gives {name} as {shape}, not as a scalar tensor")
            if not value.isfinite():
                raise NotKept(f"{phase.loss} gives {name}={value.item()}")
        if not losses["loss"].requires_grad:
            raise NotKept(f"{phase.loss} gives a loss without a gradient")


def batch_mean(case: MethodCase) -> None:
    """Losses are means over the batch: the same images twice in a batch leave them as they are."""
    method = trained(case).double()
    if case.row.couples_examples:
        raise Remark(COUPLED)
    inputs = case.inputs(method, dtype=torch.float64)
    twice = part(inputs, torch.arange(8) % 4)
    for number, phase in enumerate(method.phases):
        # Batch norm's running statistics move with each call; a copy has them as they were.
        once, double = (case.losses(copy.deepcopy(method), number, given) for given in (inputs, twice))
        for name, value in once.items():
            if not torch.allclose(value, double[name], rtol=1e-7, atol=1e-9):
                ratio = (double[name] / value).item()
                raise NotKept(
                    f"{phase.loss}: {name} is {ratio:.4g} times as large for the same images twice{UNLESS}"
                )


def independent(case: MethodCase) -> None:
    """Without batch norm's statistics, the loss of a batch is the mean of its halves' losses."""
    method = trained(case).double().eval()
    if case.row.couples_examples:
        raise Remark(COUPLED)
    inputs = case.inputs(method, dtype=torch.float64)
    for number, phase in enumerate(method.phases):
        whole, first, last = (
            case.losses(method, number, given)["loss"]
            for given in (inputs, part(inputs, slice(2)), part(inputs, slice(2, None)))
        )
        if not torch.allclose(whole, (first + last) / 2, rtol=1e-7, atol=1e-9):
            raise NotKept(
                f"{phase.loss}: {whole.item():.6g} for the batch, {((first + last) / 2).item():.6g} for its halves:"
                f" examples change one another's loss{UNLESS}"
            )


def gradients(case: MethodCase) -> None:
    """A loss reaches every parameter that its phase updates, and changes none by itself, nor a module's mode."""
    method = trained(case)
    modes = {name: module.training for name, module in method.named_modules()}
    before = {name: value.detach().clone() for name, value in method.named_parameters()}
    inputs = case.inputs(method)
    for number, phase in enumerate(method.phases):
        names = updated_names(method, phase)
        parameters = dict(method.named_parameters())
        loss = case.losses(method, number, inputs)["loss"]
        grads = torch.autograd.grad(loss, [parameters[name] for name in names], allow_unused=True)
        for name, grad in zip(names, grads, strict=True):
            if grad is None:
                raise NotKept(f"{phase.loss} updates {name}, which it does not depend on")
            if not bool(grad.isfinite().all()):
                raise NotKept(f"{phase.loss} gives {name} a gradient that is not finite")
        for child in phase.updates:
            own = [g for n, g in zip(names, grads, strict=True) if n.startswith(f"{child}.")]
            if own and not any(bool(g.any()) for g in own if g is not None):
                raise NotKept(f"{phase.loss} updates {child}, whose gradient is zero everywhere")
    for name, module in method.named_modules():
        if module.training != modes[name]:
            raise NotKept(
                f"a loss left {name or 'the method'} in another mode: train() and eval() are the trainer's"
            )
    for name, parameter in method.named_parameters():
        if parameter.grad is not None:
            raise NotKept(f"a loss left a gradient on {name}: it must not call backward")
        if not torch.equal(before[name], parameter):
            raise NotKept(f"a loss changed {name} by itself: only the trainer steps parameters")


def no_randomness(case: MethodCase) -> None:
    """Two calls with the same inputs give the same bits, and nobody's random numbers are used."""
    method = trained(case)
    inputs, begin = case.inputs(method), {k: v.clone() for k, v in method.state_dict().items()}
    for number, phase in enumerate(method.phases):
        states = torch.get_rng_state(), random.getstate(), _numpys()
        first = case.losses(method, number, inputs)
        drew = [
            name
            for name, same in (
                ("torch", torch.equal(states[0], torch.get_rng_state())),
                ("Python", states[1] == random.getstate()),
                ("NumPy", states[2] == _numpys()),
            )
            if not same
        ]
        if drew:
            raise NotKept(f"{phase.loss} draws random numbers of {drew[0]}: declare them by noise()")
        # The same object, so that a generator or a counter of its own is found out.
        method.load_state_dict(begin)
        for name, value in case.losses(method, number, inputs).items():
            if not torch.equal(value, first[name]):
                raise NotKept(f"{phase.loss}: {name} is another number when it is computed again")
        method.load_state_dict(begin)


def no_values(case: MethodCase) -> None:
    """A loss and its gradient look at no tensor's value (.item(), if), which no captured graph could."""
    method = trained(case)
    batch, noises, schedule = case.inputs(method, count=2)
    mode = FakeTensorMode()
    state = _faked(mode, dict(method.named_parameters()), "cpu")
    buffers = _faked(mode, dict(method.named_buffers()), "cpu")
    with mode:
        for phase, noise in zip(method.phases, noises, strict=True):
            given = (
                phase.loss,
                Batch(*_faked(mode, batch._asdict(), "cpu").values()),
                _faked(mode, noise, "cpu"),
                _faked(mode, schedule, "cpu"),
            )
            try:
                values = functional_call(method, {**state, **buffers}, given)
                torch.autograd.grad(
                    values["loss"], [state[n] for n in updated_names(method, phase)], allow_unused=True
                )
            except Exception as error:
                raise NotKept(f"{phase.loss} looks at a value: {_first(error)}") from error


def any_device(case: MethodCase) -> None:
    """A loss makes its tensors where its inputs are."""
    method = trained(case)
    batch, noises, schedule = case.inputs(method, count=2)
    mode = FakeTensorMode()
    # Fake tensors claim to be on a GPU whether there is one or not; nothing is computed.
    state = _faked(mode, {**dict(method.named_parameters()), **dict(method.named_buffers())}, "cuda")
    with mode, torch.no_grad():
        for phase, noise in zip(method.phases, noises, strict=True):
            given = (
                phase.loss,
                Batch(*_faked(mode, batch._asdict(), "cuda").values()),
                _faked(mode, noise, "cuda"),
                _faked(mode, schedule, "cuda"),
            )
            try:
                values = functional_call(method, state, given)
            except Exception as error:
                raise NotKept(f"{phase.loss} on a GPU: {_first(error)}") from error
            if values["loss"].device.type != "cuda":
                raise NotKept(
                    f"{phase.loss} gives its loss on {values['loss'].device}, its inputs are on a GPU"
                )


def seeds_together(case: MethodCase) -> None:
    """Three seeds trained at once (vmap) are three seeds trained apart, parameters and buffers to 1e-12 in fp64."""
    apart = [case.method(seed, torch.float64) for seed in SEEDS]
    engine = StackedEngine(copy.deepcopy(apart))
    together = torch.optim.SGD(engine.parameters.values(), lr=1e-4)
    optimizers = [torch.optim.SGD(method.parameters(), lr=1e-4) for method in apart]
    for step in range(2):
        drawn = [case.inputs(apart[0], seed, step, 3, torch.float64) for seed in SEEDS]
        for method, optimizer, given in zip(apart, optimizers, drawn, strict=True):
            train_step(PlainEngine(method), optimizer, *given)
        train_step(engine, together, *_stacked(drawn))
    for method, state in zip(apart, engine.unstack(), strict=True):
        for key, value in method.state_dict().items():
            scale = max(1.0, value.abs().max().item())
            if not (state[key] - value).abs().max().item() <= 1e-12 * scale:
                raise NotKept(
                    f"{key} differs by {(state[key] - value).abs().max().item():.2g} from a seed trained alone"
                )


def one_graph(case: MethodCase) -> None:
    """Each loss compiles into one graph (torch.compile, fullgraph) that gives the same losses."""
    method = trained(case).double()
    inputs = case.inputs(method, count=2, dtype=torch.float64)
    for number, phase in enumerate(method.phases):
        plain = case.losses(copy.deepcopy(method), number, inputs)
        try:
            compiled = torch.compile(copy.deepcopy(method), fullgraph=True, backend="eager")
            values = call(compiled, phase.loss, inputs[0], inputs[1][number], inputs[2])  # pyright: ignore[reportArgumentType]
        finally:
            torch.compiler.reset()
        for name, value in plain.items():
            if not torch.allclose(value, values[name], rtol=1e-7, atol=1e-9):
                raise NotKept(
                    f"{phase.loss}: {name} is {values[name].item():.6g} compiled, {value.item():.6g} plain"
                )


def precision(case: MethodCase) -> None:
    """In fp64 the losses are fp64, and those of fp32 to a thousandth."""
    method = trained(case)
    double = copy.deepcopy(method).double()
    exact = case.inputs(double, dtype=torch.float64)
    for number, phase in enumerate(method.phases):
        fine, coarse = (
            case.losses(double, number, exact),
            case.losses(method, number, cast(exact, torch.float32)),
        )
        for name, value in fine.items():
            if value.is_floating_point() and value.dtype != torch.float64:
                raise NotKept(f"{phase.loss}: {name} is {value.dtype} of fp64 inputs")
        if not torch.allclose(fine["loss"], coarse["loss"].double(), rtol=1e-3, atol=1e-5):
            raise NotKept(
                f"{phase.loss} is {coarse['loss'].item():.6g} in fp32, {fine['loss'].item():.6g} in fp64"
            )


def fit(case: MethodCase, method: Method, steps: int) -> list[float]:
    """The first phase's loss at each of some steps of Adam on one batch."""
    engine, inputs = PlainEngine(method), case.inputs(method)
    optimizer = torch.optim.Adam(engine.parameters.values(), lr=1e-3)
    return [train_step(engine, optimizer, *inputs)["loss"].item() for _ in range(steps)]


def _numpys() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=False)
    return state["state"]["key"].tobytes(), state["state"]["pos"]


def trained(case: MethodCase) -> Method:
    """The method, where it is trained at all."""
    method = case.method()
    if not method.phases:
        raise Remark("it is not trained")
    return method


def _faked(mode: FakeTensorMode, tensors: Mapping[str, Tensor], device: str) -> dict[str, Tensor]:
    """Tensors without values, on a device that need not be there."""
    with mode:
        return {
            name: torch.empty_strided(t.shape, t.stride(), dtype=t.dtype, device=device).requires_grad_(
                t.requires_grad
            )
            for name, t in tensors.items()
        }


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def _stacked(drawn: list[Inputs]) -> Inputs:
    batch = Batch(*(torch.stack(field) for field in zip(*(d[0] for d in drawn), strict=True)))
    noises = [
        {name: torch.stack([d[1][number][name] for d in drawn]) for name in noise}
        for number, noise in enumerate(drawn[0][1])
    ]
    return batch, noises, drawn[0][2]


PROMISES: dict[str, Callable[[MethodCase], str | None]] = {
    "losses": finite,
    "batch-mean": batch_mean,
    "independence": independent,
    "gradients": gradients,
    "no-randomness": no_randomness,
    "no-values": no_values,
    "any-device": any_device,
    "seeds-together": seeds_together,
    "one-graph": one_graph,
    "precision": precision,
}
