"""How one training iteration is computed: one seed plainly, or several seeds at once with `torch.func.vmap`.

Both engines show the trainer the same face, so there is one training step. The plain engine is the yardstick that
every faster one is held against.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from bench.devices.share import Share
from bench.flat import FlatAdam
from bench.streams import stream
from models.method import Batch, Losses, Method, Noise, Phase


class Engine(Protocol):
    """Parameters by name, and the losses of a phase (one entry a seed for several seeds)."""

    method: Method
    parameters: dict[str, Tensor]
    buffers: dict[str, Tensor]

    def losses(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """Losses of a phase on a batch."""
        ...


class PlainEngine:
    """One seed, eager: the module as it is.

    Args:
        method: what is trained.
        confined: no gradient but a phase's can be asked of its loss. The numbers are the same; a layer whose gradient
            is code of this project computes every one that might be asked for.
    """

    def __init__(self, method: Method, confined: bool = False) -> None:
        self.method, self.confined = method, confined
        self._of_others: dict[str, bool] = {}
        self.parameters: dict[str, Tensor] = dict(method.named_parameters())
        self.buffers: dict[str, Tensor] = dict(method.named_buffers())

    def losses(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """Scalars."""
        with confined_to(self, phase) if self.confined else contextlib.nullcontext():
            return self.method(phase.loss, batch, noise, schedule)

    def is_of_others(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> bool:
        """Whether a loss wants no gradient because the phase updates nothing of what is in it, and not by mistake.

        It is computed once more, on copies of parameters and buffers, of which whatever is trained wants one; once a
        phase. What a method knows it keeps in buffers.
        """
        if phase.loss not in self._of_others:
            state = {
                n: p.detach().clone().requires_grad_(p.requires_grad) for n, p in self.parameters.items()
            }
            state |= {name: buffer.clone() for name, buffer in self.buffers.items()}
            losses = functional_call(self.method, state, (phase.loss, batch, noise, schedule), strict=True)
            self._of_others[phase.loss] = losses["loss"].requires_grad
        return self._of_others[phase.loss]


class StackedEngine:
    """Several seeds of one method at once: parameters, buffers, batches and noise have a leading seed dimension.

    The gradient of the sum over seeds is each seed's own, and Adam and SGD act entry by entry, so seeds do not
    touch one another.
    """

    def __init__(self, methods: Sequence[Method]) -> None:
        self.method = methods[0]
        self.parameters, self.buffers = stack_module_state(list(methods))  # pyright: ignore[reportArgumentType]
        self.num_seeds = len(methods)

    def losses(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """One value a seed: [seeds]."""

        def one(parameters: dict, buffers: dict, batch: Batch, noise: dict) -> Losses:
            return functional_call(
                self.method, (parameters, buffers), (phase.loss, batch, noise, schedule), strict=True
            )

        return vmap(one, randomness="error")(self.parameters, self.buffers, batch, dict(noise))

    def slice_into(self, methods: Sequence[Method]) -> None:
        """Make each method's parameters and buffers slices of the stacked ones, which they then always equal."""
        state = {**self.parameters, **self.buffers}
        for i, method in enumerate(methods):
            for name, tensor in (*method.named_parameters(), *method.named_buffers()):
                tensor.data = state[name].detach()[i]

    def unstack(self) -> list[dict[str, Tensor]]:
        """Each seed's state dict."""
        state = {**self.parameters, **self.buffers}
        return [{k: v[i].detach().clone() for k, v in state.items()} for i in range(self.num_seeds)]


@contextlib.contextmanager
def confined_to(engine: Engine, phase: Phase) -> Iterator[None]:
    """While a phase's loss is computed, no parameter wants a gradient that the phase does not update."""
    updated = set(updated_names(engine.method, phase))
    others = [p for n, p in engine.parameters.items() if n not in updated and p.requires_grad]
    try:
        for parameter in others:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in others:
            parameter.requires_grad_(True)


def updated_names(method: Method, phase: Phase) -> list[str]:
    """Names of the parameters that a phase steps."""
    prefixes = tuple(f"{child}." for child in phase.updates)
    return [n for n, p in method.named_parameters() if n.startswith(prefixes) and p.requires_grad]


def draw(
    spec: Mapping[str, Noise], count: int, seed: int, phase: str, step: int, like: Tensor
) -> dict[str, Tensor]:
    """The noise of one phase of one step for one seed: {name: [count, *shape]}."""
    draws = {}
    for name, noise in spec.items():
        generator = stream(seed, "noise", phase, name, step, device=like.device)
        kind = torch.randn if noise.kind == "normal" else torch.rand
        draws[name] = kind((count, *noise.shape), generator=generator, device=like.device, dtype=like.dtype)
    return draws


def _is_of_others(
    engine: Engine,
    phase: Phase,
    batch: Batch,
    noise: Mapping[str, Tensor],
    schedule: Mapping[str, Tensor],
) -> bool:
    """See `PlainEngine.is_of_others`; of no engine whose parameters all want a gradient."""
    inner = getattr(engine, "inner", engine)
    # What is compiled is confined, too.
    if not isinstance(inner, PlainEngine) or not (inner.confined or inner is not engine):
        return False
    return inner.is_of_others(phase, batch, noise, schedule)


def train_step(
    engine: Engine,
    optimizer: torch.optim.Optimizer | FlatAdam,
    batch: Batch,
    noises: Sequence[Mapping[str, Tensor]],
    schedule: Mapping[str, Tensor],
    share: Share | None = None,
) -> Losses:
    """One iteration: every phase's forward, backward and update, in order.

    Args:
        engine: what computes the losses.
        optimizer: one over all of the engine's parameters; a parameter without a gradient is left alone, and so is
            one that the phase does not update.
        batch: images and labels.
        noises: each phase's draws.
        schedule: 0-d tensors.
        share: this rank's of the batch, where there are several: losses and gradients are those of the whole.

    Returns:
        The losses by name, detached; "loss" is the first phase's, later ones are "loss_<phase>".
    """
    values: Losses = {}
    kept: dict[str, Tensor] = {}
    for i, (phase, noise) in enumerate(zip(engine.method.phases, noises, strict=True)):
        losses = engine.losses(phase, batch, noise, schedule)
        names = updated_names(engine.method, phase)
        parameters = [engine.parameters[name] for name in names]
        # A mean over this rank's images, by what it weighs in the mean over the batch.
        loss = losses["loss"].sum() if share is None else losses["loss"] * share.weight
        if not loss.requires_grad and _is_of_others(engine, phase, batch, noise, schedule):
            # Its gradient is zero, as it is where all parameters want one.
            grads = tuple(torch.zeros_like(p) for p in parameters)
        else:
            grads = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        if share is not None:
            grads, losses = share.means(grads, losses)
        if not phase.keep_grad:
            kept = {}
        kept = {name: kept[name] + g if name in kept else g for name, g in zip(names, grads, strict=True)}
        if isinstance(optimizer, FlatAdam):
            optimizer.update(kept)
        else:
            for name, parameter in zip(names, parameters, strict=True):
                parameter.grad = kept[name]
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        for name, value in losses.items():
            values[name if i == 0 or name != "loss" else f"loss_{phase.loss}"] = value.detach()
    return values
