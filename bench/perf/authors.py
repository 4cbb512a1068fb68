"""A training step of the authors' own code, from a clone that the user has made: what our ways are held against.

None of their code is here. Their modules are imported from the folder, their networks, losses and Adam built as their
`run.py` builds them for the commands that it documents for CIFAR-100, and their own training function is called with
one batch that is in memory already, as their contiguous floats: neither their loader nor their log files are timed.
"""

import contextlib
import io
import sys
import warnings
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from bench.data.arrays import Split
from bench.data.batches import Pixels
from bench.errors import UsageError
from models.registry import METHODS

# Our method's class -> what they call its network.
NETWORKS = {"models.beta_vae:BetaVAE": "vae", "models.patchvae:PatchVAE": "patchy"}
CORRECTED = "their step with the paper's discriminator, as the released one cannot be run at this size"
# The names of their modules, which other packages may have too.
_MODULES = {"run", "model", "loss", "utils", "torch.utils.tensorboard"}
_DEPTH, _SCALE = 64, 8


def why_not(method: str) -> str | None:
    """Why the authors have no step of a method; None where they have."""
    return None if METHODS[method].target in NETWORKS else "not among the authors' methods"


class AuthorsSteps:
    """Their training of one of our methods, a step at a time.

    Args:
        folder: their clone, which `bench.perf.clone.check_clone` has looked at.
        method: our name of it.
        split: images of at least one batch.
        batch: images a step.
        size: pixels a side.
        device: where.

    Attributes:
        parameters: how many are trained, the discriminator's too.
        note: what had to be changed; None where nothing was.

    Raises:
        UsageError: their code does not run here.
    """

    def __init__(
        self, folder: Path, method: str, split: Split, *, batch: int, size: int, device: torch.device
    ) -> None:
        self.note: str | None = None
        self._device = device
        settings = METHODS[method].options
        self._gan = bool(settings.get("adversarial"))
        try:
            with _imports(folder), contextlib.redirect_stdout(io.StringIO()):
                self._run = import_module("run")
                self._run.args = _arguments(batch, device)  # pyright: ignore[reportAttributeAccessIssue]
                self._build(NETWORKS[METHODS[method].target], bool(settings.get("weighted")), size)
            self._loader = [(_batch(split, batch, device), None)]
            self.next()
        except Exception as error:
            last = (str(error).splitlines() or [""])[0]
            raise UsageError(
                f"--authors {folder}: its step of {method} fails: {type(error).__name__}: {last}"
            ) from error
        if self._run.args.steps != 1:
            raise UsageError(f"--authors {folder}: its step of {method} is none: no batch was trained on")

    def next(self) -> None:
        """Take a step."""
        with contextlib.redirect_stdout(io.StringIO()), _no_cuda(self._device):
            if self._gan:
                self._run.train_vaegan(self._loader, *self._trained, _Unwritten())
            else:
                self._run.train(self._loader, *self._trained, _Unwritten())

    def _build(self, network: str, weighted: bool, size: int) -> None:
        run, args = self._run, self._run.args
        model, _ = run.load_vae_model(
            (3, size, size), network, device=args.device, encoder_arch="resnet", decoder_arch="pyramid",
            hidden_size=args.hidden_size, num_parts=args.num_parts, base_depth=_DEPTH, independent=False,
            hard=False, categorical=False, scale=_SCALE,
        )  # fmt: skip
        mask = run.EdgeWeights(nc=3, scale=_SCALE).to(args.device) if weighted else None
        if network == "vae":
            loss = run.BetaVaeLoss(beta=args.beta_a, mask_nn=mask)
        else:
            loss = run.BetaVaeConcreteLoss(
                beta_a=args.beta_a, beta_v=args.beta_v, py=args.py, categorical=False, mask_nn=mask
            )
        self.parameters = _count(model)
        if not self._gan:
            self._trained = (model, _adam(model), loss)
            return
        discriminator = run.Discriminator(size, nc=3, ndf=_DEPTH, scale=_SCALE)
        channels = _DEPTH * _SCALE // 2
        last = discriminator.features
        if last.get_submodule("output-conv").in_channels != channels:
            # Table 12 of the paper: one logit from the pyramid's last map, whatever the size of images.
            last.add_module("output-conv", nn.Conv2d(channels, 1, 1, bias=False))
            self.note = CORRECTED
        discriminator.to(args.device)
        self.parameters += _count(discriminator)
        both = (discriminator, model)
        self._trained = (*both, *map(_adam, both), run.DiscLoss(1.0), loss)


class _Unwritten:
    """In the place of TensorBoard's writer: what they log is computed, not written."""

    def add_scalar(self, *_: object) -> None:
        """Write nothing."""


def _arguments(batch: int, device: torch.device) -> SimpleNamespace:
    """Their command line: the documented command for CIFAR-100, with the paper's weight of the occurrence KL."""
    return SimpleNamespace(
        device=device, batch_size=batch, img_per_epoch=batch, log_interval=50, steps=0,
        num_parts=16, hidden_size=6, py=1 / 16, categorical=False,
        beta_a=1.0, beta_v=0.6, beta_p=0.0, beta_ea=0.0, beta_ew=0.0,
        temp=1.0, anneal=0.00003, min_temp=0.1,
    )  # fmt: skip


def _adam(module: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(module.parameters(), lr=1e-4, betas=(0.5, 0.999))


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _batch(split: Split, batch: int, device: torch.device) -> Tensor:
    x, _ = Pixels(split, device, "imagenet").batch(torch.arange(batch, device=device))
    return x.contiguous()


@contextlib.contextmanager
def _imports(folder: Path) -> Iterator[None]:
    """Inside, the names of their modules are theirs; afterwards they are whosever they were, and nothing is left."""

    def ours() -> dict[str, ModuleType]:
        return {n: m for n, m in sys.modules.items() if n in _MODULES or n.partition(".")[0] in _MODULES}

    kept, path, no_bytecode = ours(), list(sys.path), sys.dont_write_bytecode
    for name in kept:
        del sys.modules[name]
    writer: Any = ModuleType("torch.utils.tensorboard")
    writer.SummaryWriter = _Unwritten
    sys.modules["torch.utils.tensorboard"] = writer
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True
    try:
        with warnings.catch_warnings():
            # Of names that torchvision has renamed since.
            warnings.simplefilter("ignore")
            yield
    finally:
        for name in ours():
            del sys.modules[name]
        sys.modules.update(kept)
        sys.path[:], sys.dont_write_bytecode = path, no_bytecode


@contextlib.contextmanager
def _no_cuda(device: torch.device) -> Iterator[None]:
    """Their adversarial step puts its targets on a GPU, whatever the device: off one they stay where they are."""
    if device.type == "cuda":
        yield
        return
    cuda = torch.Tensor.cuda
    torch.Tensor.cuda = lambda self, *_, **__: self  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        torch.Tensor.cuda = cuda
