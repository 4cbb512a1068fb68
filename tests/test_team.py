"""Threads of C of our own: torch's team where there is one, threads of their own elsewhere; all jobs are done."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import nn

import bench
from bench import channels, products, tiles
from bench.compiled import NoCompiler, compiler, load_library
from bench.direct import replace_direct
from bench.fused_norm import fuse_norms
from bench.head_products import PanelProducts
from bench.perf.layers import team
from bench.winograd import replace_convolutions

HERE = Path(bench.__file__).parent
# Each job writes which thread did it, and how often.
SOURCE = f"""{(HERE / "team.c").read_text()}
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
assert "torch" not in sys.modules and not library.has_team()
"""

# In one whose team is smaller than what torch asks it for, and in a child that it forks, which has none.
LIMITED = """
import ctypes, os, sys, torch
library = ctypes.CDLL(sys.argv[1])
torch.set_num_threads(4)

def threads(count):
    notes = (ctypes.c_long * (2 * count))()
    library.write_all(notes, ctypes.c_long(count))
    assert list(notes)[1::2] == [1] * count, list(notes)
    return len(set(list(notes)[::2]))

assert library.has_team()
assert threads(5) == 2
child = os.fork()
if not child:
    os._exit(threads(3))
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert threads(5) == 2
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads are told apart by Linux")


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    try:
        compiler()
    except NoCompiler as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("compiled")
    before = os.environ.get("BENCH_CACHE")
    os.environ["BENCH_CACHE"] = str(folder)
    try:
        load_library("team", SOURCE)
    finally:
        if before is None:
            del os.environ["BENCH_CACHE"]
        else:
            os.environ["BENCH_CACHE"] = before
    (found,) = folder.glob("team-*.so")
    return found


@pytest.fixture
def library(path):
    found = ctypes.CDLL(str(path))
    if not found.has_team():
        pytest.skip("this torch's threads are not GNU OpenMP's")
    of_team = ctypes.c_int.in_dll(found, "of_team")
    of_team.value = 1
    yield found
    of_team.value = 1


@pytest.fixture(autouse=True)
def threads():
    """Two, which are there."""
    before = torch.get_num_threads()

    def use(count):
        torch.set_num_threads(count)
        torch.rand(1 << 20).add(1)

    use(2)
    yield use
    torch.set_num_threads(before)


def done(library, count):
    notes = (ctypes.c_long * (2 * count))()
    library.write_all(notes, ctypes.c_long(count))
    assert list(notes)[1::2] == [1] * count
    return list(notes)[::2]


def still_there():
    return {int(task.name) for task in Path("/proc/self/task").iterdir()}


def test_the_jobs_are_done_by_torchs_own_threads_and_none_is_made(library):
    before = still_there()
    first = done(library, 2)
    assert len(set(first)) == 2
    assert set(first) <= before
    torch.rand(1 << 20).add(1)
    assert done(library, 2) == first


def test_few_jobs_end_none_of_torchs_threads(library, threads):
    """OpenMP lets go of those that are not asked, and torch would make them anew at its next operation."""
    threads(4)
    team_of_four = set(done(library, 4))
    assert len(team_of_four) == 4
    for count in (1, 2, 3):
        assert set(done(library, count)) <= team_of_four
        assert team_of_four <= still_there()
    assert set(done(library, 4)) == team_of_four


def test_threads_of_their_own_do_them_where_that_is_wanted_and_end(library):
    ctypes.c_int.in_dll(library, "of_team").value = 0
    before = still_there()
    mine, other = done(library, 2)
    assert mine == threading.get_native_id()
    assert other not in before
    ends = time.monotonic() + 10
    while other in still_there() and time.monotonic() < ends:
        time.sleep(0.01)
    assert other not in still_there()


@pytest.mark.parametrize("of_team", [0, 1])
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_job_is_done_once(library, count, of_team):
    ctypes.c_int.in_dll(library, "of_team").value = of_team
    assert len(set(done(library, count))) == (min(count, 2) if of_team else count)


def test_threads_that_ask_at_once_each_have_their_jobs_done(library):
    found = []

    def ask():
        torch.set_num_threads(2)
        found.extend(done(library, 3) for _ in range(50))

    askers = [threading.Thread(target=ask) for _ in range(3)]
    for asker in askers:
        asker.start()
    for asker in askers:
        asker.join()
    assert len(found) == 150


def test_a_small_team_does_all_jobs_and_a_forked_process_takes_threads_of_its_own(library, path):
    del library
    told = os.environ | {"OMP_THREAD_LIMIT": "2", "OMP_DYNAMIC": "false"}
    words = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", LIMITED, path]
    subprocess.run(words, env=told, check=True, timeout=120)


def test_a_process_without_torch_takes_threads_of_its_own(path):
    subprocess.run([sys.executable, "-c", ALONE, path], check=True, timeout=120)


def test_no_layer_makes_threads_of_its_own():
    for name in ("panels.c", "few.c", "channels.c", "pooled.c", "direct.c", "dense.c"):
        assert "pthread" not in (HERE / name).read_text()
    assert tiles.source().count("pthread_create") == 1


def test_no_bit_of_a_layer_depends_on_whose_threads_they_are(library):
    assert all(source.library().has_team() for source in (channels, products, tiles))
    net = nn.Sequential(
        nn.Conv2d(3, 16, 7, 2, 3, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 1, 1),
        nn.ConvTranspose2d(32, 16, 4, 2, 1),
    ).to(memory_format=torch.channels_last)
    assert replace_convolutions(net) + replace_direct(net) + fuse_norms(net) == 4
    image = torch.randn(9, 3, 32, 32).to(memory_format=torch.channels_last)
    weight, x, e = torch.randn(64, 272), torch.randn(9, 272), torch.randn(9, 64)

    def head():
        ours = PanelProducts(weight, x, None)
        ours.to_weight(e, to_weight := torch.empty_like(weight))
        return ours.hidden(torch.zeros(64), 1.0), ours.to_inputs(e), to_weight

    found = []
    for of_team in (True, False):
        with team(of_team):
            y = net(image)
            found.append((y, *torch.autograd.grad(y.square().sum(), list(net.parameters())), *head()))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))
