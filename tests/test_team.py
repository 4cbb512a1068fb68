"""Threads of C of our own: torch's team where there is one, threads of their own elsewhere; all jobs are done."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

import bench
from bench import channels, products, tiles
from bench.compiled import load_library
from bench.direct import replace_direct
from bench.fused_norm import fuse_norms
from bench.winograd import replace_convolutions

# Each job writes which thread did it, and how often.
TEAM = Path(bench.__file__).with_name("team.c").read_text()
SOURCE = f"""{TEAM}
#include <sys/syscall.h>
#include <unistd.h>
typedef struct {{ long thread, times; }} note;
static void *put(void *it) {{
  note *n = it;
  n->thread = syscall(SYS_gettid);
  n->times++;
  return 0;
}}
void write_all(note *notes, long count) {{ run_jobs(put, notes, sizeof *notes, count); }}
"""

# The same in a process that has no torch.
ALONE = """
import ctypes, sys
library = ctypes.CDLL(sys.argv[1])
notes = (ctypes.c_long * 6)()
library.write_all(notes, ctypes.c_long(3))
assert list(notes)[1::2] == [1, 1, 1], list(notes)
assert len(set(list(notes)[::2])) == 3, list(notes)
assert "torch" not in sys.modules
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    return load_library("team", SOURCE)


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    torch.rand(1 << 20).add(1)
    yield
    torch.set_num_threads(before)


def done(library, count):
    notes = (ctypes.c_long * (2 * count))()
    library.write_all(notes, ctypes.c_long(count))
    assert list(notes)[1::2] == [1] * count
    return list(notes)[::2]


def still_there():
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def test_the_jobs_are_done_by_torchs_own_threads_which_stay(library):
    before = still_there()
    first = done(library, 2)
    assert len(set(first)) == 2
    assert set(first) <= before
    torch.rand(1 << 20).add(1)
    assert done(library, 2) == first
    assert still_there() == before


def test_threads_of_their_own_do_them_where_that_is_wanted_and_end(library):
    ctypes.c_int.in_dll(library, "of_team").value = 0
    before = still_there()
    found = done(library, 2)
    assert len(set(found)) == 2
    assert found[0] in before
    assert found[1] not in before
    assert still_there() == before


@pytest.mark.parametrize("of_team", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_job_is_done_once_by_as_many_threads(library, count, of_team):
    ctypes.c_int.in_dll(library, "of_team").value = of_team
    assert len(set(done(library, count))) == count


def test_a_team_that_is_smaller_than_asked_for_does_them_all(tmp_path):
    """As under OMP_THREAD_LIMIT, which OpenMP reads when a process starts."""
    done_there = """
import ctypes, torch
from bench.compiled import load_library
from tests.test_team import SOURCE
library = load_library("team", SOURCE)
notes = (ctypes.c_long * 10)()
library.write_all(notes, ctypes.c_long(5))
assert list(notes)[1::2] == [1] * 5, list(notes)
assert len(set(list(notes)[::2])) == 2, list(notes)
"""
    here = Path(__file__).parent.parent
    told = os.environ | {"OMP_THREAD_LIMIT": "2", "BENCH_CACHE": str(tmp_path), "PYTHONPATH": str(here)}
    subprocess.run([sys.executable, "-c", done_there], env=told, cwd=here, check=True)


def test_a_process_without_torch_takes_threads_of_its_own(library, tmp_path):
    (path,) = tmp_path.glob("team-*.so")
    subprocess.run([sys.executable, "-c", ALONE, path], check=True)


def test_no_bit_depends_on_whose_threads_they_are():
    net = nn.Sequential(
        nn.Conv2d(3, 16, 7, 2, 3, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 1, 1),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
    ).to(memory_format=torch.channels_last)
    assert replace_convolutions(net) + replace_direct(net) + fuse_norms(net) == 4
    image = torch.randn(9, 3, 32, 32).to(memory_format=torch.channels_last)
    found = []
    libraries = [source.library() for source in (channels, products, tiles)]
    for of_team in (1, 0):
        for library in libraries:
            ctypes.c_int.in_dll(library, "of_team").value = of_team
        y = net(image)
        found.append((y, *torch.autograd.grad(y.square().sum(), list(net.parameters()))))
    for library in libraries:
        ctypes.c_int.in_dll(library, "of_team").value = 1
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
