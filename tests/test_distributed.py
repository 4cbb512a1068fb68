"""Processes of one job form a group, or say who did not come."""

import subprocess
import sys

import pytest

from bench.errors import UsageError
from bench.launch.distributed import FIRST_PORT, NUM_PORTS, first_node, place

TASK = {
    "SLURM_JOB_ID": "4711",
    "SLURM_PROCID": "3",
    "SLURM_LOCALID": "1",
    "SLURM_NTASKS": "4",
    "SLURM_JOB_NODELIST": "gpu[03-05,9]-ib,cpu1",
}
# One process of a group of two on this machine.
RANK = """
import sys, torch, torch.distributed as dist
from bench.launch.distributed import NotJoined, Place, join
rank, world, port, timeout = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
try:
    join(Place(rank, rank, world, "127.0.0.1", port), "gloo", timeout)
except NotJoined as error:
    sys.exit(str(error))
total = torch.tensor([rank + 1.0])
dist.all_reduce(total)
print(total.item())
dist.destroy_process_group()
"""


def ranks(numbers, port, timeout):
    """Starts some ranks of two; what each printed last and its exit code."""
    words = [sys.executable, "-c", RANK]
    running = [
        subprocess.Popen(
            [*words, str(rank), "2", str(port), str(timeout)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in numbers
    ]
    ends = [process.communicate(timeout=120) for process in running]
    return [
        (process.returncode, (out + error).strip().splitlines()[-1])
        for process, (out, error) in zip(running, ends, strict=True)
    ]


@pytest.fixture
def port():
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("n1", "n1"),
        ("n1,n2", "n1"),
        ("n[1-2]", "n1"),
        ("gpu[03-05,9]-ib,cpu1", "gpu03-ib"),
        ("127.0.0.[2,4]", "127.0.0.2"),
        ("rack[1-2]n[7-9]", "rack1n7"),
    ],
)
def test_rank_0_is_on_the_first_node(nodes, first):
    assert first_node(nodes) == first


def test_all_processes_of_a_job_know_the_same_port_and_a_requeued_job_has_another():
    mine = place(TASK)
    assert (mine.rank, mine.local_rank, mine.world_size, mine.master) == (3, 1, 4, "gpu03-ib")
    assert place({**TASK, "SLURM_PROCID": "0"}).port == mine.port
    assert place({**TASK, "SLURM_RESTART_COUNT": "1"}).port != mine.port
    assert FIRST_PORT <= mine.port < FIRST_PORT + NUM_PORTS


def test_outside_of_a_job_there_is_no_place():
    with pytest.raises(UsageError, match="SLURM_JOB_ID"):
        place({})


def test_two_processes_add_up(port):
    assert ranks([0, 1], port, 60) == [(0, "3.0"), (0, "3.0")]


def test_a_rank_that_does_not_come_is_named_in_one_line(port):
    assert ranks([0], port, 1) == [(1, f"rank 0 of 2 waited 1 s at 127.0.0.1:{port}: rank 1 did not come")]
