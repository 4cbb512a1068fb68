"""Where a step's time goes: its share by kind of operation, by torch's profiler.

An operation belongs to the innermost thing around it whose kind is known: a convolution with fewer products is made
of matrix products, and counts as a convolution. What the backward pass computes belongs to what its forward operation
belonged to.
"""

import contextlib
import functools
import re
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from bench import direct, winograd
from models import losses

STEPS = 3
LOSSES, OTHER = "losses", "other"
# Kind -> what its operations and their gradients are called, whichever library computes them.
KINDS = {
    "convolution": r"convolution|\bconv(_transpose)?[123]d\b",
    "BN": r"batch_?norm|_normalised|_pooledbackward|^_pooled$",
    "activation": r"relu|sigmoid|tanh|softplus|threshold_backward|gelu|elu",
    "pooling": r"pool|aten::mean\.pool",
    "product": r"\baten::(addmm|mm|bmm|matmul|linear|einsum)\b|addmmbackward|mmbackward",
    "Adam": r"optimizer\.(step|zero_grad)|_fused_adam",
}
_PATTERNS = {kind: re.compile(pattern, re.IGNORECASE) for kind, pattern in KINDS.items()}
_MARK = "loss: "
# Convolutions of our own, whose operations have the names of these classes.
_OWN = {
    name
    for module in (winograd, direct)
    for name, v in vars(module).items()
    if isinstance(v, type) and issubclass(v, torch.autograd.Function)
}


def kind_of(name: str) -> str | None:
    """The kind of an operation by its name; None of one that may belong to anything."""
    if name.startswith(_MARK):
        return LOSSES
    if name.rpartition(" ")[2].removesuffix("Backward") in _OWN:
        return "convolution"
    return next((kind for kind, pattern in _PATTERNS.items() if pattern.search(name)), None)


def breakdown(step: Callable[[], object], device: torch.device) -> dict[str, float]:
    """Share of the time by kind, the largest first; shares add up to one.

    Args:
        step: takes a training step.
        device: whose time counts.
    """
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if device.type == "cuda" else [])]
    with _named_losses(), profile(activities=activities, acc_events=True) as profiler:
        for _ in range(STEPS):
            step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    events = list(profiler.events() or [])
    forward = _kinds_of_forward(events)
    total: dict[str, float] = {}
    for event in events:
        own = event.self_device_time_total if device.type == "cuda" else event.self_cpu_time_total
        kind = _kind(event, forward)
        total[kind] = total.get(kind, 0.0) + own
    whole = sum(total.values()) or 1.0
    return {kind: own / whole for kind, own in sorted(total.items(), key=lambda item: -item[1])}


@contextlib.contextmanager
def _named_losses() -> Iterator[None]:
    """Have the profiler see which operations are those of a loss: by name a product of two tensors is anybody's."""
    functions = {
        name: value
        for name, value in vars(losses).items()
        if callable(value) and getattr(value, "__module__", None) == losses.__name__
    }

    def named(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            with record_function(_MARK + name):
                return function(*args, **kwargs)

        return call

    try:
        for name, function in functions.items():
            setattr(losses, name, named(name, function))
        yield
    finally:
        for name, function in functions.items():
            setattr(losses, name, function)


def _kinds_of_forward(events: list[Any]) -> dict[int, str]:
    """Number of an operation that is differentiated -> its kind."""
    found: dict[int, str] = {}
    for event in events:
        if event.sequence_nr >= 0 and not event.name.startswith("autograd::"):
            kind = _kind(event, {})
            # Of operations within one another the number is that of the innermost that has a gradient.
            if kind != OTHER:
                found.setdefault(event.sequence_nr, kind)
    return found


def _kind(event: Any, forward: dict[int, str]) -> str:
    inner: Any = event
    while inner is not None:
        kind = kind_of(inner.name)
        if kind is None and inner.name.startswith("autograd::") and inner.sequence_nr >= 0:
            kind = forward.get(inner.sequence_nr)
        # Products are what several kinds are made of: what stands around them says which.
        if kind is not None and kind != "product":
            return kind
        if kind == "product":
            outer = _kind(inner.cpu_parent, forward) if inner.cpu_parent is not None else OTHER
            return kind if outer == OTHER else outer
        inner = inner.cpu_parent
    return OTHER
