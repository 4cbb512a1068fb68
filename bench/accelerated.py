"""Faster engines of one seed: bf16 where the arithmetic is, a compiled loss with its gradient, a captured step.

Each computes what `PlainEngine` and `train_step` do and falls back to them by itself, saying so: without a compiler,
on the epoch's short last batch, on a device that cannot capture.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bench.engines import PlainEngine, StackedEngine, confined_to, train_step
from bench.flat import FlatAdam
from models.method import Batch, Losses, Method, Phase

Note = Callable[[str], None]

# Steps before it is decided whether to compile, of which the first ones, which warm up, are not measured.
WARM_STEPS, MEASURED_STEPS = 5, 20
# Before anything was compiled here: seconds for one phase, and the share of a step that is left. Guesses; what
# compiling has come to is remembered within the process, which runs cells alike one after another.
COMPILE_SECONDS, COMPILED_SHARE = 60.0, 0.8
_remembered: dict[str, float] = {}


class Bf16Engine(PlainEngine):
    """Convolutions and products in bf16 by autocast; weights stay fp32, and so does what leaves a child of a method.

    A loss is computed from fp32: a KL of bf16 moments would lose its small differences.
    """

    def __init__(self, method: Method) -> None:
        super().__init__(method)
        for child in method.children():
            child.register_forward_hook(_leave_in_fp32)

    def losses(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """Scalars, fp32."""
        with torch.autocast(batch.image.device.type, torch.bfloat16):
            return super().losses(phase, batch, noise, schedule)


class Bf16StackedEngine(StackedEngine):
    """As `Bf16Engine`, of several seeds at once."""

    def __init__(self, methods: Sequence[Method]) -> None:
        super().__init__(methods)
        for child in self.method.children():
            child.register_forward_hook(_leave_in_fp32)

    def losses(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """One value a seed, fp32."""
        with torch.autocast(batch.image.device.type, torch.bfloat16):
            return super().losses(phase, batch, noise, schedule)


def _leave_in_fp32(_module: nn.Module, _inputs: Any, output: Any) -> Any:
    return _widened(output)


def _widened(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, list | tuple):
        return type(value)(_widened(entry) for entry in value)
    if isinstance(value, dict):
        return {key: _widened(entry) for key, entry in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: _widened(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value


class CompilingEngine:
    """Another engine, whose phases are compiled, each loss with its gradient, once `compile_now` was called.

    Args:
        inner: what is compiled, and what computes until then and whatever does not fit.
        full: images of a full batch; a shorter one would be compiled anew and is computed as it is.
        note: told why it has gone back to computing as it was.
        backend: torch's, by name.
    """

    def __init__(self, inner: PlainEngine, full: int, note: Note, backend: str = "inductor") -> None:
        self.inner, self.full, self.note, self.backend = inner, full, note, backend
        self.method, self.parameters, self.buffers = inner.method, inner.parameters, inner.buffers
        self.compiled = False
        self._call: Callable[..., Losses] | None = None

    def compile_now(self) -> None:
        """Compile each phase when it is next computed."""
        self.compiled = True
        self._call = torch.compile(self.inner.losses, dynamic=False, backend=self.backend)

    def losses(
        self, phase: Phase, batch: Batch, noise: Mapping[str, Tensor], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """Scalars."""
        if self._call is None or len(batch.image) != self.full:
            return self.inner.losses(phase, batch, noise, schedule)
        # A compiled backward computes every gradient that may be asked for, so that none but the phase's may be.
        try:
            with confined_to(self, phase):
                return self._call(phase, batch, noise, schedule)
        except Exception as error:
            # Whatever the compiler fails at, the plain way remains; what is wrong with a loss itself raises there.
            self._call, self.compiled = None, False
            self.note(f"computed as it is, not compiled: {type(error).__name__}: {str(error).strip()[:200]}")
        return self.inner.losses(phase, batch, noise, schedule)


class Compiling:
    """Decides, from steps that a run takes anyway, whether its engine is to be compiled; measures what came of it.

    Args:
        engine: told to compile.
        at_once: without measuring.
        device: of the run.
    """

    def __init__(self, engine: CompilingEngine, at_once: bool, device: torch.device) -> None:
        self.engine, self.device = engine, device
        self._taken, self._begun, self._plain = 0, 0.0, 0.0
        if at_once:
            engine.compile_now()

    def before_step(self, steps_to_go: int) -> None:
        """Called before each step."""
        taken, self._taken = self._taken, self._taken + 1
        if taken == WARM_STEPS:
            self._begun = self._now()
        elif taken == WARM_STEPS + MEASURED_STEPS and not self.engine.compiled:
            self._plain = (self._now() - self._begun) / MEASURED_STEPS
            if pays(self._plain, steps_to_go, len(self.engine.method.phases)):
                self.engine.compile_now()
                self._begun = self._now()
        elif self._plain and taken == WARM_STEPS + MEASURED_STEPS + 1 and self.engine.compiled:
            # The step in between compiled every phase.
            remember(seconds=(self._now() - self._begun) / len(self.engine.method.phases))
            self._begun = self._now()
        elif self._plain and taken == WARM_STEPS + 2 * MEASURED_STEPS + 1 and self.engine.compiled:
            remember(share=(self._now() - self._begun) / MEASURED_STEPS / self._plain)

    def _now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()


def pays(step_seconds: float, steps_to_go: int, phases: int = 1) -> bool:
    """Whether compiling takes less time than it saves.

    Args:
        step_seconds: of a step as it is.
        steps_to_go: of the run.
        phases: each is compiled.
    """
    cost = _remembered.get("seconds", COMPILE_SECONDS) * phases
    return steps_to_go * step_seconds * (1 - _remembered.get("share", COMPILED_SHARE)) > cost


def compiled_share(step_seconds: float, steps_to_go: int, phases: int = 1) -> float:
    """The share of a step that is expected to be left in a run that is compiled if it pays: 1 where it does not."""
    return _remembered.get("share", COMPILED_SHARE) if pays(step_seconds, steps_to_go, phases) else 1.0


def remember(seconds: float | None = None, share: float | None = None) -> None:
    """Keep what compiling a phase took, and which share of a step's time was left, for the process's next cells."""
    for name, value in (("seconds", seconds), ("share", share)):
        if value is not None:
            _remembered[name] = value


class CapturedStep:
    """A whole training step as one CUDA graph: every phase's forward, backward and update, without the host.

    Args:
        engine: what is captured.
        optimizer: counts its steps on the device.
        note: told why steps are not captured.
    """

    def __init__(self, engine: PlainEngine, optimizer: FlatAdam, note: Note) -> None:
        self.engine, self.optimizer, self.note = engine, optimizer, note
        self._graph: torch.cuda.CUDAGraph | None = None
        self._inputs: list[Tensor] = []
        self._values: Losses = {}
        self._gone = False

    def __call__(
        self, batch: Batch, noises: Sequence[Mapping[str, Tensor]], schedule: Mapping[str, Tensor]
    ) -> Losses:
        """As `train_step`. The first batch is captured; one of another shape is computed as it is."""
        given = [*batch, *(t for noise in noises for t in noise.values()), *schedule.values()]
        if self._graph is None and not self._gone:
            try:
                self._capture(noises, schedule, given)
            except RuntimeError as error:
                self._gone = True
                self.note(f"steps are not captured: {str(error).strip()[:200]}")
        if self._graph is None or [t.shape for t in given] != [t.shape for t in self._inputs]:
            return train_step(self.engine, self.optimizer, batch, noises, schedule)
        for held, new in zip(self._inputs, given, strict=True):
            held.copy_(new)
        self._graph.replay()
        return {name: value.clone() for name, value in self._values.items()}

    def _capture(
        self, noises: Sequence[Mapping[str, Tensor]], schedule: Mapping[str, Tensor], given: Sequence[Tensor]
    ) -> None:
        self._inputs = [t.clone() for t in given]
        held = iter(self._inputs)
        image, label = next(held), next(held)
        own_noises = [{name: next(held) for name in noise} for noise in noises]
        own_schedule = {name: next(held) for name in schedule}

        def step() -> Losses:
            return train_step(self.engine, self.optimizer, Batch(image, label), own_noises, own_schedule)

        # Warming up takes steps, which are undone: weights, statistics and moments go back to what they were.
        before = [t.detach().clone() for t in self._state()]
        stepped = {id(t) for t in self._moments()}
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        try:
            with torch.cuda.stream(side):
                for _ in range(3):
                    step()
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # A thread that reads images ahead may pin memory at this very moment.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                values = step()
        finally:
            with torch.no_grad():
                for moment in self._moments():
                    if id(moment) not in stepped:
                        moment.zero_()
                for tensor, was in zip(self._state(stepped), before, strict=True):
                    tensor.copy_(was)
        self._graph, self._values = graph, values

    def _moments(self) -> list[Tensor]:
        state = self.optimizer.adam.state.values()
        return [t for entries in state for t in entries.values() if isinstance(t, Tensor)]

    def _state(self, only: set[int] | None = None) -> list[Tensor]:
        """All that a step changes; of the moments only those named."""
        moments = [t for t in self._moments() if only is None or id(t) in only]
        blocks = [block.values.detach() for block in self.optimizer.blocks.values()]
        return [*blocks, *self.engine.buffers.values(), *moments]
