"""What an evaluation is given, and what it gives back."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.build import build_backbone, build_method, under
from bench.data import registry as datasets
from bench.data.arrays import Dataset, Split
from bench.data.batches import Pixels, Scale
from bench.data.streaming import open_pixels
from bench.errors import UsageError
from bench.evaluations.weights import sha256_of
from bench.launch.control import Progress, RunOptions, Stop
from bench.streams import stream
from models.backbones import Backbone
from models.method import Method

if TYPE_CHECKING:
    from bench.records import Attempt

# Images that go through a network at once. Part of what an evaluation computes: noise is drawn chunk by chunk.
CHUNK = 250


@dataclass(frozen=True)
class Findings:
    """What an evaluation found; its arrays are saved with the attempt.

    Attributes:
        metrics: real numbers by the names of the registry.
        facts: what a reader must know to read them: constants in force, what was chosen.
    """

    metrics: dict[str, float]
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass
class Task:
    """A finished pretraining to judge.

    Attributes:
        config: the cell's configuration.
        settings: the evaluation's, typed.
        data: the data set on which it is judged.
        tensors: the pretraining's weights.
        pretrained: the pretraining's result.
        attempt: where arrays and notes go.
        device: where to compute.
        stop: asked between chunks.
        progress: told now and then.
        options: see `bench.launch.control.RunOptions`.
        begun: when, by `time.perf_counter`.
        opened: the pixels that were asked for and are still held by whoever asked.
    """

    config: Mapping[str, Any]
    settings: Any
    data: Dataset
    tensors: dict[str, Tensor]
    pretrained: Mapping[str, Any]
    attempt: "Attempt"
    device: torch.device
    stop: Stop
    progress: Progress
    options: RunOptions
    begun: float = field(default_factory=time.perf_counter)
    opened: WeakSet[Pixels] = field(default_factory=WeakSet)

    @property
    def seed(self) -> int:
        """The pretraining's, from which everything random is drawn."""
        return int(self.config["seed"])

    @property
    def scale(self) -> Scale:
        """On which the method sees and makes images: that of its pretraining."""
        return self.config["pretrain"]["train"]["scale"]

    def backbone(self) -> Backbone:
        """The pretrained backbone, frozen."""
        backbone = build_backbone(self.config["pretrain"]["backbone"], 0)
        backbone.load_state_dict(under(self.tensors, "backbone."))
        return self._frozen(backbone)

    def method(self) -> Method:
        """The pretrained method, whole and frozen: BN runs on stored statistics.

        Raises:
            UsageError: it cannot be built from its configuration.
        """
        method = build_method(dict(self.config["pretrain"]), self._num_classes())
        method.load_state_dict(self.tensors)
        return self._frozen(method)

    def weights_file(self) -> Path:
        """The file of weights that this evaluation needs, checked to be the one that its settings name.

        Raises:
            UsageError: nobody said where it is, or it is gone or another.
        """
        name, wanted = self.config["evaluation"], self.settings.weights_sha256
        given = self.options.weights.get(name)
        if given is None:
            raise UsageError(f"{name} needs the weights whose SHA-256 is {wanted}: --{name}-weights FILE")
        path = Path(given)
        if not path.is_file() or sha256_of(path) != wanted:
            raise UsageError(f"{path} is not, or no longer, the file of weights whose SHA-256 is {wanted}")
        return path

    def _frozen(self, module: Any) -> Any:
        return module.requires_grad_(False).to(self.device, memory_format=torch.channels_last).eval()

    def _num_classes(self) -> int | None:
        """Of the data set of pretraining; None where only its name is known, and that does not tell."""
        origin = self.config["pretrain"]["dataset"]
        if origin == self.config["dataset"]:
            return len(self.data.classes)
        try:
            return datasets.spec(str(origin["name"])).num_classes
        except UsageError:
            return None

    @property
    def steps(self) -> int:
        """That pretraining took."""
        return int(self.pretrained.get("steps") or 0)

    def schedule(self, method: Method, like: Tensor) -> dict[str, Tensor]:
        """What the method's schedule had come to when pretraining ended."""
        values = method.schedule(self.steps)
        return {
            name: torch.tensor(value, dtype=like.dtype, device=like.device) for name, value in values.items()
        }

    def pixels(self, split: Split, scale: Scale | None = None) -> Pixels:
        """Images of a split on the device; on the scale of pretraining unless another is given."""
        scale = scale or self.scale
        pixels = open_pixels(
            split, self.device, scale, budget=self.options.data_bytes, note=self.attempt.note
        )
        self.opened.add(pixels)
        return pixels

    def close(self) -> None:
        """End what reads images ahead."""
        for pixels in list(self.opened):
            pixels.close()

    def chunks(self, count: int, size: int = CHUNK, *, ahead: Pixels | None = None) -> Iterator[Tensor]:
        """Indices of `count` images, chunk by chunk.

        Args:
            count: of the images.
            size: of a chunk.
            ahead: what will be asked for these very indices, and reads them ahead where it is streamed.

        Raises:
            Interrupted, OutOfTime, Preempted: asked to stop.
        """
        device = self.device if ahead is None else ahead.index_device
        bounds = [(begin, min(begin + size, count)) for begin in range(0, count, size)]
        if ahead is not None:
            ahead.expect(torch.arange(begin, end) for begin, end in bounds)
        for begin, end in bounds:
            self.stop.raise_if_asked()
            yield torch.arange(begin, end, device=device)

    def pictures(self, split: Split, count: int, what: str = "pictures") -> NDArray[np.int64]:
        """Indices of some images to show, the same for every pretraining on these data: drawn, not chosen."""
        order = torch.randperm(len(split), generator=stream(0, "evaluate", what)).numpy()
        return np.sort(order[:count])

    def told(self, done: int, total: int) -> None:
        """Tell whoever watches that so many images of all are done."""
        spent = time.perf_counter() - self.begun
        self.progress(done, total, done / max(spent, 1e-9), {})
