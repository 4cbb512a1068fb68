"""Pretraining: one method, one seed, from a configuration to weights. Exactly resumable after any step."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bench.accelerated import Bf16Engine, CapturedStep, Compiling, CompilingEngine
from bench.build import build_method, load_optimizer_state, module_state, optimizer_state, under
from bench.compiled import NoCompiler
from bench.data.arrays import Dataset
from bench.data.batches import Pixels, batch_bounds, epoch_order, flips
from bench.engines import PlainEngine, draw, train_step, updated_names
from bench.errors import Diverged, UsageError
from bench.flat import FlatAdam
from bench.launch.control import Progress, RunOptions, Stop
from bench.loop import EpochMeans, Pace, peak_memory, prepare_device
from bench.memory import keep_freed_memory
from bench.speed import PLAIN, Speed
from bench.winograd import replace_convolutions
from models import registry
from models.method import Batch, Method

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

    Returns:
        The body of `result.json`.

    Raises:
        Diverged: a loss is not finite.
        Interrupted: asked to stop; resumable.
        OutOfTime: the time budget is spent; resumable.
        Preempted: the scheduler wants the machine back; resumable.
        UsageError: the configuration cannot be built.
    """
    where = prepare_device(device, options)
    row = registry.spec(config["method"])
    settings, seed = config["train"], int(config["seed"])
    source = data.train if row.labels else data.pool
    method = build_method(config, len(data.classes)).to(where, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    method.train()
    prepare(method, options.switches, attempt.note)
    pixels = Pixels(source, where, settings["scale"])
    steps = Steps(method, pixels, settings, seed, options.switches, attempt.note)
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

    pace = Pace(steps.total, stop, progress, options, save, means)
    resumed = attempt.load_checkpoint()
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
            final = means.means()
            scheduled = method.schedule(steps.done - 1)
            row_ = {"epoch": steps.done // steps.per_epoch, "step": steps.done, **final, **scheduled}
            attempt.log({**row_, "seconds": pace.seconds, "images_per_second": pace.rate})
            means.reset()
        pace.after_step(steps.done, count, last=steps.done == steps.total)

    state = module_state(method)
    if not all(bool(torch.isfinite(t).all()) for t in state.values() if t.is_floating_point()):
        raise Diverged(steps.done, "a weight")
    attempt.save_model(state)
    _save_reconstructions(method, data, settings["scale"], where, attempt)
    seconds = pace.seconds
    return {
        "metrics": final,
        "steps": steps.done,
        "seconds": seconds,
        "images_per_second": steps.images / seconds if steps.total else None,
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
    ) -> None:
        self.method, self.pixels, self.settings, self.seed = method, pixels, settings, seed
        self.optimizer = _optimizer(method, settings, speed)
        self.engine = Bf16Engine(method) if speed.precision == "bf16" else PlainEngine(method)
        self.captured: CapturedStep | None = None
        self.compiling: Compiling | None = None
        if speed.compile != "never" and method.phases:
            engine = CompilingEngine(self.engine, settings["batch_size"], note)
            self.compiling = Compiling(engine, speed.compile == "always", pixels.device)
            self.engine = engine
        elif speed.graph and isinstance(self.optimizer, FlatAdam):
            self.captured = CapturedStep(self.engine, self.optimizer, note)
        images = settings["epoch_images"] or len(pixels)
        self.bounds = batch_bounds(images, settings["batch_size"], settings["drop_last"])
        self.per_epoch = len(self.bounds)
        if settings["epochs"] and not self.per_epoch:
            raise UsageError(f"{images} images do not fill one batch of {settings['batch_size']}")
        self.total = self.per_epoch * settings["epochs"] if method.phases else 0
        self.done = self.images = 0
        self._order_epoch = -1

    def next(self) -> tuple[dict[str, torch.Tensor], int]:
        """Take a step; its losses and number of images."""
        epoch, k = divmod(self.done, self.per_epoch)
        if epoch != self._order_epoch:
            epoch_images = self.settings["epoch_images"]
            self._order = epoch_order(len(self.pixels), self.seed, "order", epoch, epoch_images)
            self._order = self._order.to(self.pixels.device)
            self._order_epoch = epoch
        begin, end = self.bounds[k]
        count = end - begin
        flip = None
        if self.settings["flip"]:
            flip = flips(count, self.seed, "flip", self.done, self.pixels.device)
        image, label = self.pixels.batch(self._order[begin:end], flip)
        spec = self.method.noise()
        noises = [draw(spec, count, self.seed, p.loss, self.done, image) for p in self.method.phases]
        schedule = {
            name: torch.tensor(value, dtype=image.dtype, device=image.device)
            for name, value in self.method.schedule(self.done).items()
        }
        batch = Batch(image, label)
        if self.compiling is not None:
            self.compiling.before_step(self.total - self.done)
        if self.captured is not None:
            values = self.captured(batch, noises, schedule)
        else:
            values = train_step(self.engine, self.optimizer, batch, noises, schedule)
        self.done += 1
        self.images += count
        return values, count


def prepare(method: Method, speed: Speed, note: Callable[[str], None]) -> None:
    """Have the method's layers computed as the switches say; what cannot be had here is said, and stays plain."""
    if speed.keep_memory:
        keep_freed_memory()
    if speed.winograd:
        try:
            replace_convolutions(method)
        except NoCompiler as error:
            note(f"convolutions stay plain: {error}")


def _optimizer(method: Method, settings: dict[str, Any], speed: Speed) -> torch.optim.Optimizer | FlatAdam:
    lr, betas = settings["lr"], (settings["beta1"], settings["beta2"])
    if speed.flat_update and method.phases:
        updates = [updated_names(method, phase) for phase in method.phases]
        return FlatAdam(dict(method.named_parameters()), updates, lr, betas)
    return torch.optim.Adam(method.parameters(), lr=lr, betas=betas)


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
