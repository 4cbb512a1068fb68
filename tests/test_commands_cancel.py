"""`bench cancel`: what is stopped, what is said, and that nothing else is."""

import subprocess
import sys
from dataclasses import replace

import pytest

from bench import cancelling
from bench.cancelling import plan_cancellation
from bench.claims import Owner
from bench.cli import main
from bench.dispatches import Pack
from bench.plan import Selection
from bench.scheduler import Job, Unreachable
from bench.status import survey
from tests.fake_trainer import anything
from tests.synthetic_cells import Cells
from tests.test_status import OWNER, TASK, Says

SMALL = Selection(("beta-vae", "patchvae"), ("digits",), (0,), preset="smoke")


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "dev")
    return Cells(tmp_path / "results", SMALL)


@pytest.fixture
def cancelled(monkeypatch):
    """Ids that scancel was given."""
    ids = []
    monkeypatch.setattr(cancelling.scheduler, "cancel", ids.extend)
    return ids


@pytest.fixture
def slurm(monkeypatch):
    """What SLURM says to the command."""

    def say(*jobs: Job | None):
        monkeypatch.setattr("bench.commands.cancel.Word", lambda *_: Says(*jobs))

    say()
    return say


def call(capsys, *words):
    code = main(["cancel", *[str(word) for word in words]])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_job_all_of_whose_cells_are_meant_is_cancelled_and_marked(made, capsys, cancelled, slurm):
    ids = tuple(cell.id for cell in made.cells[:4])
    dispatch = made.dispatch([Pack(5, "pretrain", ids, job="1200_5", name="n")])
    made.done(made.cells[0])
    made.running(made.cells[1], OWNER)
    slurm(TASK)
    code, out, _ = call(capsys, "--results", made.results, "-m", "beta-vae", "--yes")
    assert code == 0
    assert cancelled == ["1200_5"]
    assert "cancel 1 job with 3 cells: 1200_5" in out
    assert {path.name for path in (dispatch.dir / "cancelled").iterdir()} == set(ids[1:])


def test_a_job_with_other_cells_goes_on_and_leaves_these_out(made, capsys, cancelled, slurm):
    ids = tuple(cell.id for cell in made.cells)
    dispatch = made.dispatch([Pack(5, "pretrain", ids, job="1200_5", name="n")])
    made.running(made.cells[0], OWNER)
    slurm(TASK)
    code, out, _ = call(capsys, "--results", made.results, "-m", "patchvae", "--yes")
    assert code == 0
    assert cancelled == []
    assert "leave 4 cells out of job 1200_5, with other cells to do" in out
    assert {path.name for path in (dispatch.dir / "cancelled").iterdir()} == set(ids[4:])
    states = [one.state for one in survey(made.results, word=Says(TASK)).cells.values()]
    assert states == ["running", *["queued"] * 3, *["stopped"] * 4]


def test_a_cell_that_runs_in_such_a_job_is_said_to_go_on(made, capsys, cancelled, slurm):
    made.dispatch([Pack(5, "pretrain", tuple(c.id for c in made.cells), job="1200_5", name="n")])
    made.running(made.cells[0], OWNER)
    slurm(TASK)
    _, out, _ = call(capsys, made.cells[0].id, "--results", made.results, "--yes")
    assert cancelled == []
    assert "what runs just now goes on to its end, unless its job comes back first: " in out


def test_cells_of_a_job_that_were_cancelled_before_do_not_keep_it(made, cancelled):
    one, *others = made.cells
    dispatch = made.dispatch([Pack(5, "pretrain", tuple(c.id for c in made.cells), job="1200_5", name="n")])
    (dispatch.dir / "cancelled").mkdir()
    for cell in others:
        dispatch.cancelled_path(cell.id).touch()
    what = plan_cancellation(survey(made.results, word=Says(TASK)), [one.id])
    assert list(what.jobs) == ["1200_5"]


def test_a_process_of_this_machine_is_asked_to_save_and_stop(made, capsys, slurm, cancelled):
    code = (
        "import signal, time; signal.signal(15, lambda *_: exit(7)); print('up', flush=True); time.sleep(60)"
    )
    process = anything(subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True))
    assert process.stdout.readline() == "up\n"
    from bench.processes import process_start

    owner = replace(Owner.me(), pid=process.pid, started=process_start(process.pid) or "")
    made.running(made.cells[0], owner)
    made.running(made.cells[4], replace(owner, token="another"))
    code, out, _ = call(capsys, "--results", made.results, "--yes")
    assert code == 0
    assert f"process {process.pid}" in out
    assert out.count("save and stop") == 1
    assert process.wait(20) == 7
    process.stdout.close()


def test_what_runs_elsewhere_is_said_and_left_alone(made, capsys, cancelled, slurm, monkeypatch):
    monkeypatch.setattr(cancelling.os, "kill", lambda *_: pytest.fail("killed"))
    made.running(made.cells[0], replace(OWNER, job="77"))
    slurm(replace(TASK, id="77", array_id="77"))
    code, out, _ = call(capsys, "--results", made.results, "--yes")
    assert code == 0
    assert "which bench did not submit: scancel 77" in out
    assert "nothing that is under way can be cancelled" in out


def test_while_slurm_is_silent_nothing_is_pretended(made, capsys, cancelled, slurm):
    made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    slurm(None)
    code, _, err = call(capsys, "--results", made.results, "--yes")
    assert code == 2
    assert "does not answer" in err
    assert err.count("\n") == 1
    assert cancelled == []


def test_the_next_line_can_be_typed_whatever_the_folder_is_called(
    tmp_path, monkeypatch, capsys, cancelled, slurm
):
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "dev")
    made = Cells(tmp_path / "my results", SMALL)
    made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    slurm(TASK)
    code, out, _ = call(capsys, "--results", made.results, "--yes")
    assert code == 0
    assert out.endswith(f"next: bench status --results '{made.results}'\n")


def test_it_asks_and_no_answer_is_no(made, capsys, cancelled, slurm, monkeypatch):
    dispatch = made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    slurm(TASK)
    code, _, err = call(capsys, "--results", made.results)
    assert code == 2
    assert "--yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.confirm", lambda _: False)
    code, out, _ = call(capsys, "--results", made.results)
    assert code == 0
    assert "nothing was changed" in out
    assert cancelled == []
    assert not (dispatch.dir / "cancelled").exists()


def test_a_controller_that_refuses_is_exit_1_and_the_marks_stay(made, capsys, slurm, monkeypatch):
    def refuse(_):
        raise Unreachable("scancel: Access denied")

    dispatch = made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    slurm(TASK)
    monkeypatch.setattr(cancelling.scheduler, "cancel", refuse)
    code, _, err = call(capsys, "--results", made.results, "--yes")
    assert code == 1
    assert "Access denied" in err
    assert dispatch.cancelled_path(made.cells[0].id).exists()


def test_a_process_that_has_ended_meanwhile_is_not_signalled(made, monkeypatch):
    monkeypatch.setattr(cancelling.os, "kill", lambda *_: pytest.fail("killed"))
    made.running(made.cells[0], Owner.me())
    what = plan_cancellation(survey(made.results), [made.cells[0].id])
    [owner] = what.processes
    what.processes = {replace(owner, started="1"): what.processes[owner]}
    assert cancelling.carry_out(what) == []
