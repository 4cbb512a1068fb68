"""torch's fused SGD, given tensors as the memory they are.

The fused update of a CPU goes through memory, but makes a copy of each gradient in channels_last first, which it does
not read. Given all of a tensor as one vector it makes none, and computes the same bits. Nor does it look at strides:
a gradient or momentum that lies in another order than its parameter would be added to the wrong entries.
"""

from typing import Any

import torch
from torch import Tensor


def _vector(tensor: Tensor) -> Tensor:
    return tensor.detach().as_strided((tensor.numel(),), (1,))


def order(tensor: Tensor) -> tuple[int, ...]:
    """Strides, but of dimensions of one entry, which say nothing."""
    return tuple(stride for stride, size in zip(tensor.stride(), tensor.shape, strict=True) if size > 1)


def _is_dense(tensor: Tensor) -> bool:
    return tensor.is_contiguous() or (
        tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    )


def laid_as(parameter: Tensor, other: Tensor) -> Tensor:
    """Entries of a tensor in the order of memory that a parameter's have."""
    if other.stride() == parameter.stride() or order(other) == order(parameter):
        return other
    return torch.empty_like(parameter).copy_(other)


def evaluated(closure: Any) -> Any:
    """What the closure of an optimiser's step gives, which makes the gradients first; None without one."""
    if closure is None:
        return None
    with torch.enable_grad():
        return closure()


class DenseSGD(torch.optim.SGD):
    """`torch.optim.SGD(fused=True)` with momentum: the same state and the same steps.

    Where one is not given this way (the first step, which makes the momentum; a gradient scaler; a group that is not
    fused, has no momentum, or is elsewhere than on the CPU) torch's is taken. Gradients and momentum in another order
    of memory than their parameter are laid as it is first; a group with a parameter that does not fill its memory, in
    the order of its dimensions or of channels_last, is no longer fused.
    """

    def step(self, closure: Any = None) -> Any:
        """Update every parameter; see `torch.optim.SGD.step`."""
        loss = evaluated(closure)
        for group in self.param_groups:
            self._lay(group)
        scaled = getattr(self, "grad_scale", None) is not None or getattr(self, "found_inf", None) is not None
        if scaled or not all(self._is_ready(group) for group in self.param_groups):
            super().step()
            return loss
        for group in self.param_groups:
            updated = [p for p in group["params"] if p.grad is not None]
            if not updated:
                continue
            torch._fused_sgd_(  # pyright: ignore[reportPrivateImportUsage]
                [_vector(p) for p in updated],
                [_vector(p.grad) for p in updated],
                [_vector(self.state[p]["momentum_buffer"]) for p in updated],
                lr=group["lr"],
                momentum=group["momentum"],
                weight_decay=group["weight_decay"],
                dampening=group["dampening"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
                is_first_step=False,
            )
        return loss

    def _lay(self, group: dict[str, Any]) -> None:
        """Have what a fused update goes through in the same order of memory."""
        if not group["fused"]:
            return
        for p in group["params"]:
            if p.grad is None:
                continue
            if not _is_dense(p):
                group["fused"] = False
                return
            p.grad = laid_as(p, p.grad)
            if (momentum := self.state[p].get("momentum_buffer")) is not None:
                self.state[p]["momentum_buffer"] = laid_as(p, momentum)

    def _is_ready(self, group: dict[str, Any]) -> bool:
        """Whether the momentum is there, which torch's first step makes."""
        updated = [p for p in group["params"] if p.grad is not None]
        return bool(
            group["fused"]
            and group["momentum"]
            and all(p.is_cpu and self.state[p].get("momentum_buffer") is not None for p in updated)
        )
