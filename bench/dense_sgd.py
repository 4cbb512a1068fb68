"""torch's fused SGD, given tensors as the memory they are.

The fused update of a CPU goes through memory, but makes a copy of each gradient in channels_last first, which it does
not read. Given all of a tensor as one vector it makes none, and computes the same bits.
"""

from typing import Any

import torch
from torch import Tensor


def _vector(tensor: Tensor) -> Tensor:
    return tensor.detach().as_strided((tensor.numel(),), (1,))


class DenseSGD(torch.optim.SGD):
    """`torch.optim.SGD(fused=True)` with momentum: the same state and the same steps. No gradient scaler.

    Parameters, their gradients and their momentum that do not fill memory alike are left to torch.
    """

    def step(self, closure: Any = None) -> Any:
        """Update every parameter; see `torch.optim.SGD.step`."""
        ready = closure is None and all(self._is_ready(group) for group in self.param_groups)
        if not ready:
            return super().step(closure)
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
        return None

    def _is_ready(self, group: dict[str, Any]) -> bool:
        """Whether the momentum is there, which torch's first step makes, and all lies alike."""
        if not group["fused"] or not group["momentum"]:
            return False
        for p in group["params"]:
            if p.grad is None:
                continue
            momentum = self.state[p].get("momentum_buffer")
            dense = p.is_contiguous() or (p.dim() == 4 and p.is_contiguous(memory_format=torch.channels_last))
            alike = momentum is not None and p.stride() == p.grad.stride() == momentum.stride()
            if not p.is_cpu or not dense or not alike:
                return False
        return True
