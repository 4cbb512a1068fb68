"""Which cells go together into one job. Pure: what is done and what is queued is told, nothing is read.

A pretraining and its probes and evaluations travel together. Groups that are predicted to be short are packed into
jobs of about `pack_minutes`, first fit in the order of the plan, so that early seeds come early. Where they wait for
a pretraining of another job, that job holds nothing else: its end then says whether the pretraining worked.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field

from bench.dispatches import Pack
from bench.plan import Cell, Group

# Packs that may still take a group: a longer list would let late groups slip in front of early ones.
OPEN = 32


@dataclass(frozen=True)
class Awaited:
    """A pretraining that another job, submitted earlier, makes.

    Attributes:
        job: that job's id.
        alone: whether the job does nothing else, so that its exit code speaks of this pretraining.
    """

    job: str
    alone: bool


@dataclass
class Draft:
    """A pack before it is submitted.

    Attributes:
        pack: the pack.
        groups: its cells by pretraining; of the cells only those in `pack.cells` are computed.
        parent: the draft whose job makes what this one needs, if it is submitted together with it.
        condition: SLURM's kind of dependency.
    """

    pack: Pack
    groups: list[Group] = field(default_factory=list)
    parent: "Draft | None" = None
    condition: str = "afterok"


def trains(cell: Cell) -> bool:
    """Whether a pretraining takes steps; an untrained backbone's does not."""
    return bool(cell.config["train"]["epochs"])


def draft_packs(
    groups: Iterable[Group],
    todo: AbstractSet[str],
    seconds: Callable[[Cell], float],
    limits: Mapping[str, float],
    *,
    awaited: Mapping[str, Awaited] | None = None,
    split_probes: bool = False,
) -> list[Draft]:
    """Distribute cells over jobs.

    Args:
        groups: of the plan, in its order.
        todo: ids of the cells to compute; what else a group holds is done or made by another job.
        seconds: predicts a cell's.
        limits: class of resources -> seconds of a job into which groups are packed; 0 packs none.
        awaited: id of a pretraining that another job makes -> that job.
        split_probes: give probes and evaluations jobs of their own.

    Returns:
        Drafts by number, each after what it waits for.
    """
    packer = _Packer(limits)
    for group in groups:
        others = tuple(cell for cell in group.dependents if cell.id in todo)
        pretrain = group.pretrain
        if pretrain.id in todo:
            apart = split_probes and others and trains(pretrain)
            cells = (pretrain,) if apart else (pretrain, *others)
            kind = "pretrain" if trains(pretrain) else "probe"
            part = Group(pretrain, () if apart else others)
            draft = packer.put(kind, part, cells, seconds, alone=bool(apart))
            if apart:
                child = packer.put("probe", Group(pretrain, others), others, seconds, alone=True)
                child.parent, child.pack.needs = draft, (pretrain.id,)
        elif others:
            job = (awaited or {}).get(pretrain.id)
            draft = packer.put("probe", Group(pretrain, others), others, seconds, wait=job)
            if job is not None:
                draft.pack.needs += (pretrain.id,)
    return packer.drafts


class _Packer:
    def __init__(self, limits: Mapping[str, float]) -> None:
        self.limits = limits
        self.drafts: list[Draft] = []
        self._open: dict[tuple[str, Awaited | None], list[Draft]] = {}

    def put(
        self,
        kind: str,
        group: Group,
        cells: tuple[Cell, ...],
        seconds: Callable[[Cell], float],
        alone: bool = False,
        wait: Awaited | None = None,
    ) -> Draft:
        """Put a group into the first pack that has room for it, or into a new one."""
        length = sum(map(seconds, cells))
        limit = self.limits.get(kind, 0.0)
        bins = self._open.setdefault((kind, wait), [])
        fits = () if alone else (d for d in bins if d.pack.seconds + length <= limit)
        draft = next(iter(fits), None)
        if draft is None:
            draft = Draft(Pack(len(self.drafts), kind, ()))
            if wait is not None:
                draft.pack.after = (wait.job,)
                draft.condition = "afterok" if wait.alone else "afterany"
            self.drafts.append(draft)
            if not alone and length < limit:
                bins.append(draft)
                del bins[:-OPEN]
        draft.groups.append(group)
        draft.pack.cells += tuple(cell.id for cell in cells)
        draft.pack.seconds += length
        return draft
