"""What each training step of a seed is given: images, flips, noise, schedule; all functions of (seed, step) alone."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from bench.data.batches import Pixels, batch_bounds, flips
from bench.data.shuffling import epoch_order, reach
from bench.devices.share import Share
from bench.engines import draw
from bench.errors import UsageError
from models.method import Batch, Method


class Inputs:
    """The steps' inputs of one seed, whoever computes the steps.

    Args:
        method: says which noise it needs and what changes with the step.
        pixels: images and labels on the device.
        settings: `train` of the cell's configuration.
        seed: of the cell.
        share: this rank's of every batch, where there are several; None is the whole.

    Attributes:
        per_epoch: steps of an epoch.
        total: steps of the whole run; 0 where nothing is trained.

    Raises:
        UsageError: the images do not fill one batch, or batch norm is each device's and one would have one image.
    """

    def __init__(
        self,
        method: Method,
        pixels: Pixels,
        settings: dict[str, Any],
        seed: int,
        share: Share | None = None,
    ) -> None:
        self.method, self.pixels, self.settings, self.seed = method, pixels, settings, seed
        self.share = share
        images = settings["epoch_images"] or len(pixels)
        self.bounds = batch_bounds(images, settings["batch_size"], settings["drop_last"])
        self.per_epoch = len(self.bounds)
        if settings["epochs"] and not self.per_epoch:
            raise UsageError(f"{images} images do not fill one batch of {settings['batch_size']}")
        apart, fewest = settings.get("batch_norm_devices", 1), min((b - a for a, b in self.bounds), default=0)
        if apart > 1 and settings["epochs"] and fewest < 2 * apart:
            # Where maps are of one pixel, torch has no variance of one image, and would say so in an epoch's midst.
            raise UsageError(
                f"batch norm of each device needs 2 images, and the smallest batch has {fewest} for {apart} devices:"
                " choose another pretrain.batch_size, pretrain.drop_last=true, or --batch-norm synchronised"
            )
        self.total = self.per_epoch * settings["epochs"] if method.phases else 0
        self._order_epoch, self._next = -1, -1
        self._shuffle = settings.get("shuffle", "full")

    def _order_of(self, epoch: int) -> Tensor:
        wanted = self.settings["epoch_images"]
        return epoch_order(len(self.pixels), self.seed, "order", epoch, wanted, self._shuffle)

    def _indices(self, step: int) -> Iterator[Tensor]:
        """The images of each step from one on to the end of the run, for a thread that reads ahead."""
        order = None
        for later in range(step, self.total):
            epoch, k = divmod(later, self.per_epoch)
            if order is None or k == 0:
                order = self._order_of(epoch)
            begin, end = self.bounds[k]
            yield order[begin:end][self._part(end - begin)]

    def _part(self, count: int) -> slice:
        return slice(0, count) if self.share is None else self.share.part(count)

    def count(self, step: int) -> int:
        """Images of a step's whole batch."""
        begin, end = self.bounds[step % self.per_epoch]
        return end - begin

    def at(self, step: int) -> tuple[Batch, list[dict[str, Tensor]], dict[str, Tensor]]:
        """A step's batch, each phase's noise, and the schedule as 0-d tensors.

        Args:
            step: completed steps before it.
        """
        epoch, k = divmod(step, self.per_epoch)
        if step != self._next:
            self.pixels.expect(self._indices(step), of=self, reach=reach(self._shuffle))
        self._next = step + 1
        if epoch != self._order_epoch:
            self._order, self._order_epoch = self._order_of(epoch).to(self.pixels.index_device), epoch
        begin, end = self.bounds[k]
        count = end - begin
        # Flips and noise are drawn for the whole batch, so that an image has its own wherever it is computed.
        mine = self._part(count)
        if self.share is not None:
            self.share.turn_to(count)
        flip = None
        if self.settings["flip"]:
            flip = flips(count, self.seed, "flip", step, self.pixels.device)[mine]
        image, label = self.pixels.batch(self._order[begin:end][mine], flip)
        spec = self.method.noise()
        noises = [
            {name: drawn[mine] for name, drawn in draw(spec, count, self.seed, p.loss, step, image).items()}
            for p in self.method.phases
        ]
        schedule = {
            name: torch.tensor(value, dtype=image.dtype, device=image.device)
            for name, value in self.method.schedule(step).items()
        }
        return Batch(image, label), noises, schedule
