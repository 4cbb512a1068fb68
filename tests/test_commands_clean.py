"""`bench clean`: what goes, what never does, and that nothing goes unasked."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from bench import claims
from bench.checkpoint import NAME as CHECKPOINT
from bench.claims import Owner
from bench.cleaning import cell_waste, remove
from bench.cli import main
from bench.commands.clean import amount
from bench.dispatches import Pack
from bench.plan import Selection
from bench.processes import process_mark, table_mark
from bench.records import load_run
from bench.run_folder import RESULT, attempt_dirs, make_attempt, run_dir
from bench.scheduler import Job
from bench.status import survey
from tests.fake_trainer import anything
from tests.synthetic_cells import Cells, dead
from tests.test_status import TASK, Says

SMALL = Selection(("beta-vae", "patchvae"), ("digits",), (0,), preset="smoke")


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "dev")
    return Cells(tmp_path / "results", SMALL)


@pytest.fixture
def slurm(monkeypatch):
    """What SLURM says to the command."""

    def say(*jobs: Job | None):
        monkeypatch.setattr("bench.commands.clean.Word", lambda *_: Says(*jobs))

    say()
    return say


def call(capsys, *words):
    code = main(["clean", *[str(word) for word in words]])
    out, err = capsys.readouterr()
    return code, out, err


def tree(folder):
    return {path.relative_to(folder) for path in folder.rglob("*")}


def litter(made, cell):
    """What may be left in a done cell: a checkpoint, an earlier attempt, a later one, a broken file."""
    made.done(cell)
    folder = run_dir(made.results, cell.id)
    (folder / "attempts" / "0001").rename(folder / "attempts" / "0002")
    published = folder / "attempts" / "0002"
    text = (published / RESULT).read_text().replace('"attempt": "0001"', '"attempt": "0002"')
    for path in (published / RESULT, folder / RESULT):
        path.write_text(text)
    for number in (1, 3):
        attempt = made.ended(cell, "interrupted", "killed", number=number)
        (attempt / CHECKPOINT).write_bytes(bytes(5000))
    (published / CHECKPOINT).write_bytes(bytes(5000))
    (published / "model.safetensors").write_bytes(b"weights")
    (folder / "result.json.broken-1").write_text("{")
    (folder / f".status.json.{table_mark()}-{2**22 + 1}-3.tmp").write_text("half")
    (folder / f".status.json.{process_mark()}-3.tmp").write_text("half, and going on")
    return folder


def test_a_done_cell_keeps_its_result_and_loses_the_rest(made, capsys, slurm):
    folder = litter(made, made.cells[0])
    result = load_run(made.results, made.cells[0].id)
    before = anything(result).result
    code, out, err = call(capsys, "--results", made.results, "--yes")
    assert (code, err) == (0, "")
    assert tree(folder) == {
        Path(name)
        for name in (
            "config.json", RESULT, f".status.json.{process_mark()}-3.tmp", "attempts", "attempts/0002",
            "attempts/0002/result.json", "attempts/0002/status.json", "attempts/0002/model.safetensors",
            # The newest number stays taken: who starts over counts from it.
            "attempts/0003", "attempts/0003/status.json",
        )
    }  # fmt: skip
    run = anything(load_run(made.results, made.cells[0].id))
    assert run.result == before
    assert run.weights.read_bytes() == b"weights"
    assert "KiB freed" in out
    assert call(capsys, "--results", made.results, "--yes")[1] == "nothing to remove\n"
    assert make_attempt(folder).name == "0004"


def test_a_cell_that_is_not_done_keeps_all_it_may_go_on_from(made, capsys, slurm):
    cell = made.cells[0]
    for number in (1, 2):
        (made.ended(cell, "failed", "boom", number=number) / CHECKPOINT).write_bytes(b"x")
    (run_dir(made.results, cell.id) / "attempts" / "0001" / f"{CHECKPOINT}.broken-1").write_bytes(b"x")
    code, _, _ = call(capsys, "--results", made.results, "--yes")
    assert code == 0
    assert [
        path.name for folder in attempt_dirs(run_dir(made.results, cell.id)) for path in sorted(folder.glob("check*"))
    ] == [CHECKPOINT, CHECKPOINT]  # fmt: skip


@pytest.mark.parametrize("owner", ["me", "unknown", "broken"])
def test_what_somebody_has_claimed_is_left_alone(made, capsys, slurm, owner):
    folder = litter(made, made.cells[0])
    if owner == "me":
        claims.claim(folder)
    else:
        who = replace(Owner.me(), host="elsewhere")
        made.running(made.cells[0], who, number=4)
        if owner == "broken":
            (folder / claims.NAME).write_text("{")
    before = tree(folder)
    code, out, _ = call(capsys, "--results", made.results, "--yes")
    assert code == 0
    assert "left alone, as in use or maybe so: 1 of 8 cells" in out
    assert tree(folder) == before
    code, _, err = call(capsys, "--results", made.results, "--yes", "--runs", made.cells[0].id)
    assert code == 2
    assert "nothing was removed" in err
    assert tree(folder) == before


@pytest.mark.parametrize("job", [TASK, replace(TASK, state="PENDING"), None])
def test_what_a_job_may_come_to_is_left_alone_done_or_not_and_with_slurm_silent_too(made, capsys, slurm, job):
    # A done cell that a job is to compute again.
    folder = litter(made, made.cells[0])
    dispatch = made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    slurm(job)
    before = tree(folder)
    assert call(capsys, "--results", made.results, "--yes")[0] == 0
    assert tree(folder) == before
    assert dispatch.dir.exists()
    code, _, err = call(capsys, "--results", made.results, "--yes", "--runs", made.cells[0].id)
    assert (code, "nothing was removed" in err, "bench cancel" in err) == (2, True, False)
    assert job or "does not answer" in err
    slurm(replace(TASK, state="COMPLETED"))
    assert call(capsys, "--results", made.results, "--yes")[0] == 0
    assert tree(folder) != before
    assert not dispatch.dir.exists()


def test_submissions_that_are_over_and_the_source_that_none_needs_go(made, capsys, slurm):
    one, two, *_ = made.cells
    over = made.dispatch([Pack(0, "pretrain", (one.id,), job="7", name="a")])
    open_ = made.dispatch([Pack(0, "pretrain", (one.id, two.id), job="8", name="b")])
    made.done(one)
    codes = made.results / "slurm" / "code"
    for name in ("code", "older", "new"):
        (codes / name).mkdir(parents=True)
        (codes / name / "a.py").write_text("x")
        if name != "new":
            os.utime(codes / name, (0, 0))
    assert call(capsys, "--results", made.results, "--yes")[0] == 0
    assert not over.dir.exists()
    assert open_.dir.exists()
    # What is young may be about to be used by a submission that is being made.
    assert sorted(path.name for path in codes.iterdir()) == ["code", "new"]


def test_however_many_submissions_there_were_accounting_is_asked_once(made, capsys, monkeypatch):
    made.done(made.cells[0])
    for number in range(5):
        made.dispatch([Pack(0, "pretrain", (made.cells[0].id,), job=str(7 + number), name="a")])
    called = Says()
    monkeypatch.setattr("bench.commands.clean.Word", lambda *_: called)
    assert call(capsys, "--results", made.results, "--dry-run")[0] == 0
    assert ["7", "8", "9", "10", "11"] in called.asked


def test_a_submission_that_is_being_made_keeps_all_copies_of_the_source(made, capsys, slurm):
    from bench.dispatches import make_dispatch

    (made.results / "slurm" / "code" / "older").mkdir(parents=True)
    os.utime(made.results / "slurm" / "code" / "older", (0, 0))
    fresh = make_dispatch(
        made.results, argv=[], host="", user="", cluster="dev", profile={}, root=None, threads=None, code=""
    )
    _, out, _ = call(capsys, "--results", made.results, "--yes")
    assert "copies of the source are kept" in out
    assert (made.results / "slurm" / "code" / "older").exists()
    os.utime(fresh.dir, (0, 0))
    call(capsys, "--results", made.results, "--yes")
    assert not (made.results / "slurm" / "code" / "older").exists()
    assert not fresh.dir.exists()


def test_whole_cells_go_only_when_they_are_named_and_only_whole(made, capsys, slurm):
    for cell in made.cells:
        made.done(cell)
    code, _, err = call(capsys, "--runs", "--yes", "--results", made.results)
    assert code == 2
    assert "select cells" in err
    code, out, _ = call(
        capsys, "--runs", "--yes", "-m", "patchvae", "--probes", "conv1", "--results", made.results
    )
    assert code == 0
    assert "1 of these cells are done: their results will be gone" in out
    # The pretraining has other probes.
    assert [one.state for one in survey(made.results).cells.values()] == [*["done"] * 5, "new", *["done"] * 2]
    assert call(capsys, "--runs", "--yes", "-m", "patchvae", "--results", made.results)[0] == 0
    assert len(list((made.results / "runs").iterdir())) == 4


def test_a_pretraining_that_a_running_probe_reads_is_not_removed(made, capsys, slurm):
    made.done(made.cells[0])
    made.running(made.cells[1], Owner.me())
    code, _, err = call(capsys, "--runs", "--yes", made.cells[0].id, "--results", made.results)
    assert code == 2
    assert f"bench cancel {made.cells[1].id[:8]}" in err
    assert load_run(made.results, made.cells[0].id) is not None


def test_it_asks_and_a_dry_run_names_every_file(made, capsys, slurm, monkeypatch):
    folder = litter(made, made.cells[0])
    before = tree(made.results)
    code, out, err = call(capsys, "--results", made.results)
    assert code == 2
    assert "--yes" in err
    assert "checkpoints and attempts of done cells" in out
    code, out, _ = call(capsys, "--results", made.results, "--dry-run")
    assert code == 0
    assert str(folder / "attempts" / "0001") in out
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("click.confirm", lambda text: asked.append(text))
    assert call(capsys, "--results", made.results)[0] == 0
    assert asked[0].startswith("remove 1")
    assert tree(made.results) == before


def test_a_cell_that_is_begun_between_the_question_and_the_answer_is_left_alone(made):
    folder = litter(made, made.cells[0])
    everything = survey(made.results, whole=True)
    waste = cell_waste(everything.cells[made.cells[0].id])
    claims.claim(folder)
    before, notes = tree(folder), []
    assert remove(waste, everything, notes.append) == 0
    assert "begun meanwhile" in notes[0]
    assert tree(folder) == before


def test_the_claim_of_a_dead_owner_hinders_nothing(made, capsys, slurm):
    folder = litter(made, made.cells[0])
    made.running(made.cells[0], dead(), number=4)
    assert call(capsys, "--results", made.results, "--yes")[0] == 0
    assert not (folder / "attempts" / "0001").exists()
    assert not (folder / claims.NAME).exists()


def test_nothing_at_all_is_nothing_to_remove(tmp_path, capsys, slurm):
    assert call(capsys, "--results", tmp_path / "none", "--yes")[:2] == (0, "nothing to remove\n")
    assert not (tmp_path / "none").exists()


def test_amounts_are_said_as_a_person_does():
    assert [amount(n) for n in (0, 1023, 1536, 3 << 30)] == ["0 bytes", "1023 bytes", "1.5 KiB", "3.0 GiB"]


@pytest.mark.parametrize("words", [[], ["--runs", "-m", "beta-vae"], ["--dry-run"]], ids=" ".join)
def test_it_refuses_where_submissions_cannot_be_read(made, capsys, slurm, hide, words):
    litter(made, made.cells[0])
    before = tree(made.results)
    hide(made.results / "slurm")
    code, out, err = call(capsys, "--results", made.results, "--yes", *words)
    assert (code, out) == (2, "")
    assert "nothing was removed" in err.splitlines()[-1]
    assert tree(made.results) == before
