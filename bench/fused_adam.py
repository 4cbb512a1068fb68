"""torch's fused Adam of a processor, given gradients that lie in memory as their parameters do.

The fused update passes over each parameter once, where the loop makes a pass for every operation. It goes through
memory and never looks at strides: a gradient in another order than its parameter (a sum over several ranks is not in
channels_last) would be added to the wrong entries without a word. It is laid as its parameter is first, and so
are moments that were loaded.
"""

from collections.abc import Iterable
from typing import Any

import torch

from bench.dense_sgd import evaluated, laid_as, order


class FusedAdam(torch.optim.Adam):
    """`torch.optim.Adam(fused=True)` on a processor, over parameters that fill their memory."""

    def step(self, closure: Any = None) -> Any:
        """Update every parameter that has a gradient; see `torch.optim.Adam.step`."""
        loss = evaluated(closure)
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.grad = laid_as(p, p.grad)
                state = self.state[p]
                # `load_state_dict` leaves them as it is given them.
                for moment in ("exp_avg", "exp_avg_sq"):
                    if moment in state:
                        state[moment] = laid_as(p, state[moment])
        super().step()
        return loss


def _is_dense(parameter: torch.Tensor) -> bool:
    """Whether it fills its memory, in whatever order: what is made like it, as its moments are, then lies alike."""
    return order(torch.empty_like(parameter)) == order(parameter)


def make_adam(
    parameters: Iterable[torch.Tensor], lr: float, betas: tuple[float, float], *, fused: bool
) -> torch.optim.Adam:
    """Adam over parameters one by one; fused where that is wanted and they are such as it can be given."""
    parameters = list(parameters)
    if fused and all(p.is_cpu and p.is_floating_point() and _is_dense(p) for p in parameters):
        return FusedAdam(parameters, lr=lr, betas=betas, fused=True)
    return torch.optim.Adam(parameters, lr=lr, betas=betas)
