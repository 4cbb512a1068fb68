"""One Adam for all parameters at once: they lie in one piece of memory, and so do their gradients and moments.

torch's fused Adam walks memory from front to back and never looks at strides. Given a channels-last parameter whose
gradient is not channels-last, it updates wrong entries without a word. Here nothing but flat vectors reaches it: each
parameter is a view of one, in whatever order its entries have, and its gradient is copied, entry by entry, into a
view of the same shape and strides.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

# Each parameter begins where a processor's widest load, and a GPU's, is aligned: 64 bytes of fp32.
ALIGN = 16


class Block:
    """Parameters that are always updated together, as views of one vector.

    Args:
        parameters: by name; their `data` become views that keep values and strides.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter]) -> None:
        first = next(iter(parameters.values()))
        begins, size = {}, 0
        for name, p in parameters.items():
            begins[name], size = size, size + -(-p.numel() // ALIGN) * ALIGN
        self.shapes = {name: (p.shape, p.stride(), begins[name]) for name, p in parameters.items()}
        self.values = nn.Parameter(torch.zeros(size, dtype=first.dtype, device=first.device))
        self.grad = torch.zeros_like(self.values.detach())
        with torch.no_grad():
            for name, view in self.views(self.values.detach()).items():
                view.copy_(parameters[name])
                parameters[name].data = view
        self.grads = self.views(self.grad)

    def views(self, vector: Tensor) -> dict[str, Tensor]:
        """A vector as it lies under each parameter."""
        return {
            name: vector.as_strided(shape, stride, begin + vector.storage_offset())
            for name, (shape, stride, begin) in self.shapes.items()
        }


class FlatAdam:
    """Adam over the parameters of a method, one fused update a block.

    Parameters that the same phases update, and no others, form a block: they have taken the same number of steps.

    Args:
        parameters: all of the method's, by name, in the order of `named_parameters`. Dense in memory, of one dtype.
        updates: the names that each phase updates.
        lr: step size.
        betas: decay of the two moments.
    """

    def __init__(
        self,
        parameters: Mapping[str, nn.Parameter],
        updates: Sequence[Sequence[str]],
        lr: float,
        betas: tuple[float, float],
    ) -> None:
        self.names = list(parameters)
        together: dict[tuple[bool, ...], dict[str, nn.Parameter]] = {}
        phases = [set(names) for names in updates]
        for name, parameter in parameters.items():
            key = tuple(name in names for names in phases)
            if any(key):
                together.setdefault(key, {})[name] = parameter
        self.blocks = {key: Block(members) for key, members in together.items()}
        # A whole step that is captured into a CUDA graph counts its steps on the device.
        on_gpu = any(p.is_cuda for p in parameters.values())
        self.adam = torch.optim.Adam(
            [block.values for block in self.blocks.values()],
            lr=lr,
            betas=betas,
            fused=True,
            capturable=on_gpu,
        )

    def update(self, grads: Mapping[str, Tensor]) -> None:
        """Step the parameters that are named, which are those of one phase or of none."""
        blocks = [block for block in self.blocks.values() if grads.keys() & block.shapes.keys()]
        targets = [view for block in blocks for view in block.grads.values()]
        sources = [grads[name] for block in blocks for name in block.grads]
        torch._foreach_copy_(targets, sources)  # pyright: ignore[reportPrivateImportUsage]
        for block in self.blocks.values():
            block.values.grad = block.grad if block in blocks else None
        self.adam.step()

    def state(self) -> dict[str, Tensor]:
        """What `bench.build.optimizer_state` gives of an Adam over the parameters one by one."""
        found = {}
        for block in self.blocks.values():
            entries = self.adam.state.get(block.values)
            if not entries:
                continue
            moments = {key: block.views(entries[key]) for key in ("exp_avg", "exp_avg_sq")}
            for name in block.shapes:
                found[name] = {"step": entries["step"], **{key: v[name] for key, v in moments.items()}}
        return {
            f"optimizer.{i}.{key}": tensor
            for i, name in enumerate(self.names)
            for key, tensor in found.get(name, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `state`, or an Adam over the parameters one by one, gave."""
        number = {name: i for i, name in enumerate(self.names)}
        for block in self.blocks.values():
            first = f"optimizer.{number[next(iter(block.shapes))]}.step"
            if first not in tensors:
                self.adam.state.pop(block.values, None)
                continue
            like = block.values.detach()
            on_gpu = like.device if like.is_cuda else "cpu"
            entries = {"step": tensors[first].detach().to(on_gpu, torch.float32).clone()}
            for key in ("exp_avg", "exp_avg_sq"):
                entries[key] = torch.zeros_like(like)
                for name, view in block.views(entries[key]).items():
                    view.copy_(tensors[f"optimizer.{number[name]}.{key}"])
            self.adam.state[block.values] = entries
