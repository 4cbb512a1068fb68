"""How many processes share the cells, and how many threads each has."""

import pytest

from bench.cli import main
from bench.errors import UsageError
from bench.launch.workers.share import (
    CONTEXT_BYTES,
    GIB,
    WORKER_BYTES,
    Jobs,
    Machine,
    num_workers,
    threads_each,
)


def test_how_many_fit():
    small = Machine(cores=8, memory=3 * WORKER_BYTES)
    assert num_workers(Jobs(), small) == 3
    assert num_workers(Jobs(), Machine(cores=2, memory=100 * GIB)) == 2
    assert num_workers(Jobs(5), small) == 5
    need = CONTEXT_BYTES + 3 * GIB
    gpu = Machine("cuda", gpus=("0",), free=(4 * need + 1,), cores=16)
    assert num_workers(Jobs(), gpu) == 1
    assert num_workers(Jobs(), gpu, [2 * GIB]) == 4
    assert num_workers(Jobs(), gpu, [GIB // 100]) == 6
    assert num_workers(Jobs(), gpu, [400 * GIB]) == 1
    assert num_workers(Jobs(per_gpu=3), Machine("cuda", gpus=("0", "1"), free=(1, 1))) == 6
    with pytest.raises(UsageError, match="torch sees no GPU here"):
        num_workers(Jobs(per_gpu=3), small)


def test_threads_are_divided_unless_they_are_typed(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    assert [threads_each(Jobs(n), None) for n in (1, 2, 3, 16)] == [None, 4, 2, 1]
    assert threads_each(Jobs(), None) == 1
    assert threads_each(Jobs(4), 3) == 3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("-j 0", "'0' is neither a number of processes, 1 to 1000, nor auto"),
        ("-j two", "'two' is neither a number"),
        ("-j 2 --jobs-per-gpu 2", "both say how many processes"),
        ("--jobs-per-gpu 2 --device cpu", "-j N has N processes there"),
        ("-j 2 --slurm", "slurm_array_parallelism"),
        ("--jobs-per-gpu 2 --slurm", "slurm_array_parallelism"),
    ],
)
def test_nonsense_is_refused_in_a_line_and_nothing_written(words, said, tmp_path, capsys):
    results = tmp_path / "results"
    assert main(["run", "-m", "random", "--results", str(results), *words.split()]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.splitlines()) == 1
    assert not results.exists()
