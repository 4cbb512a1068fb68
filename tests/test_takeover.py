"""Several processes and one study: what is another's, what was another's, what a killed one left."""

import json
from dataclasses import replace

import pytest

from bench import claims
from bench.attempts import Attempt
from bench.errors import Diverged, WeightsError
from bench.launch.control import Stop
from bench.plan import Selection, make_plan
from bench.records import run_dir
from tests.fake_trainer import FakeTrainer, anything, load, run
from tests.test_claims import dead_owner, write_claim

PLAN = make_plan(Selection(("beta-vae",), ("digits",), (0,), probes=("conv1", "conv1-5"), preset="smoke"))
PRETRAIN, *PROBES = PLAN.cells
(OTHER,) = make_plan(Selection(("random",), ("digits",), (0,), probes=("conv1",), preset="smoke")).groups
LABELS = [cell.label for cell in PLAN.cells]


@pytest.mark.parametrize("damage", ["gone", "broken"])
def test_a_pretraining_whose_weights_are_lost_is_made_again_and_said(damage, tmp_path):
    run(PLAN, tmp_path)
    (run_dir(tmp_path, PROBES[0].id) / "result.json").unlink()
    weights = run_dir(tmp_path, PRETRAIN.id) / "attempts" / "0001" / "model.safetensors"
    weights.unlink() if damage == "gone" else weights.write_bytes(b"wei")
    trainer = FakeTrainer()
    summary, watcher = run(PLAN, tmp_path, trainer)
    assert summary.exit_code == 0
    made = [call for call in trainer.calls if call == PRETRAIN.label]
    assert (len(made), trainer.calls[-1]) == (1, PROBES[0].label)
    assert any("made again" in note for note in watcher.notes)
    assert (run_dir(tmp_path, PRETRAIN.id) / "result.json.broken-1").exists()
    if damage == "broken":
        assert weights.with_name("model.safetensors.broken-1").read_bytes() == b"wei"
    # The other probe stands on the same weights, bit for bit: it is not run again.
    assert PROBES[1].label not in trainer.calls


def take_over(folder):
    """Become the owner of a cell that this process holds, as its successor on another machine does."""
    (path,) = folder.glob(claims.NAME)
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "token": "successor", "host": "elsewhere"}))


def test_a_process_whose_cell_was_taken_over_writes_no_result(tmp_path):
    trainer = FakeTrainer()
    trainer.on_step = lambda: take_over(run_dir(tmp_path, PRETRAIN.id)) if len(trainer.calls) == 1 else None
    summary, _ = run(PLAN, tmp_path, trainer)
    found = load(tmp_path, PRETRAIN.id)
    assert found.result is None
    assert found.status["error_kind"] == "Superseded"
    assert [o.state for o in summary.outcomes.values()] == ["elsewhere"] * 3
    assert summary.exit_code == 3
    # The successor's claim is not the zombie's to give back.
    assert anything(claims.holder(run_dir(tmp_path, PRETRAIN.id))).token == "successor"


def test_a_job_whose_heir_has_taken_over_leaves_the_rest_to_it(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "120")
    trainer = FakeTrainer()

    def on_step():
        if len(trainer.calls) == 1:
            path = run_dir(tmp_path, PRETRAIN.id) / claims.NAME
            row = json.loads(path.read_text())
            path.write_text(json.dumps({**row, "token": "heir", "host": "elsewhere", "restart": 1}))

    trainer.on_step = on_step
    two = replace(PLAN, groups=(PLAN.groups[0], OTHER))
    summary, _ = run(two, tmp_path, trainer)
    assert trainer.calls == [PRETRAIN.label]
    assert summary.exit_code == 3


def test_a_result_that_another_published_meanwhile_is_taken(tmp_path):
    trainer = FakeTrainer()

    def on_step():
        if len(trainer.calls) == 1:
            (run_dir(tmp_path, PRETRAIN.id) / claims.NAME).rename(tmp_path / "kept")
            assert (
                run(replace(PLAN, groups=(replace(PLAN.groups[0], dependents=()),)), tmp_path)[0].exit_code
                == 0
            )
            (tmp_path / "kept").rename(run_dir(tmp_path, PRETRAIN.id) / claims.NAME)

    trainer.on_step = on_step
    summary, _ = run(PLAN, tmp_path, trainer)
    assert summary.exit_code == 0
    assert load(tmp_path, PRETRAIN.id).result["attempt"] == "0002"


def test_a_job_computes_only_its_own_cells(tmp_path):
    trainer = FakeTrainer()
    only = frozenset(cell.id for cell in PROBES)
    summary, _ = run(PLAN, tmp_path, trainer, only=only)
    assert trainer.calls == []
    assert [o.state for o in summary.outcomes.values()] == ["skipped"] * 3
    assert "is not there" in summary.outcomes[PROBES[0].id].reason
    run(PLAN, tmp_path, FakeTrainer(), only=frozenset({PRETRAIN.id}))
    assert run(PLAN, tmp_path, trainer, only=only)[0].exit_code == 0
    assert trainer.calls == LABELS[1:]


def test_a_cell_that_is_left_out_is_said_to_be(tmp_path):
    trainer = FakeTrainer()
    summary, _ = run(
        PLAN, tmp_path, trainer, left_out=lambda cell: "cancelled" if cell.id == PROBES[0].id else None
    )
    assert trainer.calls == [LABELS[0], LABELS[2]]
    assert (summary.outcomes[PROBES[0].id].state, summary.exit_code) == ("skipped", 3)


def test_a_forced_job_that_is_requeued_keeps_what_it_did(tmp_path):
    run(PLAN, tmp_path)
    forget = {cell.id: 1 for cell in PLAN.cells}
    stop, trainer = Stop(), FakeTrainer()
    trainer.on_step = lambda: stop.request("preempt") if len(trainer.calls) == 2 else None
    summary, _ = run(PLAN, tmp_path, trainer, stop, forget=forget)
    assert summary.exit_code == 3
    again = FakeTrainer()
    assert run(PLAN, tmp_path, again, forget=forget)[0].exit_code == 0
    assert again.calls == LABELS[1:]
    assert load(tmp_path, PRETRAIN.id).result["attempt"] == "0002"
    assert run(PLAN, tmp_path, again, forget=forget)[0].exit_code == 0
    assert again.calls == LABELS[1:]


def test_a_kill_between_result_and_last_breath_is_tidied_by_the_next_run(tmp_path):
    run(PLAN, tmp_path)
    folder = run_dir(tmp_path, PRETRAIN.id)
    left = [folder / "attempts" / "0001" / "checkpoint.safetensors", folder / ".result.json.x.tmp"]
    for path in left:
        path.write_text("left")
    claims.claim(folder)
    row = json.loads((folder / claims.NAME).read_text())
    (folder / claims.NAME).write_text(json.dumps({**row, "started": "1"}))
    trainer = FakeTrainer()
    assert run(PLAN, tmp_path, trainer)[0].exit_code == 0
    assert trainer.calls == []
    assert not any(path.exists() for path in (*left, folder / claims.NAME))


def test_a_broken_configuration_is_set_aside_and_written_again(tmp_path):
    run(PLAN, tmp_path)
    path = run_dir(tmp_path, PRETRAIN.id) / "config.json"
    path.write_text('{"kind": "pre')
    trainer = FakeTrainer()
    summary, watcher = run(PLAN, tmp_path, trainer)
    assert (summary.exit_code, trainer.calls) == (0, [])
    assert any("set aside" in note for note in watcher.notes)
    assert load(tmp_path, PRETRAIN.id).config == PRETRAIN.config


def test_a_running_cell_says_how_far_it_is(tmp_path):
    run(PLAN, tmp_path, FakeTrainer(steps=3))
    facts = json.loads((run_dir(tmp_path, PRETRAIN.id) / "attempts" / "0001" / "progress.json").read_text())
    assert (facts["step"], facts["total"], facts["images_per_second"]) == (1, 3, 10.0)


def test_a_job_of_probes_makes_a_pretraining_again_whose_weights_are_broken(tmp_path):
    run(PLAN, tmp_path)
    (run_dir(tmp_path, PROBES[0].id) / "result.json").unlink()
    (run_dir(tmp_path, PRETRAIN.id) / "attempts" / "0001" / "model.safetensors").write_bytes(b"wei")
    trainer = FakeTrainer()
    summary, _ = run(PLAN, tmp_path, trainer, only=frozenset({PROBES[0].id}))
    assert summary.exit_code == 0
    assert trainer.calls == LABELS[:2]


class TooLate(FakeTrainer):
    """While its first probe finds the weights broken another process has found that, too, and made them again."""

    def __init__(self, results):
        super().__init__()
        self.results = results

    def probe(self, *args, **more):
        if self.results is not None:
            results, self.results = self.results, None
            run(PLAN, results)
            raise WeightsError("broken")
        return super().probe(*args, **more)


def test_weights_that_another_process_has_made_again_meanwhile_are_not_set_aside(tmp_path):
    run(PLAN, tmp_path)
    for probe in PROBES:
        (run_dir(tmp_path, probe.id) / "result.json").unlink()
    (run_dir(tmp_path, PRETRAIN.id) / "attempts" / "0001" / "model.safetensors").write_bytes(b"wei")
    trainer = TooLate(tmp_path)
    assert run(PLAN, tmp_path, trainer)[0].exit_code == 0
    assert load(tmp_path, PRETRAIN.id).result["attempt"] == "0002"
    assert trainer.calls == [LABELS[1]]


def test_whoever_finds_a_cell_done_leaves_what_a_forced_run_of_it_has_saved(tmp_path):
    run(PLAN, tmp_path)
    folder = run_dir(tmp_path, PRETRAIN.id)
    Attempt(tmp_path, PRETRAIN.config, forget=1)
    kept = folder / "attempts" / "0002" / "checkpoint.safetensors"
    kept.write_text("saved")
    write_claim(folder, dead_owner())
    run(PLAN, tmp_path)
    assert kept.exists()


def test_a_forced_job_that_comes_back_does_not_compute_again_what_it_has_failed(tmp_path):
    run(PLAN, tmp_path)
    told = {cell.id: 1 for cell in PLAN.cells}
    first = FakeTrainer({LABELS[0]: Diverged(3)})
    assert run(PLAN, tmp_path, first, forget=told, forgive=told)[0].exit_code == 1
    again = FakeTrainer()
    summary, _ = run(PLAN, tmp_path, again, forget=told, forgive=told)
    assert (summary.exit_code, again.calls) == (1, [])
    assert [o.state for o in summary.outcomes.values()] == ["failed", "skipped", "skipped"]
