"""`bench run --seeds-together`: which cells are trained at once, and what each of them leaves."""

from types import SimpleNamespace

import pytest

from bench import claims
from bench.cli import main
from bench.errors import Apart, Diverged, Superseded
from bench.launch.control import RunOptions, Stop
from bench.plan import Selection, make_plan
from bench.records import run_dir
from tests.fake_trainer import FakeTrainer, anything, load, run

PLAN = make_plan(Selection(("beta-vae", "random"), ("digits",), (0, 1, 2), probes=("conv1",), preset="smoke"))
BETA = [f"beta-vae digits seed {seed} pretrain" for seed in range(3)]
CELLS = {cell.label: cell for cell in PLAN.cells}


def together(folder, trainer, wish: object = 3, stop=None, **more):
    options = RunOptions(threads=1, seeds_together=anything(wish))
    return run(PLAN, folder, trainer, stop, options=options, **more)


def of(folder, label):
    return load(folder, CELLS[label].id)


def test_seeds_of_one_method_are_trained_at_once_and_all_else_one_by_one(tmp_path):
    trainer = FakeTrainer()
    summary, watcher = together(tmp_path, trainer)
    assert summary.exit_code == 0
    assert trainer.groups == [BETA]
    assert sorted([*trainer.calls, *BETA]) == sorted(CELLS)
    assert any(note == f"{BETA[0]}: seeds 0, 1, 2 together: as asked" for note in watcher.notes)
    for label in BETA:
        found = of(tmp_path, label)
        assert found.provenance["together"] == {"seeds": [0, 1, 2], "why": "as asked"}
        assert found.provenance["speed"]["winograd"] is False
        assert (found.state, found.owner, len(found.attempts)) == ("done", None, 1)
        assert found.weights.read_bytes() == b"weights"
    assert "together" not in of(tmp_path, "random digits seed 0 pretrain").provenance
    again = FakeTrainer()
    assert together(tmp_path, again)[0].exit_code == 0
    assert (again.calls, again.groups) == ([], [])


def test_they_are_off_unless_asked_for(tmp_path):
    trainer = FakeTrainer()
    run(PLAN, tmp_path, trainer)
    assert trainer.groups == []


@pytest.mark.parametrize(("most", "groups"), [(2, [BETA[:2]]), (4, [BETA])])
def test_at_most_so_many_are_trained_at_once(most, groups, tmp_path):
    trainer = FakeTrainer()
    assert together(tmp_path, trainer, most)[0].exit_code == 0
    assert trainer.groups == groups
    assert (BETA[2] in trainer.calls) is (most == 2)


def test_a_seed_that_diverges_fails_alone_and_its_siblings_finish(tmp_path):
    trainer = FakeTrainer({BETA[1]: Diverged(7)}, steps=3)
    summary, watcher = together(tmp_path, trainer)
    assert [(o.cell.label, o.reason) for o in summary.of("failed")] == [
        (BETA[1], "loss is not finite from step 7 on")
    ]
    assert f"{BETA[1]}: loss is not finite from step 7 on; the other seeds go on" in watcher.notes
    assert [of(tmp_path, label).state for label in BETA] == ["done", "failed", "done"]
    assert [o.cell.label for o in summary.of("skipped")] == ["beta-vae digits seed 1 conv1"]
    assert len(summary.of("done")) == len(PLAN) - 2


def test_the_first_failure_ends_a_run_that_is_to_fail_fast_and_the_others_are_saved(tmp_path):
    trainer = FakeTrainer({BETA[1]: Diverged(7)}, steps=3)
    summary, _ = together(tmp_path, trainer, fail_fast=True)
    assert (summary.exit_code, trainer.calls) == (1, [])
    assert [of(tmp_path, label).state for label in BETA] == ["interrupted", "failed", "interrupted"]


@pytest.mark.parametrize(("reason", "code"), [("interrupt", 130), ("preempt", 3), ("time", 3)])
def test_a_group_that_is_stopped_is_marked_and_goes_on_as_a_group(reason, code, tmp_path):
    trainer, stop = FakeTrainer(steps=3), Stop()
    trainer.on_step = lambda: stop.request(reason)
    summary, _ = together(tmp_path, trainer, stop=stop)
    assert (summary.exit_code, trainer.calls) == (code, [])
    for label in BETA:
        assert of(tmp_path, label).state == "interrupted"
        assert of(tmp_path, label).owner is None
    trainer = FakeTrainer()
    assert together(tmp_path, trainer)[0].exit_code == 0
    assert trainer.groups == [BETA]
    assert [len(of(tmp_path, label).attempts) for label in BETA] == [2, 2, 2]


def test_a_seed_that_another_process_works_on_is_left_to_it(tmp_path):
    folder = run_dir(tmp_path, CELLS[BETA[0]].id)
    folder.mkdir(parents=True)
    held = anything(claims.claim(folder))
    trainer = FakeTrainer()
    summary, _ = together(tmp_path, trainer)
    assert trainer.groups == [BETA[1:]]
    assert summary.exit_code == 3
    assert of(tmp_path, BETA[1]).provenance["together"]["seeds"] == [1, 2]
    held.release()


def test_of_seeds_begun_otherwise_those_that_agree_are_trained_together_and_the_other_is_free(tmp_path):
    """Seed 0 began on seven threads: whoever is free may take it while the others are trained."""
    stop, begins = Stop(), FakeTrainer()
    begins.on_step = stop.request
    run(PLAN, tmp_path, begins, stop, options=RunOptions(threads=7))
    assert [label for label in begins.calls if label in BETA] == BETA[:1]
    free, trainer = [], FakeTrainer()

    def look():
        if not trainer.groups or free:
            return
        claim = claims.claim(run_dir(tmp_path, CELLS[BETA[0]].id))
        free.append(isinstance(claim, claims.Claim))
        if isinstance(claim, claims.Claim):
            claim.release()

    trainer.on_step = look
    options = RunOptions(threads=None, seeds_together=3)
    assert run(PLAN, tmp_path, trainer, options=options)[0].exit_code == 0
    assert trainer.groups == [BETA[1:]]
    assert free == [True]
    alone = of(tmp_path, BETA[0]).provenance
    assert alone["together"] == {"seeds": [0], "why": "it was not free, or was begun otherwise"}
    assert alone["threads"] == 7
    assert of(tmp_path, BETA[1]).provenance["together"]["seeds"] == [1, 2]


def test_a_seed_whose_siblings_are_all_elsewhere_is_recorded_as_trained_alone(tmp_path):
    folders = [run_dir(tmp_path, CELLS[label].id) for label in BETA[1:]]
    for folder in folders:
        folder.mkdir(parents=True)
    held = [anything(claims.claim(folder)) for folder in folders]
    together(tmp_path, FakeTrainer())
    why = "no other seed was free to be trained with it"
    assert of(tmp_path, BETA[0]).provenance["together"] == {"seeds": [0], "why": why}
    for claim in held:
        claim.release()


def test_a_seed_that_is_taken_over_meanwhile_is_its_heirs_and_the_others_finish(tmp_path):
    trainer = FakeTrainer({BETA[2]: Superseded("taken over")})
    summary, watcher = together(tmp_path, trainer)
    assert [of(tmp_path, label).state for label in BETA[:2]] == ["done", "done"]
    assert f"{BETA[2]}: taken over; the other seeds go on" in watcher.notes
    # Nobody holds it, so it is taken up at the second look.
    assert BETA[2] in trainer.calls
    assert summary.exit_code == 3


def test_a_seed_that_cannot_go_with_the_others_is_trained_in_its_own_attempt(tmp_path):
    trainer = FakeTrainer({BETA[1]: Apart("it goes on from step 4, the other seeds from step 0")})
    with pytest.raises(Apart):
        trainer.pretrain(CELLS[BETA[1]].config, None, SimpleNamespace(log=print), device="cpu", stop=Stop(),
                         progress=print, options=None)  # fmt: skip
    trainer.faults, faults = {}, trainer.faults
    inner = trainer.pretrain_together

    def pretrain_together(*args, **more):
        trainer.faults = faults
        yield from inner(*args, **more)
        trainer.faults = {}

    trainer.pretrain_together = pretrain_together
    trainer.calls.clear()
    summary, watcher = together(tmp_path, trainer)
    assert summary.exit_code == 0
    found = of(tmp_path, BETA[1])
    assert trainer.calls[0] == BETA[1]
    assert len(found.attempts) == 1
    reason = "it goes on from step 4, the other seeds from step 0"
    assert found.provenance["together"] == {"seeds": [1], "why": reason}
    assert found.provenance["speed"]["keep_memory"] is False
    assert any("trained alone" in note for note in watcher.notes)


def test_what_breaks_the_group_fails_each_of_its_cells(tmp_path):
    trainer = FakeTrainer()

    def breaks(*_, **__):
        raise MemoryError("none is left")

    trainer.pretrain_together = anything(breaks)
    summary, _ = together(tmp_path, trainer)
    assert {o.cell.label for o in summary.of("failed")} == set(BETA)
    assert all(o.log is not None and o.log.exists() for o in summary.of("failed"))


def test_data_that_cannot_be_read_fails_each_of_them_on_record(tmp_path):
    def refuse(_):
        raise Diverged(1)

    summary, _ = together(tmp_path, FakeTrainer(), load=refuse)
    assert all(of(tmp_path, label).state == "failed" for label in BETA)
    assert summary.exit_code == 1


@pytest.mark.parametrize(("ratio", "grouped"), [(1.3, True), (0.7, False)])
def test_auto_measures_once_on_a_gpu_and_takes_the_faster(ratio, grouped, tmp_path):
    trainer = FakeTrainer()
    trainer.speed = anything(SimpleNamespace(times_faster=ratio))
    summary, _ = together(tmp_path, trainer, "auto", device="cuda")
    assert summary.exit_code == 0
    assert trainer.measured == [3]
    assert trainer.groups == ([BETA] if grouped else [])
    facts = of(tmp_path, BETA[1]).provenance["together"]
    assert facts["seeds"] == ([0, 1, 2] if grouped else [1])
    assert str(ratio) in facts["why"]


def test_auto_trains_one_after_another_on_a_processor_and_says_why(tmp_path):
    trainer = FakeTrainer()
    _, watcher = together(tmp_path, trainer, "auto")
    assert (trainer.groups, trainer.measured) == ([], [])
    assert any("one after another: on a processor" in note for note in watcher.notes)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seeds-together", "0"], "'0' is neither a number of seeds, 1 to 1000, nor auto, nor off"),
        (["--seeds-together", "two"], "'two' is neither a number of seeds"),
        (["--seeds-together", "2", "-j", "2"], "leave one out"),
        (["--seeds-together", "auto", "--jobs-per-gpu", "2"], "leave one out"),
        (["--seeds-together", "2", "--slurm"], "a job trains one seed after another"),
    ],
)
def test_a_wish_that_cannot_be_met_is_one_line(words, said, tmp_path, capsys):
    code = main(["run", "-m", "beta-vae", "-d", "digits", "--results", str(tmp_path), *words])
    assert code == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_what_is_not_trained_has_no_steps_to_measure(capsys):
    assert main(["perf", "seeds", "-m", "random"]) == 2
    assert "random is not trained: there are no steps to measure" in capsys.readouterr().err
