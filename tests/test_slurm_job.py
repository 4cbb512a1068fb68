"""What runs inside a job: its cells, its signals, how it comes back. No cluster; test_slurm_signals.py has one."""

import os
import pickle
import signal
import subprocess
import threading

import pytest

from bench.errors import Diverged, Preempted, RecordError
from bench.launch import local
from bench.launch.slurm import requeue, start
from bench.launch.slurm.job import CellsFailed, CellsJob
from bench.launch.slurm.requeue import come_back
from tests.fake_trainer import DATA, FakeTrainer, load
from tests.slurm_packs import small, write_pack

PLAN = small("beta-vae", "random")
CELLS = [cell.label for cell in PLAN.cells]


@pytest.fixture(autouse=True)
def signals(monkeypatch):
    """The signals are as they were afterwards, and no job is around unless a test says so."""
    kept = {number: signal.getsignal(number) for number in start.SIGNALS}
    for name in os.environ:
        if name.startswith(("SLURM_", "SUBMITIT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, start.SIGNALS)


@pytest.fixture
def trainer(monkeypatch):
    one = FakeTrainer()
    monkeypatch.setattr(local, "TorchTrainer", lambda: one)
    monkeypatch.setattr("bench.data.registry.load", lambda *_, **__: DATA)
    return one


@pytest.fixture
def in_a_job(monkeypatch):
    """SLURM's variables of job 1205, restart 1, and a controller that knows it."""
    for name, value in (("JOB_ID", "1205"), ("RESTART_COUNT", "1"), ("CLUSTER_NAME", "dev")):
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setattr(requeue.Word, "runs", lambda *_: True)


class Requeued(SystemExit):
    pass


def handler_that(*answers):
    """submitit's handler of SIGUSR2, which raises these one after another; its calls."""
    calls, left = [], list(answers)

    def handler(number, frame):
        calls.append(number)
        raise left.pop(0)

    return handler, calls


# --- The cells


def test_a_job_computes_the_cells_of_its_pack_and_says_how_many(tmp_path, trainer, capsys):
    assert CellsJob(str(write_pack(tmp_path, PLAN)))() == {"done": 4}
    assert trainer.calls == CELLS
    out = capsys.readouterr().out
    assert "4 cells, threads 1" in out
    assert "cells: 4 done" in out


def test_a_job_computes_only_its_own_cells(tmp_path, trainer):
    pretrain, probe = list(PLAN.cells)[:2]
    with pytest.raises(CellsFailed, match="0 of 1 cells failed, 1 skipped: beta-vae digits seed 0 conv1"):
        CellsJob(str(write_pack(tmp_path, small("beta-vae"), compute=[probe.id])))()
    assert trainer.calls == []
    CellsJob(str(write_pack(tmp_path, small("beta-vae"), compute=[pretrain.id])))()
    CellsJob(str(write_pack(tmp_path, small("beta-vae"), compute=[probe.id])))()
    assert trainer.calls == CELLS[:2]


def test_a_cell_that_fails_fails_the_job_after_the_others_are_done(tmp_path, trainer):
    trainer.faults[CELLS[0]] = Diverged(3)
    with pytest.raises(CellsFailed) as caught:
        CellsJob(str(write_pack(tmp_path, PLAN)))()
    text = str(caught.value)
    assert text.startswith(f"1 of 4 cells failed, 1 skipped: {CELLS[0]}: loss is not finite from step 3 on; ")
    assert trainer.calls == [CELLS[0], *CELLS[2:]]


def test_a_retried_job_that_comes_back_does_not_retry_its_own_failures(tmp_path, trainer):
    trainer.faults = {CELLS[0]: Diverged(3)}
    path = str(write_pack(tmp_path, small("beta-vae"), retry_failed=True))
    for _ in range(2):
        with pytest.raises(CellsFailed):
            CellsJob(path)()
    assert trainer.calls == [CELLS[0]]


def test_a_cancelled_cell_is_left_out_and_is_no_failure(tmp_path, trainer):
    path = write_pack(tmp_path, PLAN)
    mark = path.parent.parent / "cancelled" / next(PLAN.cells).id
    mark.parent.mkdir()
    mark.touch()
    assert CellsJob(str(path))() == {"done": 2, "skipped": 2}
    assert trainer.calls == CELLS[2:]


def test_a_pack_cut_in_half_is_one_line(tmp_path):
    path = write_pack(tmp_path, PLAN)
    path.write_text(path.read_text()[:200])
    with pytest.raises(RecordError, match=r"0000\.json cannot be read"):
        CellsJob(str(path))()


def test_one_data_set_is_held_at_a_time(tmp_path, monkeypatch, trainer):
    asked = []
    monkeypatch.setattr("bench.data.registry.load", lambda name, *_, **__: asked.append(name) or DATA)
    assert CellsJob(str(write_pack(tmp_path, PLAN)))() == {"done": 4}
    assert asked == ["digits"]


def test_a_gpu_that_torch_does_not_see_is_said(tmp_path, monkeypatch, trainer, capsys):
    monkeypatch.setenv("SLURM_JOB_GPUS", "1")
    CellsJob(str(write_pack(tmp_path, PLAN)))()
    assert "given GPU 1, but torch sees none" in capsys.readouterr().out


@pytest.mark.parametrize(("threads", "cpus", "found"), [(3, "8", "3"), (None, "8", "8"), (None, None, None)])
def test_threads_are_pinned_before_torch_is_loaded(tmp_path, monkeypatch, trainer, threads, cpus, found):
    monkeypatch.delenv("OMP_NUM_THREADS")
    if cpus:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", cpus)
    CellsJob(str(write_pack(tmp_path, PLAN, threads=threads)))()
    assert os.environ.get("OMP_NUM_THREADS") == found


def test_provenance_says_the_job(tmp_path, trainer, in_a_job):
    CellsJob(str(write_pack(tmp_path, PLAN)))()
    found = load(tmp_path, next(PLAN.cells).id).provenance["scheduler"]
    assert (found["job"], found["restarts"], found["cluster"]) == ("1205", 1, "dev")


def test_only_a_path_is_pickled():
    job = CellsJob("/results/slurm/d/packs/0000.json")
    again = job.checkpoint()
    assert again.function is job
    assert len(pickle.dumps(job)) < 200


# --- Signals


def test_sigusr2_saves_then_hands_over_to_submitit(tmp_path, trainer, in_a_job):
    handler, calls = handler_that(Requeued())
    signal.signal(signal.SIGUSR2, handler)
    trainer.on_step = lambda: os.kill(os.getpid(), signal.SIGUSR2)
    with pytest.raises(Requeued):
        CellsJob(str(write_pack(tmp_path, PLAN)))()
    assert calls == [signal.SIGUSR2]
    assert trainer.calls == CELLS[:1]
    assert load(tmp_path, next(PLAN.cells).id).state == "interrupted"
    trainer.on_step = lambda: None
    signal.signal(signal.SIGUSR2, handler)
    assert CellsJob(str(write_pack(tmp_path, PLAN)))() == {"done": 4}


def test_a_signal_that_came_while_python_imported_is_heard_before_the_first_cell(tmp_path, trainer, in_a_job):
    handler, calls = handler_that(Requeued())
    signal.signal(signal.SIGUSR2, handler)
    signal.pthread_sigmask(signal.SIG_BLOCK, start.SIGNALS)
    # To this thread: others of the tests' process, say torch's, were begun before and do not block it.
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR2)
    assert not calls
    with pytest.raises(Requeued):
        CellsJob(str(write_pack(tmp_path, PLAN)))()
    assert (calls, trainer.calls) == ([signal.SIGUSR2], [])


def test_a_signal_after_the_last_cell_does_not_bring_the_job_back(tmp_path, monkeypatch, trainer, in_a_job):
    class Late(FakeTrainer):
        def probe(self, *args, **options):
            result = super().probe(*args, **options)
            os.kill(os.getpid(), signal.SIGUSR2)
            return result

    monkeypatch.setattr(local, "TorchTrainer", Late)
    handler, calls = handler_that(Requeued())
    signal.signal(signal.SIGUSR2, handler)
    assert CellsJob(str(write_pack(tmp_path, small("random"))))() == {"done": 2}
    assert not calls
    # While Python ends, it has no handlers.
    assert {signal.getsignal(number) for number in start.SIGNALS} == {signal.SIG_IGN}


def test_sigterm_asks_for_a_checkpoint_and_goes_on(tmp_path, trainer, in_a_job):
    trainer.on_step = lambda: os.kill(os.getpid(), signal.SIGTERM)
    assert CellsJob(str(write_pack(tmp_path, PLAN)))() == {"done": 4}


def test_the_end_of_all_timeouts_is_not_swallowed(tmp_path, trainer, in_a_job):
    from submitit.core.utils import UncompletedJobError

    handler, _ = handler_that(UncompletedJobError("timed-out too many times"))
    signal.signal(signal.SIGUSR2, handler)
    trainer.on_step = lambda: os.kill(os.getpid(), signal.SIGUSR2)
    with pytest.raises(UncompletedJobError, match="too many times"):
        CellsJob(str(write_pack(tmp_path, PLAN)))()


# --- Coming back


def test_a_controller_that_is_away_is_waited_for(in_a_job, capsys):
    away = subprocess.CalledProcessError(1, ["scontrol", "requeue", "1205"])
    late = subprocess.TimeoutExpired(["scontrol"], 60)
    handler, calls = handler_that(away, late, Requeued())
    waited = []
    with pytest.raises(Requeued):
        come_back(handler, sleep=waited.append)
    assert (len(calls), waited) == (3, [0.0, 1.0, 2.0])
    assert "not requeued yet" in capsys.readouterr().out


def test_a_job_that_nobody_requeues_says_what_to_do(in_a_job):
    away = subprocess.CalledProcessError(1, ["scontrol"])
    handler, _ = handler_that(away, away, away)
    with pytest.raises(Preempted, match="bench retry"):
        come_back(handler, pauses=(0.0, 0.0), sleep=lambda _: None)


def test_a_job_is_not_requeued_more_often_than_it_may(in_a_job):
    handler, calls = handler_that(Requeued())
    with pytest.raises(Preempted, match="max_restarts 1"):
        come_back(handler, max_restarts=1)
    assert not calls
    with pytest.raises(Requeued):
        come_back(handler, max_restarts=2)


def test_the_process_of_a_node_taken_for_dead_does_not_end_its_successor(in_a_job, monkeypatch):
    monkeypatch.setattr(requeue.Word, "runs", lambda *_: False)
    handler, calls = handler_that(Requeued())
    with pytest.raises(SystemExit) as caught:
        come_back(handler)
    assert (caught.value.code, calls) == (1, [])


def test_a_disk_too_full_for_submitits_pickle_does_not_keep_a_job_from_coming_back(
    in_a_job, monkeypatch, tmp_path
):
    monkeypatch.setenv("SUBMITIT_FOLDER", str(tmp_path))
    left = tmp_path / "1205_submitted.pkl.save_tmp"
    left.touch()
    called = []
    monkeypatch.setattr(requeue.subprocess, "run", lambda words, **_: called.append(words))
    handler, _ = handler_that(OSError(28, "No space left on device"))
    with pytest.raises(SystemExit):
        come_back(handler)
    assert called == [["scontrol", "requeue", "1205"]]
    assert not left.exists()
