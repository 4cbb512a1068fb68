"""Cells shared by several processes of this machine: each once, and none lost with a process."""

import itertools
import json
import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from bench.errors import WorkersLost
from bench.launch.control import Stop
from bench.launch.local import LocalRunner
from bench.launch.workers.process import Worker
from bench.launch.workers.queue import Queue, Task
from bench.launch.workers.share import GIB, Jobs
from bench.processes import process_start
from bench.records import load_runs, run_dir
from tests.fake_trainer import load
from tests.fake_worker import COMMAND, Board, Shared, a_plan
from tests.survival import assert_same_study, bench, end, left_over, start, words

PLAN, LONGER = a_plan(), a_plan(seeds=2)
# Steps of pretrainings that are still under way when all else has been tried.
SLOW = {group.pretrain.label: 100 for group in PLAN.groups}
FIRST = "beta-vae digits seed 0 pretrain"


@pytest.fixture
def told(monkeypatch):
    return lambda **said: monkeypatch.setenv("FAKE_WORKER", json.dumps(said))


def attempts(results):
    return {run.id: len(run.attempts) for run in load_runs(results)}


@pytest.fixture
def results(tmp_path):
    """A folder whose files are in memory, where there is such: nothing here is about the disk."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="bench-workers-", dir="/dev/shm") as folder:
        yield Path(folder)


def test_every_cell_is_computed_once_and_again_only_when_forced(results):
    shared = Shared(PLAN, results, 3)
    summary = shared.run()
    assert (summary.exit_code, len(summary.of("done"))) == (0, len(PLAN))
    assert attempts(results) == {cell.id: 1 for cell in PLAN.cells}
    assert Counter(shared.board.begun) == Counter(cell.label for cell in PLAN.cells)
    ends = [label for label, _ in shared.board.ended]
    for group in PLAN.groups:
        assert all(ends.index(group.pretrain.label) < ends.index(cell.label) for cell in group.dependents)
    pids = {run.provenance["pid"] for run in load_runs(results)}
    assert len(pids) <= 3
    assert os.getpid() not in pids
    assert left_over(results) == []

    probe = PLAN.groups[0].dependents[0]
    (run_dir(results, probe.id) / "result.json").unlink()
    again = Shared(PLAN, results, 1)
    assert again.run().exit_code == 0
    assert again.board.begun == [probe.label]
    assert Counter(state for _, state in again.board.ended) == {"kept": len(PLAN) - 1, "done": 1}

    assert len(Shared(PLAN, results, force=True).run().of("done")) == len(PLAN)
    assert attempts(results) == {cell.id: 2 + (cell is probe) for cell in PLAN.cells}


def test_a_worker_goes_on_with_what_its_last_cell_was_of(results):
    shared = Shared(LONGER, results, 1)
    assert shared.run().exit_code == 0
    group_of = {cell.label: number for number, group in enumerate(LONGER.groups) for cell in group.cells}
    seen = [group_of[label] for label in shared.board.begun]
    assert len(LONGER.groups) > 1
    assert len(list(itertools.groupby(seen))) == len(LONGER.groups)


def test_the_longest_path_begins_first_and_who_did_a_pretraining_goes_on_with_what_judges_it():
    cost = {cell.id: 1.0 + k for k, cell in enumerate(LONGER.cells)}
    queue = Queue(lambda cell: cost[cell.id])
    for group in LONGER.groups:
        queue.add(Task(group, group.pretrain))
    one, other, *_ = LONGER.groups
    longest = [group.pretrain for group in reversed(LONGER.groups)]

    def cells(*tasks):
        return [task.cell for task in tasks if task]

    assert cells(queue.next()) == longest[:1]
    for cell in (*one.dependents, *other.dependents):
        queue.add(Task(next(group for group in (one, other) if cell in group.dependents), cell))
    # Its own, the longest first; then whole pretrainings; what others have made possible when none is left.
    ours = [queue.next(one) for _ in range(len(one.dependents) + len(longest) - 1)]
    assert cells(*ours) == [*reversed(one.dependents), *longest[1:]]
    assert cells(*(queue.next(one) for _ in other.dependents)) == list(reversed(other.dependents))
    assert queue.next() is None


def test_what_several_workers_can_share_begins_after_what_one_must_do_alone():
    shared, alone, *_ = LONGER.groups
    assert len(shared.dependents) > 1
    cost = dict.fromkeys((cell.id for cell in LONGER.cells), 1.0)
    # Six seconds for as many workers as there are probes, though more in all than the other's ten.
    cost |= {cell.id: 5.0 for cell in shared.dependents}
    cost |= {cell.id: 9.0 if cell is alone.dependents[0] else 0.0 for cell in alone.dependents}
    assert sum(cost[cell.id] for cell in shared.cells) > sum(cost[cell.id] for cell in alone.cells)
    queue = Queue(lambda cell: cost[cell.id])
    for group in (shared, alone):
        queue.add(Task(group, group.pretrain))
    assert [task.group for task in (queue.next(), queue.next()) if task] == [alone, shared]


def test_a_worker_that_is_killed_costs_only_its_cell_which_another_takes_up(told, results):
    told(deadly={FIRST: 1})
    shared = Shared(PLAN, results)
    summary = shared.run()
    assert (summary.exit_code, len(summary.of("done"))) == (0, len(PLAN))
    assert shared.board.lost == [FIRST]
    (note,) = [note for note in shared.board.notes if "SIGKILL" in note]
    assert FIRST in note
    assert "2 workers" in note
    assert any("taken over from process" in note for note in shared.board.notes)
    assert attempts(results) == {cell.id: 1 + (cell.label == FIRST) for cell in PLAN.cells}


def test_a_cell_that_kills_each_worker_is_given_up_and_the_others_are_computed(told, results):
    told(deadly={FIRST: 9})
    shared = Shared(PLAN, results)
    summary = shared.run()
    assert summary.exit_code == 1
    (failed,) = summary.of("failed")
    assert failed.cell.label == FIRST
    assert "SIGKILL" in failed.reason
    assert len(summary.of("skipped")) == 2
    assert len(summary.of("done")) == len(PLAN) - 3
    # Killed twice: the second time the run goes on with fewer, as memory may be short.
    assert "goes on with 1 worker" in [note for note in shared.board.notes if "SIGKILL" in note][1]
    told()
    assert Shared(PLAN, results).run().exit_code == 0


def test_workers_that_cannot_start_end_the_run_with_a_line(told, results):
    told(stillborn=True)
    with pytest.raises(WorkersLost, match="exit code 1: no torch here, before it was ready"):
        Shared(PLAN, results).run()


def test_a_failure_takes_only_what_needs_it_with_it_and_fail_fast_stops_all(told, results):
    told(faults={FIRST: "no"})
    summary = Shared(PLAN, results / "going").run()
    assert (summary.exit_code, len(summary.of("done"))) == (1, len(PLAN) - 3)
    assert {outcome.reason for outcome in summary.of("skipped")} == {"its pretraining failed: no"}
    again = Shared(PLAN, results / "going")
    assert (again.run().exit_code, again.board.begun) == (1, [])
    told(faults={FIRST: "no"}, steps=SLOW | {FIRST: 1}, seconds=0.05)
    fast = Shared(PLAN, results / "fast", fail_fast=True)
    summary = fast.run()
    assert summary.exit_code == 1
    assert len(fast.board.begun) <= 2
    assert not summary.of("done")


def test_all_are_stopped_when_time_is_up_and_the_same_line_goes_on(told, results):
    told(steps=SLOW, seconds=0.05)
    stop = Stop()
    board = Board(lambda _: len(board.begun) == 2 and stop.request("time"))
    summary = Shared(PLAN, results, stop=stop, board=board).run()
    assert (summary.exit_code, len(summary.of("stopped"))) == (3, 2)
    stopped = [load(results, outcome.cell.id) for outcome in summary.of("stopped")]
    assert {run.state for run in stopped} == {"interrupted"}
    told()
    again = Shared(PLAN, results).run()
    assert (again.exit_code, len(again.of("done"))) == (0, len(PLAN))


def test_who_stops_one_worker_stops_the_run(told, results):
    told(steps=SLOW, seconds=0.05)
    shared = Shared(PLAN, results)

    def terminate(_):
        busy = [worker for worker in shared.crew.workers if worker.task]
        os.kill(busy[0].pid, signal.SIGTERM)

    shared.board.on_start = terminate
    summary = shared.run()
    assert summary.exit_code == 130
    assert len(summary.outcomes) <= 2


def a_run(results, **options):
    """A run as a process of its own, which finds the tests too, wherever the packages are installed from."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)}
    return subprocess.Popen([*COMMAND, str(results)], start_new_session=True, env=environment, **options)


def begun(results):
    return sum(1 for _ in results.glob("runs/*/attempts/*/provenance.json"))


def test_a_terminal_signals_all_of_its_processes_and_they_save_and_stop(told, results):
    told(steps=SLOW, seconds=0.05)
    process = a_run(results, stdout=subprocess.PIPE, text=True)
    while begun(results) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out = process.communicate(timeout=30)[0]
    assert (process.returncode, out.split()) == (130, ["0", "2"])
    assert {run.status["state"] for run in load_runs(results)} == {"interrupted"}


def test_a_signal_of_the_terminal_while_a_worker_starts_is_not_its_end():
    events: Any = SimpleQueue()
    starting = Worker(0, events, 1, COMMAND)
    os.kill(starting.pid, signal.SIGINT)
    starting.send({"look": "cpu"})
    assert "saw" in events.get(timeout=30)[1]
    starting.wait(30)
    assert starting.end() == "ended with exit code 0"


def test_workers_whose_parent_was_killed_save_and_end(told, results):
    told(steps=SLOW, seconds=0.05)
    process = a_run(results, stdout=subprocess.DEVNULL)
    while begun(results) < 2:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    until = time.monotonic() + 20
    while any(process_start(int(run.provenance["pid"])) for run in load_runs(results)):
        assert time.monotonic() < until
        time.sleep(0.05)
    assert {run.status["state"] for run in load_runs(results)} == {"interrupted"}
    assert left_over(results) == []


def test_a_second_signal_ends_the_workers_first(monkeypatch):
    ended = []
    monkeypatch.setattr(os, "_exit", lambda code: ended.append(code))
    with Stop() as stop:
        stop.before_end = lambda: ended.append("workers")
        signal.raise_signal(signal.SIGTERM)
        assert ended == []
        signal.raise_signal(signal.SIGTERM)
    assert ended == ["workers", 130]


def test_each_worker_has_one_gpu_and_the_record_says_which(told, monkeypatch, results, tmp_path):
    told(gpus=2, free=80 * GIB, steps={FIRST: 40}, seconds=0.05)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    shared = Shared(PLAN, results, jobs=Jobs(per_gpu=1))
    assert shared.run().exit_code == 0
    found = [run.provenance["jobs"] for run in load_runs(results)]
    assert {(jobs["workers"], jobs["mps"]) for jobs in found} == {(2, True)}
    assert {jobs["gpu"] for jobs in found} == {"0", "1"}


def test_a_gpu_gets_more_workers_once_a_cell_has_shown_what_memory_it_takes(told, results):
    told(gpus=1, free=80 * GIB, memory=2 * GIB, cores=3)
    shared = Shared(PLAN, results, jobs=Jobs())
    assert shared.run().exit_code == 0
    numbers = {run.provenance["jobs"]["workers"] for run in load_runs(results)}
    assert numbers == {1, 3}


def test_a_worker_computes_what_one_process_does_bit_for_bit(tmp_path):
    from bench.cli import main

    alone, shared = tmp_path / "alone", tmp_path / "shared"
    study = "beta-vae", 1, 1, "conv1-3,conv1-5"
    process = start(words(shared, *study, "-j", "2"))
    assert main(words(alone, *study)) == 0
    code, out = end(process)
    assert code == 0, out
    assert "2 workers, each with 1 thread" in out
    assert_same_study(shared, alone)
    assert set(attempts(shared).values()) == {1}
    assert left_over(shared) == []
    (argv,) = {tuple(run.provenance["argv"][1:]) for run in load_runs(shared)}
    assert argv[-2:] == ("-j", "2")


@pytest.mark.slow
def test_a_study_has_the_same_bits_with_any_number_of_workers_and_when_one_is_killed(tmp_path):
    from bench.cli import main

    study = "patchvae-gan-lw,random", 1, 2, "conv1-3,conv1-5", "--evaluate", "features"
    assert main(words(tmp_path / "alone", *study)) == 0
    for number in (1, 2, 3):
        code, out = bench(words(tmp_path / str(number), *study, "-j", str(number)))
        assert code == 0, out
        assert_same_study(tmp_path / str(number), tmp_path / "alone")
        assert set(attempts(tmp_path / str(number)).values()) == {1}

    killed = tmp_path / "killed"
    process = start(words(killed, *study, "-j", "2"))
    while not (saved := list(killed.glob("runs/*/attempts/*/checkpoint*"))):
        assert process.poll() is None, end(process)
        time.sleep(0.01)
    victim = json.loads((saved[0].parent / "provenance.json").read_text())["pid"]
    os.kill(victim, signal.SIGKILL)
    code, out = end(process)
    assert code == 0, out
    assert f"a worker (process {victim}) was killed by SIGKILL" in out
    assert_same_study(killed, tmp_path / "alone")
    assert sorted(attempts(killed).values())[-2:] == [1, 2]
    assert left_over(killed) == []


def test_what_a_library_prints_is_no_message():
    events: SimpleQueue[Any] = SimpleQueue()
    worker = Worker(0, events, None, ["printf", '7\nhello\n[1]\n{"ready": true}\n'])
    heard = [events.get(timeout=30) for _ in range(2)]
    worker.wait(1.0)
    assert heard == [(worker, {"ready": True}), (worker, None)]


def test_a_folder_that_cannot_be_looked_into_is_one_cells_failure(tmp_path, monkeypatch):
    known = LocalRunner.known

    def look(self, cell):
        if cell.label == "random digits seed 0 conv1":
            raise PermissionError(13, "Permission denied", "there")
        return known(self, cell)

    monkeypatch.setattr(LocalRunner, "known", look)
    summary = Shared(PLAN, tmp_path).run()
    assert [outcome.cell.label for outcome in summary.of("failed")] == ["random digits seed 0 conv1"]
    assert len(summary.of("done")) == len(PLAN) - 1
