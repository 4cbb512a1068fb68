"""A rank's share of every batch, and what the ranks tell one another in a step.

Gradients are added up in one flat vector a phase, after its backward pass, rather than by DistributedDataParallel: a
step takes them by `torch.autograd.grad`, which none of DDP's hooks hears, and each phase updates other parameters.
So communication does not overlap with the backward pass; a phase has one message, not one a layer.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, get_args

import torch
import torch.distributed as dist
from torch import Tensor

from bench.errors import BenchError
from bench.launch.control import Reason, Stop

T = TypeVar("T")
_REASONS: tuple[Reason, ...] = get_args(Reason)


class PeerGone(BenchError):
    """Another rank has left in the middle of a step; what became of it is known elsewhere."""


def told(call: Callable[..., T], *args: Any, **options: Any) -> T:
    """Call something of torch.distributed.

    Raises:
        PeerGone: another rank does not answer any more.
    """
    try:
        return call(*args, **options)
    except RuntimeError as error:
        text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise PeerGone(text[:200]) from None


class Share:
    """Which images of each batch are this rank's, and sums over all ranks. The default group is formed already.

    Images are dealt out in their order; where a batch does not divide, the first ranks have one more. A rank for
    which none is left computes the batch's first image, so that it takes part in every sum, and counts it as none.

    Args:
        rank: of this process.
        world_size: processes in all.

    Attributes:
        mine: images of this batch that are this rank's; may be 0.
        whole: images of this batch.
    """

    def __init__(self, rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.mine = self.whole = 0

    @property
    def leads(self) -> bool:
        """Whether this rank owns the cell."""
        return self.rank == 0

    def part(self, count: int) -> slice:
        """The place of this rank's images in a batch of so many."""
        each, more = divmod(count, self.world_size)
        begin = self.rank * each + min(self.rank, more)
        end = begin + each + (self.rank < more)
        return slice(begin, end) if end > begin else slice(0, 1)

    def turn_to(self, count: int) -> None:
        """Begin a step with a batch of so many images."""
        each, more = divmod(count, self.world_size)
        self.mine, self.whole = each + (self.rank < more), count

    @property
    def weight(self) -> float:
        """What a mean over this rank's images weighs in the mean over the batch."""
        return self.mine / self.whole

    def sums(self, vector: Tensor) -> Tensor:
        """A vector's sum over the ranks, entry by entry, in place; the same bits on each."""
        told(dist.all_reduce, vector)
        return vector

    def means(
        self, grads: Sequence[Tensor], values: Mapping[str, Tensor]
    ) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Gradients and losses of the whole batch, from those of this rank's images.

        Args:
            grads: of `weight` times the loss.
            values: means over this rank's images, 0-d.
        """
        parts = [g.reshape(-1) for g in grads]
        logged = torch.stack([v.detach().to(parts[0].dtype) for v in values.values()]) * self.weight
        flat = torch.cat([*parts, logged])
        # No number times nothing: the borrowed image may give any.
        flat = self.sums(flat if self.mine else torch.zeros_like(flat))
        *sums, logged = flat.split([*(g.numel() for g in grads), len(values)])
        found = [total.view(g.shape) for total, g in zip(sums, grads, strict=True)]
        return found, dict(zip(values, logged.unbind(), strict=True))

    def same(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        held = [value]
        told(dist.broadcast_object_list, held, src=0, device=torch.device("cpu"))
        return held[0]

    def spread(self, module: torch.nn.Module) -> None:
        """Give every rank rank 0's parameters and buffers."""
        with torch.no_grad():
            for tensor in (*module.parameters(), *module.buffers()):
                dense = tensor.detach().contiguous()
                told(dist.broadcast, dense, src=0)
                tensor.copy_(dense)

    def agreed(self, stop: Stop) -> "AgreedStop":
        """A stop that all ranks obey after the same step."""
        return AgreedStop(self, stop)


class AgreedStop(Stop):
    """Rank 0's word after every step, sent on the hosts' side, so that no device is waited for.

    Args:
        share: this rank's.
        stop: what rank 0 asks; the others have nobody to ask.
    """

    def __init__(self, share: Share, stop: Stop) -> None:
        super().__init__()
        self._share, self._stop = share, stop

    def check(self) -> Reason | None:
        """Why all stop now, or None; every rank must ask as often."""
        reason = self._stop.check() if self._share.leads else None
        code = torch.tensor([0 if reason is None else 1 + _REASONS.index(reason)])
        told(dist.broadcast, code, src=0)
        return None if (number := int(code)) == 0 else _REASONS[number - 1]

    def save_due(self) -> bool:
        """Whether rank 0 was asked to save; the others save nothing."""
        return self._share.leads and self._stop.save_due()


class Unwatched:
    """Means that nobody looks at between epochs: that a loss has diverged is for rank 0 to find and to say."""

    def check(self) -> None:
        """Find nothing."""

    def means(self) -> dict[str, float]:
        """Nothing to tell."""
        return {}
