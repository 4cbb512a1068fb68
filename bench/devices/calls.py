"""What rank 0 and those that follow it say to one another outside of steps, by a store of torch.distributed.

Each cell has a number. Rank 0 sets "cell N" to what is to be trained; the others answer "came N R" when they have
read the data; rank 0 sets "go N", or "off N" where one did not come; all form a group, which ends with the cell. A
rank that fails says why in "failed N". No torch at the top.
"""

import contextlib
import json
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from bench.launch.control import RunOptions
from bench.probe_speed import PLAIN_PROBE
from bench.speed import from_json

if TYPE_CHECKING:
    from torch.distributed import Store  # pyright: ignore[reportPrivateImportUsage]

    from bench.devices.share import Share

POLL_SECONDS = 0.05
# A rank that does not answer for so long, and whose end nobody reports, is taken for dead: its network is gone.
SILENCE = timedelta(minutes=10)
END = "end"


@dataclass(frozen=True)
class Call:
    """A cell that all ranks train.

    Attributes:
        config: of the cell.
        source: its data set, as the user typed it.
        fingerprint: of the data that rank 0 has read.
        side: the fewest pixels a side that its backbone can take.
        root: folder of the data sets.
        skip_corrupt: leave out images that cannot be decoded.
        backend: "gloo" or "nccl".
        options: how it is run, switches included.
    """

    config: dict[str, Any]
    source: str
    fingerprint: str
    side: int
    root: str | None
    skip_corrupt: bool
    backend: str
    options: RunOptions

    def text(self) -> str:
        """As JSON; `read_call` reads it."""
        return json.dumps(asdict(replace(self, options=replace(self.options, probing=PLAIN_PROBE))))


def read_call(text: str) -> Call:
    """What `Call.text` gave."""
    row = json.loads(text)
    options = row.pop("options")
    del options["probing"]
    options["switches"] = from_json(options["switches"])
    return Call(**row, options=RunOptions(**options))


def wait_for(store: "Store", number: int) -> Call | None:
    """The cell of a number, when rank 0 calls for it; None where no more come.

    Raises:
        RuntimeError: rank 0 is gone.
    """
    key = f"cell {number}"
    while not store.check([key]):
        if store.check([END]):
            return None
        time.sleep(POLL_SECONDS)
    return read_call(store.get(key).decode())


def let_go(store: "Store", number: int, all_came: bool) -> None:
    """Have those that have come form the group, or wait for the next cell."""
    # Nobody is there to be told where the store is gone.
    with contextlib.suppress(RuntimeError):
        store.set(f"{'go' if all_came else 'off'} {number}", "")


def goes_on(store: "Store", number: int) -> bool:
    """Wait until rank 0 knows that all have come; False where it has given the cell up.

    Who joined a group at once would wait in it for a rank that has failed on the way, as long as `SILENCE`, and so
    would the next cell.

    Raises:
        RuntimeError: rank 0 is gone.
    """
    while not store.check([f"go {number}"]):
        if store.check([f"off {number}"]) or store.check([END]):
            return False
        time.sleep(POLL_SECONDS)
    return True


def say_failed(store: "Store", number: int, rank: int, error: BaseException) -> None:
    """Say why a rank has failed, unless another has before."""
    from bench.launch.outcome import one_line

    trace = "".join(traceback.format_exception(error))
    row = {"rank": rank, "error": one_line(error), "trace": trace}
    # Nobody is there to be told where rank 0 is gone.
    with contextlib.suppress(RuntimeError):
        store.compare_set(f"failed {number}", "", json.dumps(row))


def failure(store: "Store", number: int) -> Mapping[str, Any] | None:
    """What the first rank that failed in a cell said; None where none has said anything."""
    key = f"failed {number}"
    return json.loads(store.get(key).decode()) if store.check([key]) else None


@contextlib.contextmanager
def group(store: "Store", number: int, rank: int, world_size: int, backend: str) -> Iterator["Share"]:
    """The ranks as the default group of torch.distributed, for as long as a cell takes.

    Raises:
        PeerGone: a rank has left before it was formed.
    """
    import torch.distributed as dist
    from torch.distributed import PrefixStore  # pyright: ignore[reportPrivateImportUsage]

    from bench.devices.share import Share, told

    # What the hosts say to one another goes by gloo, whatever the devices use.
    backends = "cpu:gloo,cuda:nccl" if backend == "nccl" else "gloo"
    inner = PrefixStore(f"group {number}", store)
    told(dist.init_process_group, backends, store=inner, rank=rank, world_size=world_size, timeout=SILENCE)
    try:
        yield Share(rank, world_size)
    except BaseException:
        if backend == "nccl":
            # What waits on a device for a rank that is gone would wait for ever.
            with contextlib.suppress(RuntimeError):
                dist.distributed_c10d._abort_process_group()
        raise
    finally:
        # A rank that is gone cannot be waited for.
        with contextlib.suppress(RuntimeError):
            if dist.is_initialized():
                dist.destroy_process_group()
