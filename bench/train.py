"""Pretraining: one method, one seed, from a configuration to weights. Exactly resumable after any step."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.accelerated import Bf16Engine, CapturedStep, Compiling, CompilingEngine
from bench.build import build_method, load_optimizer_state, module_state, optimizer_state, under
from bench.data.arrays import Dataset
from bench.data.batches import Pixels
from bench.data.streaming import open_pixels
from bench.devices.batch_norm import synchronise, unsynchronise
from bench.devices.share import Share, Unwatched
from bench.engines import PlainEngine, train_step, updated_names
from bench.errors import Diverged, UsageError
from bench.flat import FlatAdam
from bench.fused_adam import make_adam
from bench.inputs import Inputs
from bench.launch.control import Progress, RunOptions, Stop
from bench.launch.distributed import refuse_coupled
from bench.loop import EpochMeans, Pace, peak_memory, prepare_device
from bench.prepared import prepare
from bench.speed import PLAIN, Speed
from models import registry
from models.method import Losses, Method

if TYPE_CHECKING:
    from bench.records import Attempt

NUM_RECONSTRUCTIONS = 16


def pretrain(
    config: dict[str, Any],
    data: Dataset,
    attempt: "Attempt",
    *,
    device: str,
    stop: Stop,
    progress: Progress,
    options: RunOptions,
    share: Share | None = None,
) -> dict[str, Any]:
    """Train a method and save its weights with the attempt.

    Args:
        config: a pretraining cell's configuration.
        data: the data set it names.
        attempt: where checkpoints, metrics and weights go.
        device: "cpu", "cuda", ...
        stop: asked after every step.
        progress: told now and then.
        options: how often to save, threads.
        share: this rank's of every batch, where the cell is computed by several.

    Returns:
        The body of `result.json`; {} on a rank that follows another.

    Raises:
        Diverged: a loss is not finite.
        Interrupted: asked to stop; resumable.
        OutOfTime: the time budget is spent; resumable.
        Preempted: the scheduler wants the machine back; resumable.
        UsageError: the configuration cannot be built.
    """
    refuse_coupled(config["method"], 1 if share is None else share.world_size)
    apart = config["train"].get("batch_norm_devices", 1)
    if apart not in (1, 1 if share is None else share.world_size):
        raise UsageError(
            f"batch norm of this cell is over the shares of {apart} devices: it needs --devices {apart}"
        )
    where = prepare_device(device, options)
    method = ready_method(config, data, where)
    if "weights" in config:
        from bench.taking import take

        take(method.backbone, config, options)
    prepare(method, options.switches, attempt.note)
    with pixels_of(config, data, where, options.data_bytes, attempt.note) as pixels:
        return _train(config, data, attempt, where, method, pixels, stop, progress, options, share)


def _train(
    config: dict[str, Any],
    data: Dataset,
    attempt: "Attempt",
    where: torch.device,
    method: Method,
    pixels: Pixels,
    stop: Stop,
    progress: Progress,
    options: RunOptions,
    share: Share | None,
) -> dict[str, Any]:
    steps = Steps(method, pixels, config["train"], int(config["seed"]), options.switches, attempt.note, share)
    means = EpochMeans(where)

    def save() -> None:
        attempt.save_checkpoint(
            {**module_state(method, "model."), **optimizer_state(steps.optimizer), **means.state()},
            {
                "step": steps.done,
                "epoch_count": means.count,
                "images": steps.images,
                "seconds": pace.seconds,
                "compiled": steps.compiling is not None and steps.compiling.engine.compiled,
            },
        )

    watched = means if share is None or share.leads else Unwatched()
    pace = Pace(steps.total, stop if share is None else share.agreed(stop), progress, options, save, watched)
    resumed = attempt.load_checkpoint()
    if share is not None:
        resumed = share.same(resumed)
        share.spread(method)
        if config["train"].get("batch_norm_devices", 1) == 1:
            synchronise(method, share)
    if resumed is not None:
        tensors, meta = resumed
        method.load_state_dict(under(tensors, "model."))
        load_optimizer_state(steps.optimizer, tensors)
        means.load(under(tensors, "epoch."), meta["epoch_count"])
        steps.done, steps.images, pace.before = meta["step"], meta["images"], meta["seconds"]
        if steps.compiling is not None and meta.get("compiled"):
            steps.compiling.engine.compile_now()

    final: dict[str, float] = {}
    while steps.done < steps.total:
        values, count = steps.next()
        means.add(values, count, steps.done)
        if steps.done % steps.per_epoch == 0:
            means.check()
            final = log_epoch(attempt, method, means, steps.done, steps.per_epoch, pace.seconds, pace.rate)
        pace.after_step(steps.done, count, last=steps.done == steps.total)
    if share is not None:
        unsynchronise(method)
        if not share.leads:
            return {}
    return conclude(config, data, method, attempt, where, final, steps.done, steps.images, pace.seconds)


def ready_method(config: dict[str, Any], data: Dataset, where: torch.device) -> Method:
    """The method of a cell with its initial weights, on its device, ready to be trained."""
    method = build_method(config, len(data.classes)).to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return method.train()


def pixels_of(
    config: dict[str, Any],
    data: Dataset,
    where: torch.device,
    budget: int | None = None,
    note: Callable[[str], None] = print,
) -> Pixels:
    """The images that a cell is pretrained on; a method that asks for no labels also has those without.

    Resident or streamed, see `bench.data.streaming.open_pixels`; whoever is done with them closes them.
    """
    source = data.train if registry.spec(config["method"]).labels else data.pool
    return open_pixels(source, where, config["train"]["scale"], budget=budget, note=note)


def log_epoch(
    attempt: "Attempt",
    method: Method,
    means: EpochMeans,
    done: int,
    per_epoch: int,
    seconds: float,
    rate: float,
) -> dict[str, float]:
    """Write down the means of an epoch that has ended, and begin the next; gives the means."""
    final = means.means()
    row = {"epoch": done // per_epoch, "step": done, **final, **method.schedule(done - 1)}
    attempt.log({**row, "seconds": seconds, "images_per_second": rate})
    means.reset()
    return final


def conclude(
    config: dict[str, Any],
    data: Dataset,
    method: Method,
    attempt: "Attempt",
    where: torch.device,
    final: dict[str, float],
    steps: int,
    images: int,
    seconds: float,
) -> dict[str, Any]:
    """Save the weights of a run that has taken its last step; gives the body of its result.

    Raises:
        Diverged: a weight is not finite.
    """
    state = module_state(method)
    if not all(bool(torch.isfinite(t).all()) for t in state.values() if t.is_floating_point()):
        raise Diverged(steps, "a weight")
    attempt.save_model(state)
    _save_reconstructions(method, data, config["train"]["scale"], where, attempt)
    return {
        "metrics": final,
        "steps": steps,
        "seconds": seconds,
        "images_per_second": images / seconds if images else None,
        "peak_memory_bytes": peak_memory(where),
        "params": {
            "backbone": sum(p.numel() for p in method.backbone.parameters()),
            "total": sum(p.numel() for p in method.parameters()),
        },
    }


class Steps:
    """The steps of a run, each a function of (seed, step) and of the weights alone."""

    def __init__(
        self,
        method: Method,
        pixels: Pixels,
        settings: dict[str, Any],
        seed: int,
        speed: Speed = PLAIN,
        note: Callable[[str], None] = print,
        share: Share | None = None,
    ) -> None:
        self.method, self.share = method, share
        self.inputs = Inputs(method, pixels, settings, seed, share)
        self.optimizer = make_optimizer(method, dict(method.named_parameters()), settings, speed)
        confined = speed.winograd
        self.engine = Bf16Engine(method) if speed.precision == "bf16" else PlainEngine(method, confined)
        self.captured: CapturedStep | None = None
        self.compiling: Compiling | None = None
        if speed.compile != "never" and method.phases:
            engine = CompilingEngine(self.engine, settings["batch_size"], note)
            self.compiling = Compiling(engine, speed.compile == "always", pixels.device)
            self.engine = engine
        elif speed.graph and isinstance(self.optimizer, FlatAdam):
            self.captured = CapturedStep(self.engine, self.optimizer, note)
        self.per_epoch, self.total = self.inputs.per_epoch, self.inputs.total
        self.done = self.images = 0

    def next(self) -> tuple[Losses, int]:
        """Take a step; its losses and number of images."""
        batch, noises, schedule = self.inputs.at(self.done)
        if self.compiling is not None:
            self.compiling.before_step(self.total - self.done)
        if self.captured is not None:
            values = self.captured(batch, noises, schedule)
        else:
            values = train_step(self.engine, self.optimizer, batch, noises, schedule, self.share)
        count = self.inputs.count(self.done)
        self.done += 1
        self.images += count
        return values, count


def make_optimizer(
    method: Method, parameters: Mapping[str, Any], settings: dict[str, Any], speed: Speed
) -> torch.optim.Optimizer | FlatAdam:
    """Adam over the parameters of a method, or over those of several of its seeds stacked."""
    lr, betas = settings["lr"], (settings["beta1"], settings["beta2"])
    if speed.flat_update and method.phases:
        updates = [updated_names(method, phase) for phase in method.phases]
        return FlatAdam(parameters, updates, lr, betas)
    return make_adam(parameters.values(), lr, betas, fused=speed.fused_adam)


def _save_reconstructions(
    method: Method, data: Dataset, scale: Any, device: torch.device, attempt: "Attempt"
) -> None:
    """Keep the first test images and what the method makes of them, so that a report loads no model."""
    images = data.test.images[:NUM_RECONSTRUCTIONS]
    few = Pixels(type(data.test)(images, data.test.labels[: len(images)]), device, scale)
    batch, _ = few.batch(torch.arange(len(few), device=device))
    method.eval()
    decoded = method.reconstruct(batch)
    if decoded is not None:
        attempt.save_arrays(
            "reconstructions", images=np.array(images), reconstructions=few.to_bytes(decoded).cpu().numpy()
        )
