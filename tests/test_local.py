"""Running cells here: each once, one failure at a time, stopped and taken up again."""

import errno
import json
import os
import threading
from dataclasses import replace

import pytest

from bench import claims
from bench.errors import Diverged, UsageError
from bench.launch.control import RunOptions, Stop
from bench.launch.device import default_threads
from bench.plan import Selection, label, make_plan
from bench.records import run_dir
from tests.fake_trainer import FakeTrainer, anything, load, run

PLAN = make_plan(
    Selection(("beta-vae", "random"), ("digits",), (0, 1), probes=("conv1", "conv1-5"), preset="smoke")
)
FIRST = "beta-vae digits seed 0 pretrain"


def test_all_cells_are_run_once_in_order_and_never_again(tmp_path):
    trainer = FakeTrainer()
    summary, _ = run(PLAN, tmp_path, trainer)
    assert summary.exit_code == 0
    assert trainer.calls == [cell.label for cell in PLAN.cells]
    again = FakeTrainer()
    summary, watcher = run(PLAN, tmp_path, again)
    assert (summary.exit_code, again.calls) == (0, [])
    assert {state for _, state in watcher.ended} == {"kept"}
    assert not list(tmp_path.rglob("claim.json*"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_failed_pretraining_takes_only_its_own_probes_with_it(tmp_path):
    summary, _ = run(PLAN, tmp_path, FakeTrainer({FIRST: Diverged(37)}))
    assert summary.exit_code == 1
    (failed,) = map(anything, summary.of("failed"))
    assert failed.reason == "loss is not finite from step 37 on"
    assert failed.log.exists()
    assert load(tmp_path, failed.cell.id).state == "failed"
    skipped = summary.of("skipped")
    assert [outcome.cell.label for outcome in skipped] == [
        "beta-vae digits seed 0 conv1",
        "beta-vae digits seed 0 conv1-5",
    ]
    assert all("step 37" in outcome.reason for outcome in skipped)
    assert not run_dir(tmp_path, skipped[0].cell.id).exists()
    assert len(summary.of("done")) == len(PLAN) - 3


def test_what_failed_is_run_again_only_when_asked(tmp_path):
    run(PLAN, tmp_path, FakeTrainer({FIRST: Diverged(1)}))
    trainer = FakeTrainer()
    summary, _ = run(PLAN, tmp_path, trainer)
    assert (summary.exit_code, trainer.calls) == (1, [])
    assert "earlier" in summary.of("failed")[0].reason
    summary, _ = run(PLAN, tmp_path, trainer, retry_failed=True)
    assert summary.exit_code == 0
    assert trainer.calls == [
        "beta-vae digits seed 0 pretrain",
        "beta-vae digits seed 0 conv1",
        "beta-vae digits seed 0 conv1-5",
    ]


def test_fail_fast_ends_at_the_first_failure(tmp_path):
    trainer = FakeTrainer({FIRST: Diverged(1)})
    summary, _ = run(PLAN, tmp_path, trainer, fail_fast=True)
    assert (summary.exit_code, trainer.calls) == (1, [FIRST])


def test_an_unexpected_error_is_one_line_and_its_traceback_is_in_the_log(tmp_path):
    summary, _ = run(PLAN, tmp_path, FakeTrainer({FIRST: ZeroDivisionError("two\nlines")}))
    (failed,) = map(anything, summary.of("failed"))
    assert failed.reason == "ZeroDivisionError: two lines"
    assert "Traceback" in failed.log.read_text()
    assert load(tmp_path, failed.cell.id).status["error_kind"] == "ZeroDivisionError"


def test_a_full_disk_in_mid_run_fails_that_cell_and_no_other(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    summary, _ = run(PLAN, tmp_path, FakeTrainer({"random digits seed 0 conv1": full}))
    (failed,) = map(anything, summary.of("failed"))
    assert failed.reason.startswith("no space left on the disk: make room")
    assert len(summary.of("done")) == len(PLAN) - 1


def test_force_runs_what_is_done_and_keeps_the_old_attempt(tmp_path):
    run(PLAN, tmp_path)
    trainer = FakeTrainer({FIRST: Diverged(1)})
    summary, _ = run(PLAN, tmp_path, trainer, force=True)
    assert len(trainer.calls) == len(PLAN) - 2
    failed = load(tmp_path, summary.of("failed")[0].cell.id)
    # A forced attempt that failed leaves the earlier result in place.
    assert (failed.state, failed.result["attempt"]) == ("done", "0001")
    done = load(tmp_path, summary.of("done")[0].cell.id)
    assert done.result["attempt"] == "0002"
    assert (done.dir / "attempts" / "0001" / "result.json").exists()


@pytest.mark.parametrize(("reason", "code"), [("interrupt", 130), ("time", 3), ("preempt", 3)])
def test_a_stopped_run_is_taken_up_where_it_was(tmp_path, reason, code):
    stop = Stop(seconds=0.05 if reason == "time" else None)
    trainer = FakeTrainer(steps=3)

    def on_step():
        if len(trainer.calls) == 2:
            if reason != "time":
                stop.request(reason)
            else:
                threading.Event().wait(0.06)

    trainer.on_step = on_step
    summary, _ = run(PLAN, tmp_path, trainer, stop)
    assert summary.exit_code == code
    assert len(summary.of("done")) <= 2
    stopped = summary.of("stopped")
    if stopped:
        assert load(tmp_path, stopped[0].cell.id).state == "interrupted"
    later = FakeTrainer()
    assert run(PLAN, tmp_path, later)[0].exit_code == 0
    assert len(later.calls) == len(PLAN) - len(summary.of("done"))


def test_a_cell_that_runs_elsewhere_is_left_alone_and_looked_at_again(tmp_path):
    cells = {cell.label: cell for cell in PLAN.cells}
    folder = run_dir(tmp_path, cells[FIRST].id)
    folder.mkdir(parents=True)
    held = anything(claims.claim(folder))
    trainer = FakeTrainer()
    summary, _ = run(PLAN, tmp_path, trainer)
    assert summary.exit_code == 3
    assert FIRST not in trainer.calls
    assert len(summary.of("elsewhere")) == 3
    assert len(trainer.calls) == len(set(trainer.calls)) == len(PLAN) - 3
    trainer = FakeTrainer()
    # It ends while the others run: its cells are taken at the second look.
    (run_dir(tmp_path, cells["random digits seed 1 conv1-5"].id) / "result.json").unlink()
    trainer.on_step = held.release
    assert run(PLAN, tmp_path, trainer)[0].exit_code == 0
    assert trainer.calls == [
        "random digits seed 1 conv1-5",
        *[label for label in cells if label[:22] == FIRST[:22]],
    ]


def test_the_claim_of_a_dead_process_is_taken_over_and_said(tmp_path):
    cell = next(PLAN.cells)
    folder = run_dir(tmp_path, cell.id)
    folder.mkdir(parents=True)
    claims.claim(folder)
    row = json.loads((folder / claims.NAME).read_text())
    (folder / claims.NAME).write_text(json.dumps({**row, "started": "1"}))
    summary, watcher = run(PLAN, tmp_path)
    assert summary.exit_code == 0
    assert any("taken over" in note for note in watcher.notes)


def test_a_result_cut_in_half_is_set_aside_and_the_cell_run_again(tmp_path):
    run(PLAN, tmp_path)
    cell = next(PLAN.cells)
    path = run_dir(tmp_path, cell.id) / "result.json"
    text = path.read_text()
    path.unlink()
    path.write_text(text[: len(text) // 2])
    trainer = FakeTrainer()
    summary, watcher = run(PLAN, tmp_path, trainer)
    assert (summary.exit_code, trainer.calls) == (0, [cell.label])
    assert path.with_name("result.json.broken-1").exists()
    assert any("set aside" in note for note in watcher.notes)


@pytest.mark.parametrize("saves", [True, False])
def test_a_cell_that_goes_on_keeps_its_number_of_threads(tmp_path, saves):
    # Of what saved nothing there are no bits to keep: it begins anew, on its share of the machine as it is now.
    seen, usual = [], default_threads()

    class Threads(FakeTrainer):
        def pretrain(self, *args, options, **more):
            seen.append(options.threads)
            return super().pretrain(*args, options=options, **more)

    stop = Stop()
    stopping = Threads(saves=saves)
    stopping.on_step = stop.request
    run(PLAN, tmp_path, stopping, stop, options=RunOptions(threads=usual + 1))
    # Killed as soon as it was begun, an attempt says nothing of threads.
    (run_dir(tmp_path, next(PLAN.cells).id) / "attempts" / "0002").mkdir()
    run(PLAN, tmp_path, Threads(), options=RunOptions())
    assert seen[:2] == [usual + 1, usual + saves]
    assert load(tmp_path, next(PLAN.cells).id).provenance["threads"] == usual + saves


def test_a_resumed_cell_leaves_its_number_of_threads_to_no_other(tmp_path):
    import torch

    seen, usual = {}, torch.get_num_threads()

    class Threads(FakeTrainer):
        def _run(self, config, attempt, stop, progress):
            seen[label(config)] = torch.get_num_threads()
            super()._run(config, attempt, stop, progress)

        def pretrain(self, *args, options, **more):
            torch.set_num_threads(options.threads)
            return super().pretrain(*args, options=options, **more)

        def probe(self, *args, options, **more):
            torch.set_num_threads(options.threads)
            return super().probe(*args, options=options, **more)

    stop = Stop()
    stopping = Threads()
    stopping.on_step = stop.request
    try:
        run(PLAN, tmp_path, stopping, stop, options=RunOptions(threads=usual + 1))
        run(PLAN, tmp_path, Threads(), options=RunOptions())
    finally:
        torch.set_num_threads(usual)
    assert seen.pop(FIRST) == usual + 1
    assert set(seen.values()) == {usual}


def test_provenance_says_where_a_result_comes_from(tmp_path):
    run(PLAN, tmp_path, device_name="a processor")
    found = load(tmp_path, next(PLAN.cells).id).provenance
    assert found["device"] == "a processor"
    assert found["data"]["fingerprint"] == "f" * 64
    assert len(found["source_hash"]) == 16
    assert found["versions"]["torch"]
    assert {"argv", "git", "host", "started", "ended", "seconds", "peak_memory_bytes", "determinism"} <= set(
        found
    )


def test_a_cell_that_cannot_load_its_data_fails_alone(tmp_path):
    def refuse(_):
        raise UsageError("gone")

    summary, _ = run(replace(PLAN, groups=PLAN.groups[:1]), tmp_path, load=refuse)
    assert [outcome.reason for outcome in summary.of("failed")] == ["gone"]
    # On record too: nobody watches a job.
    failed = load(tmp_path, summary.of("failed")[0].cell.id)
    assert (failed.state, failed.status["error"]) == ("failed", "gone")


def test_the_first_signal_asks_and_the_second_ends():
    import signal

    said = []
    with Stop(on_signal=said.append) as stop:
        assert stop.check() is None
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.check() == "interrupt"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert said == ["SIGINT"]


JUDGED = make_plan(
    Selection(
        ("beta-vae",),
        ("digits",),
        probes=("conv1",),
        preset="smoke",
        evaluations=("features", "reconstruction"),
    )
)
PRETRAIN, PROBE, FEATURES, RECONSTRUCTION = (cell.label for cell in JUDGED.cells)


def test_evaluations_run_after_the_probes_and_one_that_fails_takes_nothing_with_it(tmp_path):
    trainer = FakeTrainer({FEATURES: UsageError("no")})
    summary, _ = run(JUDGED, tmp_path, trainer)
    assert trainer.calls == [PRETRAIN, PROBE, FEATURES, RECONSTRUCTION]
    assert [outcome.cell.label for outcome in summary.of("failed")] == [FEATURES]
    assert len(summary.of("done")) == 3


def test_a_pretraining_that_failed_skips_its_evaluations(tmp_path):
    summary, _ = run(JUDGED, tmp_path, FakeTrainer({PRETRAIN: Diverged(1)}))
    assert [outcome.cell.label for outcome in summary.of("skipped")] == [PROBE, FEATURES, RECONSTRUCTION]


def test_an_evaluation_that_was_stopped_starts_afresh_in_an_attempt_of_its_own(tmp_path):
    trainer, stop = FakeTrainer(), Stop()
    trainer.on_step = lambda: trainer.calls[-1] == FEATURES and stop.request()
    assert run(JUDGED, tmp_path, trainer, stop)[0].exit_code == 130
    cell = JUDGED.groups[0].dependents[1]
    assert load(tmp_path, cell.id).state == "interrupted"
    trainer = FakeTrainer()
    assert run(JUDGED, tmp_path, trainer)[0].exit_code == 0
    assert trainer.calls == [FEATURES, RECONSTRUCTION]
    assert load(tmp_path, cell.id).result["attempt"] == "0002"


def test_an_evaluation_that_finds_broken_weights_has_the_pretraining_made_again(tmp_path):
    run(replace(JUDGED, groups=(replace(JUDGED.groups[0], dependents=()),)), tmp_path)
    broken = load(tmp_path, JUDGED.groups[0].pretrain.id).weights
    broken.write_bytes(b"no weights")
    trainer = FakeTrainer()
    only = replace(JUDGED, groups=(replace(JUDGED.groups[0], dependents=JUDGED.groups[0].dependents[1:]),))
    summary, watcher = run(only, tmp_path, trainer)
    assert summary.exit_code == 0
    assert trainer.calls == [PRETRAIN, FEATURES, RECONSTRUCTION]
    assert any("the pretraining is made again" in note for note in watcher.notes)
