"""Where the cells of a results folder stand."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from bench.claims import NAME, Owner
from bench.dispatches import Pack
from bench.plan import Selection
from bench.run_folder import RESULT, STATUS, run_dir
from bench.scheduler import Job, Unreachable, Word
from bench.status import STATES, survey
from tests.fake_trainer import anything
from tests.synthetic_cells import Cells, dead, mixed

SMALL = Selection(("beta-vae",), ("digits",), (0,), preset="smoke")
TASK = Job("1205", "1200_5", "bench-x-pretrain-0", "RUNNING", node="n1", partition="main")
OWNER = replace(Owner.me(), host="n1", cluster="dev", job="1205")


class Says(Word):
    """SLURM with these jobs; None is silent."""

    def __init__(self, *jobs: Job | None) -> None:
        super().__init__()
        self.jobs, self.asked = jobs, []

    def ask(self, ids=()):
        self.asked.append(list(ids))
        if None in self.jobs:
            raise Unreachable("the controller does not answer")

    def job(self, id):
        if None in self.jobs:
            raise Unreachable("the controller does not answer")
        return next((job for job in self.jobs if job and id in (job.id, job.array_id)), None)

    def by_name(self, prefix):
        return [job for job in self.jobs if job and job.name.startswith(prefix)]

    def runs(self, job_id, restart, cluster):
        if None in self.jobs:
            return None
        job = self.job(job_id)
        return job is not None and job.live and not job.waiting and job.restarts == restart


@pytest.fixture
def made(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_CLUSTER_NAME", "dev")
    return Cells(tmp_path / "results", SMALL)


def states(results, word: Word | None = None, said=None):
    found = survey(results, word=word, on_broken=pytest.fail if said is None else said.append)
    return [(one.state, one.reason) for one in found.cells.values()]


def test_what_was_asked_for_and_not_begun_is_new_without_a_question(made):
    word = Says()
    assert states(made.results, word) == [("new", "")] * 4
    assert word.asked == []


def test_a_job_is_told_cell_by_cell(made):
    pretrain, one, two, three = made.cells
    made.dispatch(
        [Pack(5, "pretrain", tuple(c.id for c in made.cells), job="1200_5", name="bench-x-pretrain-0")]
    )
    made.done(pretrain)
    made.running(one, OWNER)
    word = Says(TASK)
    found = survey(made.results, word=word)
    assert [cell.state for cell in found.cells.values()] == ["done", "running", "queued", "queued"]
    assert found.cells[one.id].node == "n1"
    progress = anything(found.cells[one.id].trace.progress)
    assert (progress.fraction, progress.seconds_left) == (0.25, 45.0)
    assert found.cells[two.id].reason == "job 1200_5 runs, 1 cell before it"
    assert found.cells[three.id].reason == "job 1200_5 runs, 2 cells before it"
    assert len(word.asked) == 1
    assert set(word.asked[0]) == {"1200_5", "1205"}


def test_a_cell_that_ends_between_the_look_and_the_question_is_not_told_as_lost(made):
    class EndsJustThen(Says):
        def ask(self, ids=()):
            made.done(made.cells[0])

    made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    assert states(made.results, EndsJustThen(replace(TASK, state="COMPLETED")))[0][0] == "done"


def test_the_owner_of_a_requeued_job_is_gone_and_the_cell_is_retried(made):
    made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    made.running(made.cells[0], OWNER)
    assert states(made.results, Says(replace(TASK, restarts=1)))[0][0] == "retrying"


def test_probes_of_a_failed_pretraining_are_skipped_with_the_reason(made):
    pretrain, one, *_ = made.cells
    made.ended(pretrain, "failed", "loss is not finite", "Diverged")
    made.done(one)
    found = states(made.results)
    assert [state for state, _ in found] == ["failed", "done", "skipped", "skipped"]
    assert found[2][1] == f"its pretraining {pretrain.id} failed: loss is not finite"


def test_probes_whose_job_found_their_pretraining_cancelled_are_stopped_and_not_lost(made):
    pretrain, *probes = made.cells
    ids = tuple(cell.id for cell in made.cells)
    dispatch = made.dispatch([Pack(5, "pretrain", ids, job="1200_5", name="n")])
    path = dispatch.cancelled_path(pretrain.id)
    path.parent.mkdir()
    path.touch()
    found = states(made.results, Says(replace(TASK, state="COMPLETED")))
    assert [state for state, _ in found] == ["stopped"] * len(ids)
    assert found[1][1] == f"its pretraining {pretrain.id} was stopped: cancelled in job 1200_5"
    found = states(made.results, Says(replace(TASK, state="OUT_OF_MEMORY")))
    assert [state for state, _ in found] == ["stopped", *["lost"] * len(probes)]


def test_a_job_whose_number_was_never_written_down_is_found_by_its_name(made):
    dispatch = made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), name="bench-x-pretrain-0")])
    job = replace(TASK, id="1200", array_id="1200", state="PENDING", reason="Priority")
    assert states(made.results, Says(job))[0][0] == "new"
    dispatch.submitit_dir.mkdir()
    (dispatch.submitit_dir / "1200_submitted.pkl").touch()
    assert states(made.results, Says(job))[0] == ("queued", "Priority")
    assert states(made.results, Says(replace(job, name="bench-x-pretrain-01")))[0][0] == "new"


def test_of_several_jobs_of_a_cell_the_newest_counts(made):
    id = made.cells[0].id
    made.dispatch([Pack(0, "pretrain", (id,), job="7", name="a")])
    made.dispatch([Pack(0, "pretrain", (id,), job="8", name="b")])
    old, new = replace(TASK, id="7", array_id="7"), replace(TASK, id="8", array_id="8", state="TIMEOUT")
    assert states(made.results, Says(old, new))[0] == ("lost", "job 8: TIMEOUT")


def test_the_jobs_of_another_cluster_are_not_ours_to_judge(made):
    made.dispatch([Pack(0, "pretrain", (made.cells[0].id,), job="1205", name="a")], cluster="far")
    found = survey(made.results, word=Says()).cells[made.cells[0].id]
    assert (found.state, found.sure) == ("queued", False)
    assert "cluster far" in found.reason


def test_slurm_silent_or_absent_leaves_what_the_folders_say(made, monkeypatch):
    made.dispatch([Pack(5, "pretrain", (made.cells[0].id,), job="1200_5", name="n")])
    made.done(made.cells[0])
    made.running(made.cells[1], OWNER)
    found = survey(made.results, word=Says(None))
    assert [(one.state, one.sure) for one in found.cells.values()][:3] == [
        ("done", True), ("running", False), ("new", True),
    ]  # fmt: skip
    assert "does not answer" in found.silent
    monkeypatch.setenv("PATH", "/nowhere")
    assert "not installed" in survey(made.results).silent


def test_a_clock_an_hour_off_changes_nothing(made):
    attempt = made.running(made.cells[0], Owner.me())
    for path in (made.results, attempt, *attempt.iterdir()):
        os.utime(path, (0, 0))
    progress = anything(survey(made.results).cells[made.cells[0].id].trace.progress)
    assert progress.seconds_left == 45.0


@pytest.mark.parametrize("name", [RESULT, STATUS, NAME, "asked"])
def test_a_broken_file_is_named_once_and_the_rest_is_told(made, name):
    one, other = made.cells[:2]
    made.done(other)
    if name == RESULT:
        made.done(one)
        path = run_dir(made.results, one.id) / RESULT
    elif name == "asked":
        made.done(one)
        path = next((made.results / "asked").iterdir())
    else:
        attempt = made.running(one, dead())
        path = attempt / STATUS if name == STATUS else run_dir(made.results, one.id) / NAME
    path.write_bytes(path.read_bytes()[:-9])
    said = []
    found = dict(zip([cell.id for cell in made.cells], states(made.results, said=said), strict=False))
    assert len(said) == 1
    assert str(path) in said[0]
    # Without the record of what was asked for, the folders alone are told.
    assert (found[one.id][0] == "done") == (name == "asked")
    assert found[other.id][0] == "done"


@pytest.mark.parametrize("change", [lambda t: t[: len(t) // 2], lambda t: t[:300] + bytes(50) + t[350:]])
def test_half_a_result_and_one_with_a_hole_are_no_results(made, change):
    made.done(made.cells[0])
    path = run_dir(made.results, made.cells[0].id) / RESULT
    path.write_bytes(change(path.read_bytes()))
    said = []
    assert states(made.results, said=said)[0][0] != "done"
    assert len(said) == 1


def test_a_result_of_another_cell_is_none(made):
    made.done(made.cells[0])
    folder = run_dir(made.results, made.cells[1].id)
    folder.mkdir()
    (folder / RESULT).write_bytes((run_dir(made.results, made.cells[0].id) / RESULT).read_bytes())
    said = []
    assert states(made.results, said=said)[1][0] == "new"
    assert "not a result of this cell" in said[0]


def test_cells_of_a_folder_without_a_record_are_told_from_their_configurations(tmp_path):
    made = Cells(tmp_path, SMALL, record=False)
    made.done(made.cells[0])
    made.ended(made.cells[1], "failed", "boom")
    found = survey(tmp_path)
    assert sorted(one.state for one in found.cells.values()) == ["done", "failed"]
    assert all(one.asked is None for one in found.cells.values())


def test_looking_writes_nothing(made):
    made.running(made.cells[0], dead())
    made.dispatch([Pack(5, "pretrain", (made.cells[1].id,), job="1200_5", name="n")])
    before_ = {path: path.stat().st_mtime_ns for path in made.results.rglob("*")}
    survey(made.results, word=Says(TASK))
    assert {path: path.stat().st_mtime_ns for path in made.results.rglob("*")} == before_


def spend(words, environment):
    """A finished process, and the processor's seconds that it took: it waits for nothing."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(words, capture_output=True, text=True, env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return done, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_ten_thousand_cells_are_told_in_two_seconds(tmp_path):
    made = mixed(tmp_path, 223)
    assert len(made.cells) > 10_000
    code = "import sys; from bench.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)}
    words = ["status", "--results", str(tmp_path), "--json"]
    done, spent = spend([sys.executable, "-c", code, *words], environment)
    # A processor that other tests share is slower than it is.
    for _ in range(3):
        spent = (
            min(spent, spend([sys.executable, "-c", code, *words], environment)[1]) if spent >= 3 else spent
        )
    found = json.loads(done.stdout)["counts"]
    assert sum(found.values()) == len(made.cells)
    assert set(STATES) - {state for state, number in found.items() if number} == {"retrying"}
    assert spent < 3  # two where nothing else runs


def test_the_owner_on_disk_is_the_one_that_is_asked_about(made):
    made.running(made.cells[0], Owner.me())
    assert states(made.results)[0][0] == "running"
    path = run_dir(made.results, made.cells[0].id) / NAME
    path.write_text(json.dumps(asdict(replace(Owner.me(), boot_id="earlier"))))
    assert states(made.results)[0][0] == "lost"


@pytest.mark.parametrize("job", [TASK, replace(TASK, state="PENDING", node="")])
def test_done_cells_that_a_job_makes_again_are_done_and_told(made, job):
    first, second, third, _ = made.cells
    for cell in (first, second, third):
        made.done(cell)
    pack = Pack(5, "pretrain", (first.id, second.id), job="1200_5", name="n")
    dispatch = made.dispatch([pack], argv=["bench", "run", "--slurm", "--force"])
    # The second was made again since: its result is of a later attempt than those to forget.
    dispatch.pack_path(pack).write_text(json.dumps({"forget": {first.id: 1, second.id: 0}}))
    found = survey(made.results, word=Says(job)).cells
    assert [(one.state, one.again) for one in found.values()][:3] == [
        ("done", True), ("done", False), ("done", False),
    ]  # fmt: skip
    assert not any(one.again for one in survey(made.results, word=Says()).cells.values())
    dispatch.cancelled_path(first.id).parent.mkdir()
    dispatch.cancelled_path(first.id).touch()
    assert not any(one.again for one in survey(made.results, word=Says(job)).cells.values())


def test_where_submissions_cannot_be_read_nothing_open_is_sure(made, hide):
    made.dispatch([Pack(5, "pretrain", (made.cells[2].id,), job="1200_5", name="n")])
    made.done(made.cells[0])
    made.running(made.cells[1], dead())
    hide(made.results / "slurm")
    said = []
    found = survey(made.results, word=Says(), on_broken=said.append)
    assert [(one.state, one.sure) for one in found.cells.values()] == [
        ("done", True), ("lost", False), ("new", False), ("new", False),
    ]  # fmt: skip
    assert "Permission denied" in found.unread
    assert len(said) == 1
