"""Where a cell stands: judged from its folder, then from what SLURM says."""

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
from bench.status import STATES, Handed, Trace, survey
from bench.status.standing import before, judge
from tests.fake_trainer import anything
from tests.synthetic_cells import Cells, dead, mixed

SMALL = Selection(("beta-vae",), ("digits",), (0,), preset="smoke")
TASK = Job("1205", "1200_5", "bench-x-pretrain-0", "RUNNING", node="n1", partition="main")
OWNER = replace(Owner.me(), host="n1", cluster="dev", job="1205")
FAILED = {"state": "failed", "error": "loss is not finite"}
STOPPED = {"state": "interrupted", "error": "stopped after step 3 of 10", "error_kind": "Interrupted"}
PREEMPTED = {"state": "interrupted", "error": "preempted after step 3 of 10", "error_kind": "Preempted"}


def handed(
    job: Job | None = TASK, *, silent="", number: str | None = "1200_5", name="bench-x-pretrain-0", **more
):
    return Handed(anything(None), Pack(5, "pretrain", ("a",), job=number, name=name), job, silent, **more)


def begun(status, owner: Owner | None = OWNER, scheduler=None):
    trace = Trace(owner=owner, attempt=Path("0001"), status=status, attempts=1)
    trace.__dict__["scheduler"] = scheduler or {}
    return trace


def test_a_result_is_done_whatever_else_is_there():
    assert judge(Trace(done=True), True, handed()) == ("done", "", True)


def test_a_living_owner_runs_it_and_one_nobody_can_ask_about_may():
    assert judge(begun({"state": "running"}), True, None) == ("running", "", True)
    state, reason, sure = judge(begun({"state": "running"}), None, None)
    assert (state, sure) == ("running", False)
    assert "cannot be seen from here" in reason
    state, reason, sure = judge(Trace(claim_broken=True), None, None)
    assert (state, sure) == ("running", False)
    assert "cannot be read" in reason


@pytest.mark.parametrize(
    ("job", "state", "reason"),
    [
        (replace(TASK, state="PENDING", reason="Resources", node=""), "queued", "Resources"),
        (TASK, "queued", "job 1200_5 runs"),
        (replace(TASK, state="CONFIGURING"), "queued", "job 1200_5 runs"),
        (replace(TASK, state="TIMEOUT"), "lost", "job 1200_5: TIMEOUT"),
        (replace(TASK, state="OUT_OF_MEMORY"), "lost", "OUT_OF_MEMORY"),
        (replace(TASK, state="NODE_FAIL"), "lost", "NODE_FAIL (node n1)"),
        (replace(TASK, state="FAILED", exit_code="1:0"), "lost", "FAILED (exit code 1)"),
        (replace(TASK, state="CANCELLED", reason="by 0"), "stopped", "job 1200_5: CANCELLED by 0"),
        (replace(TASK, state="COMPLETED"), "lost", "COMPLETED without it"),
        (replace(TASK, state="UNKNOWN", reason="the controller does not know"), "lost", "does not know"),
        (None, "lost", "knows nothing of job 1200_5"),
    ],
)
def test_a_cell_that_nobody_has_begun_is_what_its_job_is(job, state, reason):
    found = judge(Trace(), False, handed(job))
    assert found[0] == state
    assert reason in found[1]
    assert found[2]


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_requeued_job_retries_what_it_had_begun(state):
    job = replace(TASK, state=state, restarts=1, reason="BeginTime" if state == "PENDING" else "")
    for status in ({"state": "running"}, PREEMPTED):
        assert judge(begun(status, None), False, handed(job))[0] == "retrying"
    assert judge(Trace(), False, handed(job))[0] == "queued"


def test_a_failure_stands_until_another_job_is_to_mend_it():
    mine, other = {"job": "1205", "array": "1200_5"}, {"job": "900", "array": None}
    assert judge(begun(FAILED, None, mine), False, handed()) == ("failed", "loss is not finite", True)
    assert judge(begun(FAILED, None, other), False, handed())[0] == "queued"
    assert judge(begun(FAILED, None, other), False, handed(replace(TASK, state="TIMEOUT")))[0] == "failed"
    assert judge(begun(FAILED, None), False, None)[0] == "failed"


def test_what_was_stopped_on_purpose_is_stopped_and_what_was_killed_is_lost():
    assert judge(begun(STOPPED, None), False, None) == ("stopped", STOPPED["error"], True)
    state, reason, _ = judge(begun({"state": "running"}, dead()), False, None)
    assert state == "lost"
    assert "has ended" in reason
    assert judge(begun(PREEMPTED, None), False, handed(replace(TASK, state="TIMEOUT")))[0] == "lost"
    assert judge(begun({}, None), False, None)[0] == "lost"
    assert judge(Trace(owner=dead()), False, None)[0] == "lost"


def test_a_cell_that_its_job_is_to_leave_out_is_stopped():
    assert judge(Trace(), False, handed(cancelled=True))[:2] == (
        "stopped",
        "cancelled; job 1200_5 leaves it out",
    )
    over = handed(replace(TASK, state="CANCELLED"), cancelled=True)
    assert judge(Trace(), False, over)[:2] == ("stopped", "cancelled in job 1200_5")
    assert judge(begun({"state": "running"}), True, handed(cancelled=True))[0] == "running"


def test_where_slurm_is_silent_nothing_is_made_up():
    state, reason, sure = judge(Trace(), False, handed(None, silent="no answer"))
    assert (state, sure) == ("queued", False)
    assert "no answer" in reason
    assert judge(begun({"state": "running"}, None), False, handed(None, silent="no"))[2] is False
    assert judge(begun(FAILED, None), False, handed(None, silent="no"))[0] == "failed"
    assert judge(begun({"state": "running"}), None, handed(None, silent="no")) == ("running", "no", False)


def test_what_was_never_submitted_is_new_and_what_is_being_submitted_is_queued():
    pack = {"number": None, "name": ""}
    assert judge(Trace(), False, handed(None, **pack))[0] == "new"
    assert judge(Trace(), False, handed(None, **pack, submitting=True))[:2] == ("queued", "being submitted")
    # sbatch may have been called: nobody can say.
    assert judge(Trace(), False, handed(None, silent="no", number=None))[::2] == ("queued", False)
    assert judge(Trace(), False, None)[0] == "new"


def test_of_a_pack_the_cells_before_one_are_those_still_to_run():
    assert before(["done", "running", "failed", "queued", "queued"]) == [0, 0, 1, 1, 2]


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


def test_ten_thousand_cells_are_told_in_two_seconds(tmp_path):
    made = mixed(tmp_path, 223)
    assert len(made.cells) > 10_000
    code = "import sys; from bench.cli import main; sys.exit(main(sys.argv[1:]))"
    environment = {"PATH": "", "PYTHONPATH": str(Path(__file__).parent.parent)}
    words = ["status", "--results", str(tmp_path), "--json"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, env=environment, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The processor's seconds: it waits for nothing, and other tests run beside this one.
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found = json.loads(done.stdout)["counts"]
    assert sum(found.values()) == len(made.cells)
    assert set(STATES) - {state for state, number in found.items() if number} == {"retrying"}
    assert spent < 2


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
