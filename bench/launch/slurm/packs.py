"""packs/NNNN.json: what one job has to do, with the whole configuration of every cell."""

from collections.abc import Sequence
from typing import Any

from bench.data.names import absolute_source
from bench.dispatches import Dispatch
from bench.files import dumps
from bench.launch.control import RunOptions
from bench.launch.slurm.jobs import Request
from bench.launch.slurm.packing import Draft
from bench.launch.slurm.profile import Profile
from bench.launch.slurm.work import Work
from bench.plan import Cell

SCHEMA = 2


def write_packs(
    dispatch: Dispatch, drafts: Sequence[Draft], request: Request, profile: Profile, work: Work
) -> None:
    """Write what each job has to do.

    They are not flushed one by one, which takes seconds for a thousand: no job reads them before dispatch.json,
    which is flushed, was written, and a job refuses one that is broken.
    """
    for draft in drafts:
        ids = {cell.id for group in draft.groups for cell in group.cells}
        row = {
            "schema": SCHEMA,
            "dispatch": dispatch.id,
            "pack": draft.pack.number,
            "results": str(request.results.absolute()),
            "root": dispatch.root,
            "skip_corrupt": request.skip_corrupt,
            "device": request.device,
            "threads": request.threads or profile.threads(draft.pack.resources),
            "checkpoint_every_steps": request.checkpoint_every_steps,
            "cache_bytes": RunOptions.cache_bytes,
            "weights": dict(request.weights),
            "speed": request.speed,
            "precision": request.precision,
            "devices": request.devices,
            "nodes": request.nodes,
            "retry_failed": request.retry_failed,
            "steal": request.steal,
            "max_restarts": profile.options.max_restarts,
            "forget": {id: number for id, number in work.forget.items() if id in ids},
            "forgive": {id: number for id, number in work.forgive.items() if id in ids},
            "compute": list(draft.pack.cells),
            "groups": [
                {"pretrain": _row(group.pretrain), "dependents": [_row(cell) for cell in group.dependents]}
                for group in draft.groups
            ],
        }
        dispatch.pack_path(draft.pack).write_text(dumps(row))


def _row(cell: Cell) -> dict[str, Any]:
    return {"config": cell.config, "source": absolute_source(cell.source)}
