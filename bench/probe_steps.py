"""How one step of a probe is computed: plainly, by autograd, or with the head's gradient in closed form."""

from typing import Any, Protocol

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from bench.dense_sgd import DenseSGD
from bench.direct import replace_direct
from bench.draws import KeepBits, keep_mask, same_twister
from bench.folded import FoldedStages
from bench.fused_norm import fuse_norms, run
from bench.head_products import Mask, PanelProducts, TorchProducts, affine, in_panels
from bench.heads import Probe
from bench.probe_speed import ProbeSpeed
from bench.products import library
from bench.winograd import replace_convolutions


class ProbeSteps(Protocol):
    """What trains a probe's model, whose mode (training, evaluation) is the caller's."""

    optimizer: torch.optim.SGD

    def step(self, features: Tensor, labels: Int[Tensor, " b"], number: int, lr: float) -> dict[str, Tensor]:
        """Train on a batch: step `number` of its seed. Mean loss and share of hits, 0-d."""
        ...

    def logits(self, features: Tensor) -> Float[Tensor, "b classes"]:
        """Of a batch, without gradients."""
        ...


def make_steps(
    model: Probe, settings: dict[str, Any], seed: int, inputs: int, speed: ProbeSpeed
) -> ProbeSteps:
    """The plain way or the fast one, by the switches.

    Args:
        model: what is trained.
        settings: a probe's, see `bench.protocols.ProbeSettings`.
        seed: of dropout.
        inputs: of the head.
        speed: all but `folded`, `shared` and `keep_memory` are looked at.
    """
    make = ClosedSteps if speed.closed_head else PlainSteps
    return make(model, settings, seed, inputs, speed)


def _sgd(model: Probe, settings: dict[str, Any], fused: bool) -> torch.optim.SGD:
    trained = [p for p in model.parameters() if p.requires_grad]
    make = DenseSGD if fused else torch.optim.SGD
    return make(
        trained,
        lr=settings["lr"],
        momentum=settings["momentum"],
        weight_decay=settings["weight_decay"],
        fused=fused,
    )


class PlainSteps:
    """The yardstick: the model as it is, its gradient by autograd."""

    def __init__(
        self, model: Probe, settings: dict[str, Any], seed: int, inputs: int, speed: ProbeSpeed
    ) -> None:
        del speed
        self.model, self.seed, self.inputs = model, seed, inputs
        self.dropout = settings["dropout"]
        self.optimizer = _sgd(model, settings, fused=False)

    def step(self, features: Tensor, labels: Tensor, number: int, lr: float) -> dict[str, Tensor]:
        """See `ProbeSteps`."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        keep = None
        if self.dropout > 0:
            shape = (len(labels), self.inputs)
            keep = keep_mask(shape, self.dropout, self.seed, "dropout", number, device=features.device)
            keep = keep.to(features.dtype)
        logits = self.model(features, keep)
        loss = F.cross_entropy(logits, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        hits = (logits.detach().argmax(1) == labels).to(torch.float64).mean()
        return {"train_loss": loss.detach(), "train_top1": hits}

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """See `ProbeSteps`."""
        return self.model(features)


class ClosedSteps:
    """The head's gradient in closed form; that of trained stages by autograd from there on.

    With a = relu(W x + b) and p = softmax(V a + c), the mean cross-entropy's gradient by the logits is
    d = (p - onehot) / batch; by V, d' a; by a's argument, e = (d V) * [a > 0]; by W, e' x; by x, e W. Dropout's
    factor 1 / (1 - p) is taken on the products' smaller side.
    """

    def __init__(
        self, model: Probe, settings: dict[str, Any], seed: int, inputs: int, speed: ProbeSpeed
    ) -> None:
        self.model, self.seed, self.inputs = model, seed, inputs
        self.dropout = settings["dropout"]
        self.scale = 1 / (1 - self.dropout)
        first = model.head.hidden.weight
        self.optimizer = _sgd(model, settings, fused=first.device.type in ("cpu", "cuda"))
        self.head = (
            model.head.hidden.weight,
            model.head.hidden.bias,
            model.head.output.weight,
            model.head.output.bias,
        )
        self.tail = [p for p in model.backbone.parameters() if p.requires_grad]
        for parameter in self.head:
            parameter.grad = torch.zeros_like(parameter)
        known = first.device.type == "cpu" and same_twister(speed.twister)
        self.bits = KeepBits(self.dropout, speed.twister) if known else None
        self.low = torch.bfloat16 if speed.precision == "bf16" else None
        if speed.head_panels:
            library()
        self.panels = speed.head_panels and self.low is None
        # Before the trained stages' own convolutions are replaced, which look alike to it either way.
        self.tests = None
        if speed.folded_tests and model.start < len(model.backbone.stages):
            self.tests = FoldedStages(model.backbone, model.start, None, speed)
        self.stale = True
        self.stages = _Stages(model, speed)

    def step(self, features: Tensor, labels: Tensor, number: int, lr: float) -> dict[str, Tensor]:
        """See `ProbeSteps`."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        for parameter in self.tail:
            parameter.grad = None
        outputs = self._trained(features)
        x = outputs.detach().flatten(1)
        # What comes out of stages is wanted for their gradient; of a map in channels_last this is a copy already.
        shared = self.stages.trained and x.data_ptr() == outputs.data_ptr()
        values, for_x = self._head(self._products(x, shared, number), labels)
        if for_x is not None:
            outputs.backward(for_x.view(outputs.shape))
        self.optimizer.step()
        self.stale = True
        return values

    def _tested(self, features: Tensor) -> Tensor:
        if self.tests is None or self.model.training:
            return self._trained(features)
        if self.stale:
            self.tests.refresh()
            self.stale = False
        return self.tests(features.contiguous(memory_format=torch.channels_last))

    def _trained(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, torch.bfloat16, enabled=self.low is not None):
            return self.stages(features).to(features.dtype)

    @torch.no_grad()
    def _head(
        self, products: TorchProducts | PanelProducts, labels: Int[Tensor, " b"]
    ) -> tuple[dict[str, Tensor], Tensor | None]:
        """Loss and hits; the head's gradients where they belong; the gradient by its inputs if stages want it."""
        _, bias, last, last_bias = self.head
        scale = self.scale if self.dropout > 0 else 1.0
        a = F.relu_(products.hidden(bias, scale))
        logits = torch.addmm(last_bias, a, last.T)
        log_p = F.log_softmax(logits, 1)
        row = labels[:, None]
        loss = -log_p.gather(1, row).mean()
        count = len(labels)
        d = log_p.exp_()
        d.scatter_add_(1, row, d.new_full((1, 1), -1.0).expand(count, 1)).div_(count)
        grads = [p.grad for p in self.head if p.grad is not None]
        torch.mm(d.T, a, out=grads[2])
        torch.sum(d, 0, out=grads[3])
        e = torch.mm(d, last).mul_(a > 0)
        torch.sum(e, 0, out=grads[1])
        e.mul_(scale)
        products.to_weight(e, grads[0])
        for_x = products.to_inputs(e) if self.stages.trained else None
        hits = (logits.argmax(1) == labels).to(torch.float64).mean()
        return {"train_loss": loss, "train_top1": hits}, for_x

    def _products(self, x: Tensor, shared: bool, number: int) -> TorchProducts | PanelProducts:
        """Of a batch, which is written to where it is not shared."""
        weight, mask = self.head[0], self._mask(x, number)
        if self.panels and in_panels(weight, x, mask):
            return PanelProducts(weight, x, mask)
        return TorchProducts(weight, x.clone() if shared else x, mask, self.low)

    def _mask(self, x: Tensor, number: int) -> Mask | None:
        """What dropout keeps."""
        if self.dropout <= 0:
            return None
        shape = (x.shape[0], x.shape[1])
        if self.bits is not None and x.dtype == torch.float32:
            return self.bits.mask(shape, self.seed, "dropout", number)
        keep = keep_mask(shape, self.dropout, self.seed, "dropout", number, device=x.device)
        return (keep > 0).to(x.dtype)

    @torch.no_grad()
    def logits(self, features: Tensor) -> Tensor:
        """See `ProbeSteps`."""
        x = self._tested(features).flatten(1)
        if self.low is None:
            return self.model.head(x)
        weight, bias = self.head[:2]
        return self.model.head.output(F.relu_(affine(bias, x, weight, 1.0, self.low)))


class _Stages:
    """The trained stages, in C where that is wished."""

    def __init__(self, model: Probe, speed: ProbeSpeed) -> None:
        self.modules = model.backbone.stage_modules(model.start)
        self.trained = bool(self.modules)
        for module in self.modules:
            # In this order: the one falls back on the other.
            if speed.direct:
                replace_direct(module)
            if speed.winograd:
                replace_convolutions(module)
            if speed.fused_norm:
                fuse_norms(module)
        self.fused = speed.fused_norm

    def __call__(self, features: Tensor) -> Float[Tensor, "b d h w"]:
        x = features.contiguous(memory_format=torch.channels_last) if self.trained else features
        if self.fused:
            return run(self.modules, x)
        for module in self.modules:
            x = module(x)
        return x
